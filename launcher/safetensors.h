// safetensors: the file format of checkpoints and of most published models. Eight bytes of length,
// a JSON header, then the tensors' bytes, little-endian and dense
// (github.com/huggingface/safetensors, README "Format").
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launcher/mapped_file.h"
#include "runtime/tensor_spec.h"

namespace weft {

// One tensor of a file: its bytes are [begin, begin + spec.bytes()) of the data after the header.
struct SafetensorsEntry {
  std::string name;
  TensorSpec spec;
  int64_t begin = 0;
};

// What a header says.
struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;        // in the order of their bytes
  std::map<std::string, std::string> metadata;  // "__metadata__"
};

// Format's name of a dtype: "F32", "BF16", "BOOL"...
std::string SafetensorsDTypeName(DType dtype);

// Reads the JSON of a header and checks it against the `data_bytes` that follow it: known dtypes,
// sizes that match shapes, no gap, overlap or repeated name. InvalidArgument says which tensor.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(const std::string& json,
                                                         int64_t data_bytes);

// Prints a header that ParseSafetensorsHeader reads back, padded so that data begins at a multiple
// of 8 bytes; includes the eight bytes of length.
std::string PrintSafetensorsHeader(const SafetensorsHeader& header);

// A file, mapped read-only; tensors are read in place. Movable; reads are safe from any thread.
class SafetensorsFile {
 public:
  // Errors name the file: NotFound, or InvalidArgument for anything that is not whole and valid.
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);

  const std::vector<SafetensorsEntry>& entries() const { return header_.entries; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  // nullptr if the file has no such tensor.
  const SafetensorsEntry* Find(const std::string& name) const;
  // The bytes of an entry of this file; aligned only as far as the writer aligned them.
  const uint8_t* data(const SafetensorsEntry& entry) const { return data_ + entry.begin; }

 private:
  MappedFile file_;
  SafetensorsHeader header_;
  std::map<std::string, size_t> index_;
  const uint8_t* data_ = nullptr;
};

}  // namespace weft

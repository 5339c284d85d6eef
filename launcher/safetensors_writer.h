// Writes a safetensors file so that a reader sees the old file or the whole new one, never a part:
// bytes go to PATH.partial, which is synced and renamed at Commit.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launcher/safetensors.h"

namespace weft {

// One thread at a time. Destroyed before Commit succeeds, it removes what it wrote.
class SafetensorsWriter {
 public:
  struct Tensor {
    std::string name;
    TensorSpec spec;
  };

  // Creates missing directories and PATH.partial, and lays out the file. Tensors are placed by
  // element size, then name, so that each is aligned to its elements. Errors: a repeated or
  // reserved name, a negative extent, the system's reason.
  static absl::StatusOr<std::unique_ptr<SafetensorsWriter>> Create(
      const std::string& path, std::vector<Tensor> tensors,
      std::map<std::string, std::string> metadata);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // Writes `bytes` bytes of tensor `name` from byte `offset` on. Any order; each byte once.
  absl::Status Write(const std::string& name, int64_t offset, const void* data, int64_t bytes);

  // Syncs and renames; fails unless every tensor was written in full.
  absl::Status Commit();

 private:
  SafetensorsWriter() = default;
  absl::Status WriteAt(int64_t position, const char* data, int64_t bytes);
  absl::Status SystemError(const std::string& what) const;

  struct Place {
    int64_t begin = 0;  // in the file
    int64_t bytes = 0;
    int64_t written = 0;
  };

  std::string path_;
  std::string partial_;
  int fd_ = -1;
  std::map<std::string, Place> places_;
};

// Writes a file of tensors that lie in memory at once; data[i] belongs to tensors[i].
absl::Status WriteSafetensors(const std::string& path,
                              const std::vector<SafetensorsWriter::Tensor>& tensors,
                              const std::vector<const void*>& data,
                              const std::map<std::string, std::string>& metadata);

}  // namespace weft

// Where tokens come from: a long line of token ids, memory-mapped, whatever file holds them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launcher/mapped_file.h"

namespace weft {

// Owns its file; movable; reads are safe from any thread.
class TokenSource {
 public:
  // How a token is stored, little-endian.
  enum class Width : uint8_t { kU8, kU16, kI16, kI32, kU32, kI64 };

  // The bytes of a text file, one token each. A file in gzip form (.gz, dictzip's .dz; one member)
  // is unpacked into memory.
  static absl::StatusOr<TokenSource> OpenText(const std::string& path);
  // llm.c: 256 int32 of header (magic 20240520, version 1: uint16; magic 20240801, version 7:
  // uint32; then the count), then the tokens (dev/data/data_common.py of karpathy/llm.c).
  static absl::StatusOr<TokenSource> OpenLlmc(const std::string& path);
  // Nothing but tokens.
  static absl::StatusOr<TokenSource> OpenRaw(const std::string& path, Width width);
  // Megatron-LM: `path` is PREFIX.bin, PREFIX.idx or PREFIX; both files must exist
  // (megatron/core/datasets/indexed_dataset.py). Documents follow each other as they lie.
  static absl::StatusOr<TokenSource> OpenMegatron(const std::string& path);
  // By header: llm.c's magic, or an .idx beside it. Anything else is an error that says what to
  // name.
  static absl::StatusOr<TokenSource> OpenAny(const std::string& path);
  // Tokens that the caller has: bytes, for tests and tools. `name` is what errors call them.
  static TokenSource FromBytes(std::string name, std::vector<uint8_t> bytes);

  const std::string& name() const { return name_; }  // path, for errors
  int64_t size() const { return size_; }             // tokens
  // Token `index` (0 <= index < size()); may be negative or above int32 in a damaged file.
  int64_t At(int64_t index) const;

 private:
  std::string name_;
  MappedFile file_;
  std::vector<uint8_t> unpacked_;
  const uint8_t* data_ = nullptr;  // into file_ or unpacked_
  int64_t size_ = 0;
  Width width_ = Width::kU8;
};

// Bytes of one token.
int64_t BytesOf(TokenSource::Width width);

}  // namespace weft

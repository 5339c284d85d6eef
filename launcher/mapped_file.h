// A file mapped read-only into memory: token files and checkpoints larger than memory cost only the
// pages that are read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace weft {

// Owns the mapping; movable, and moving keeps data() where it is. Reads are safe from any thread.
// The file must not be truncated while mapped.
class MappedFile {
 public:
  // NotFound or FailedPrecondition with the path and the system's reason; a directory is refused.
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  const uint8_t* data() const { return data_; }  // nullptr for an empty file
  size_t size() const { return size_; }          // bytes

 private:
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace weft

// A file that appears under its name whole or not at all.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"

namespace weft {

// Written beside its place (PATH.partial) and moved there by Commit. One thread; one Open.
class TraceFile {
 public:
  explicit TraceFile(std::string path) : path_(std::move(path)), partial_(path_ + ".partial") {}
  // Removes what was not committed.
  ~TraceFile();
  TraceFile(const TraceFile&) = delete;
  TraceFile& operator=(const TraceFile&) = delete;

  // Shows that the file can be written, and makes its folders where they are missing.
  // FailedPrecondition says why not.
  absl::Status Open();
  // Internal where the disk fails.
  absl::Status Append(std::string_view text);
  absl::Status Commit();

 private:
  absl::Status Fails(int error) const;

  const std::string path_;
  const std::string partial_;
  int fd_ = -1;
};

}  // namespace weft

#include "launcher/trace_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft {

TraceFile::~TraceFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(partial_.c_str());
}

absl::Status TraceFile::Fails(int error) const {
  return absl::InternalError(
      absl::StrCat("cannot write a trace to '", path_, "': ", std::strerror(error)));
}

absl::Status TraceFile::Open() {
  std::error_code ignored;  // open() below gives the reason
  const std::filesystem::path parent = std::filesystem::path(path_).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, ignored);
  int error = 0;
  if (std::filesystem::is_directory(path_, ignored)) {
    error = EISDIR;
  } else {
    fd_ = open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd_ < 0) error = errno;
  }
  return error == 0 ? absl::OkStatus() : absl::FailedPreconditionError(Fails(error).message());
}

absl::Status TraceFile::Append(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd_, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return Fails(errno);
    text.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status TraceFile::Commit() {
  if (fsync(fd_) != 0 && errno != EINVAL) return Fails(errno);  // EINVAL: not that kind of file
  if (std::rename(partial_.c_str(), path_.c_str()) != 0) return Fails(errno);
  close(std::exchange(fd_, -1));
  return absl::OkStatus();
}

}  // namespace weft

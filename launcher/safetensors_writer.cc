#include "launcher/safetensors_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/logging.h"
#include "runtime/status.h"

namespace weft {
namespace {

absl::StatusOr<SafetensorsHeader> LayOut(std::vector<SafetensorsWriter::Tensor> tensors,
                                         std::map<std::string, std::string> metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return std::make_tuple(-SizeOf(a.spec.dtype), a.name) <
           std::make_tuple(-SizeOf(b.spec.dtype), b.name);
  });
  SafetensorsHeader header;
  header.metadata = std::move(metadata);
  std::set<std::string> names = {"", "__metadata__"};
  int64_t begin = 0;
  for (SafetensorsWriter::Tensor& tensor : tensors) {
    if (!names.insert(tensor.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor name '", tensor.name, "' is empty, reserved or used twice"));
    }
    for (const int64_t extent : tensor.spec.shape) {
      if (extent < 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("tensor '", tensor.name, "' has shape ", ToString(tensor.spec.shape)));
      }
    }
    const int64_t bytes = tensor.spec.bytes();
    header.entries.push_back({std::move(tensor.name), std::move(tensor.spec), begin});
    begin += bytes;
  }
  return header;
}

}  // namespace

absl::Status SafetensorsWriter::SystemError(const std::string& what) const {
  return absl::InternalError(
      absl::StrCat("cannot ", what, " '", partial_, "': ", std::strerror(errno)));
}

absl::StatusOr<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(
    const std::string& path, std::vector<Tensor> tensors,
    std::map<std::string, std::string> metadata) {
  WEFT_ASSIGN_OR_RETURN(const SafetensorsHeader header,
                        LayOut(std::move(tensors), std::move(metadata)));
  std::unique_ptr<SafetensorsWriter> writer(new SafetensorsWriter);
  writer->path_ = path;
  writer->partial_ = path + ".partial";
  std::error_code ignored;  // open() below gives the reason
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, ignored);
  writer->fd_ = open(writer->partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (writer->fd_ < 0) return writer->SystemError("create");
  const std::string head = PrintSafetensorsHeader(header);
  for (const SafetensorsEntry& entry : header.entries) {
    writer->places_[entry.name] = {static_cast<int64_t>(head.size()) + entry.begin,
                                   entry.spec.bytes(), 0};
  }
  WEFT_RETURN_IF_ERROR(writer->WriteAt(0, head.data(), static_cast<int64_t>(head.size())));
  return writer;
}

SafetensorsWriter::~SafetensorsWriter() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(partial_.c_str());
}

absl::Status SafetensorsWriter::WriteAt(int64_t position, const char* data, int64_t bytes) {
  while (bytes > 0) {
    const ssize_t done = pwrite(fd_, data, bytes, position);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return SystemError("write");
    data += done;
    position += done;
    bytes -= done;
  }
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Write(const std::string& name, int64_t offset, const void* data,
                                      int64_t bytes) {
  const auto it = places_.find(name);
  if (it == places_.end()) {
    return absl::NotFoundError(absl::StrCat("'", path_, "' was laid out without '", name, "'"));
  }
  Place& place = it->second;
  if (offset < 0 || bytes < 0 || bytes > place.bytes - offset) {
    return absl::OutOfRangeError(
        absl::StrCat("bytes ", offset, " + ", bytes, " of '", name, "', which has ", place.bytes));
  }
  CHECK_GE(fd_, 0) << "Write after Commit";
  WEFT_RETURN_IF_ERROR(WriteAt(place.begin + offset, static_cast<const char*>(data), bytes));
  place.written += bytes;
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Commit() {
  CHECK_GE(fd_, 0) << "Commit twice";
  for (const auto& [name, place] : places_) {
    if (place.written != place.bytes) {
      return absl::FailedPreconditionError(absl::StrCat("tensor '", name, "' of '", path_,
                                                        "': ", place.written, " of ", place.bytes,
                                                        " bytes were written"));
    }
  }
  if (fsync(fd_) != 0) return SystemError("sync");
  if (std::rename(partial_.c_str(), path_.c_str()) != 0) return SystemError("rename");
  close(std::exchange(fd_, -1));
  const std::filesystem::path parent = std::filesystem::path(path_).parent_path();
  const int folder =
      open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return absl::OkStatus();
  fsync(folder);  // some file systems refuse this on folders; the rename itself stands
  close(folder);
  return absl::OkStatus();
}

absl::Status WriteSafetensors(const std::string& path,
                              const std::vector<SafetensorsWriter::Tensor>& tensors,
                              const std::vector<const void*>& data,
                              const std::map<std::string, std::string>& metadata) {
  CHECK_EQ(tensors.size(), data.size());
  WEFT_ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsWriter> writer,
                        SafetensorsWriter::Create(path, tensors, metadata));
  for (size_t i = 0; i < tensors.size(); ++i) {
    WEFT_RETURN_IF_ERROR(writer->Write(tensors[i].name, 0, data[i], tensors[i].spec.bytes()));
  }
  return writer->Commit();
}

}  // namespace weft

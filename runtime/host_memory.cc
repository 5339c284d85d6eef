#include "runtime/host_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Closes a file when it goes; a mapping does not need it.
class File {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  int descriptor() const { return descriptor_; }

 private:
  const int descriptor_;
};

}  // namespace

absl::StatusOr<HostMemory> HostMemory::Create(int64_t bytes) {
  if (bytes < 1 || bytes > kMostBytes) {
    return absl::ResourceExhaustedError(absl::StrCat("shared memory of ", bytes, " bytes"));
  }
  std::array<char, 16> random{};
  if (getentropy(random.data(), random.size()) != 0) {
    return absl::ErrnoToStatus(errno, "getentropy");
  }
  const std::string name = absl::StrCat(
      "/weft-", absl::BytesToHexString(absl::string_view(random.data(), random.size())));
  const File file(shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (file.descriptor() < 0) return absl::ErrnoToStatus(errno, "shm_open");
  HostMemory memory(name, /*named=*/true);
  if (const int error = posix_fallocate(file.descriptor(), 0, bytes); error != 0) {
    return absl::ErrnoToStatus(error, absl::StrCat(bytes, " bytes of shared memory"));
  }
  WEFT_RETURN_IF_ERROR(memory.Map(file.descriptor(), bytes));
  return memory;
}

absl::StatusOr<HostMemory> HostMemory::Open(const std::string& name, int64_t bytes) {
  const File file(shm_open(name.c_str(), O_RDWR | O_CLOEXEC, 0));
  if (file.descriptor() < 0) return absl::ErrnoToStatus(errno, "shm_open");
  struct stat information {};
  if (fstat(file.descriptor(), &information) != 0) return absl::ErrnoToStatus(errno, "fstat");
  if (information.st_size != bytes) {
    return absl::FailedPreconditionError(absl::StrCat("shared memory has ", information.st_size,
                                                      " bytes and ", bytes, " are expected"));
  }
  HostMemory memory(name, /*named=*/false);
  WEFT_RETURN_IF_ERROR(memory.Map(file.descriptor(), bytes));
  return memory;
}

HostMemory::HostMemory(HostMemory&& other) noexcept
    : name_(std::move(other.name_)),
      named_(std::exchange(other.named_, false)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

HostMemory& HostMemory::operator=(HostMemory&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(named_, other.named_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

HostMemory::~HostMemory() {
  Unlink();
  if (data_ != nullptr) munmap(data_, bytes_);
}

void HostMemory::Unlink() {
  if (std::exchange(named_, false)) shm_unlink(name_.c_str());
}

absl::Status HostMemory::Map(int file, int64_t bytes) {
  void* const data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (data == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap");
  data_ = static_cast<std::byte*>(data);
  bytes_ = bytes;
  return absl::OkStatus();
}

}  // namespace weft

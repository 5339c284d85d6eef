// Memory that processes of one host share: POSIX shared memory that is found by its name once and
// then has none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace weft {

// One mapping; whoever holds the object owns it. What it maps lives until the last mapping of any
// process goes. Not synchronised; the memory itself may be used by any thread.
class HostMemory {
 public:
  // Most bytes that Create answers.
  static constexpr int64_t kMostBytes = int64_t{1} << 30;

  // New zeroed memory that only this user's processes can open, under a name that nobody can guess.
  // All of it is set aside now: a full /dev/shm is an error here, not a signal later. The name is
  // removed by Unlink, or with the object. ResourceExhausted above kMostBytes, else as the system
  // says.
  static absl::StatusOr<HostMemory> Create(int64_t bytes);
  // Memory that a process of this host made, by its name and size. NotFound if there is none here,
  // FailedPrecondition if it has another size.
  static absl::StatusOr<HostMemory> Open(const std::string& name, int64_t bytes);

  HostMemory(HostMemory&& other) noexcept;
  HostMemory& operator=(HostMemory&& other) noexcept;
  ~HostMemory();

  // Aligned to a page.
  std::byte* data() const { return data_; }
  const std::string& name() const { return name_; }
  // Removes the name, where this made it: nobody can open the memory from here on, and nothing is
  // left behind however its users end.
  void Unlink();

 private:
  HostMemory(std::string name, bool named) : name_(std::move(name)), named_(named) {}
  // Maps what `file` names.
  absl::Status Map(int file, int64_t bytes);

  std::string name_;
  bool named_ = false;  // this made the name and has not removed it
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace weft

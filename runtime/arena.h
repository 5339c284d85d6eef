// Arena: the one block of memory in which a plan's slots and temporaries lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"

namespace weft {

// Memory, zeroed when it was made and aligned to kAlignment. One of 0 bytes has an address too: what
// is empty is not absent. Movable; frees at destruction.
class Arena {
 public:
  static constexpr int64_t kAlignment = 64;

  Arena() = default;
  // Host memory, in huge pages where it is large and the system has them. ResourceExhausted, with
  // the size, if the system has not that much; InvalidArgument if negative.
  static absl::StatusOr<Arena> Allocate(int64_t bytes);
  // Memory of a device (runtime/device.h); `free` gives it back.
  using Free = void (*)(void* data, int64_t bytes);
  static Arena Adopt(void* data, int64_t bytes, Free free) {
    Arena arena;
    arena.data_ = static_cast<std::byte*>(data);
    arena.bytes_ = bytes;
    arena.free_ = free;
    return arena;
  }
  Arena(Arena&& other) noexcept { *this = std::move(other); }
  Arena& operator=(Arena&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(free_, other.free_);
    return *this;
  }
  ~Arena() {
    if (data_ != nullptr) free_(data_, bytes_);
  }

  // nullptr only before Allocate.
  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
  Free free_ = nullptr;
};

}  // namespace weft

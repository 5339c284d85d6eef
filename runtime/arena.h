// Arena: the one block of memory in which a plan's slots and temporaries lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"

namespace weft {

// Host memory, zeroed, aligned to kAlignment; in huge pages where it is large and the system has
// them. One of 0 bytes has an address too: what is empty is not absent. Movable; frees at
// destruction.
class Arena {
 public:
  static constexpr int64_t kAlignment = 64;

  Arena() = default;
  // ResourceExhausted, with the size, if the system has not that much; InvalidArgument if negative.
  static absl::StatusOr<Arena> Allocate(int64_t bytes);
  Arena(Arena&& other) noexcept { *this = std::move(other); }
  Arena& operator=(Arena&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Arena();

  // nullptr only before Allocate.
  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace weft

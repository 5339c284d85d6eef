// Lays buffers one after another in a kernel's workspace. The same code, run over no memory, says how
// large the workspace must be, so that size and use cannot disagree.
#pragma once

#include <cstdint>

namespace weft {

class Scratch {
 public:
  // Over a workspace of enough bytes, aligned to 64; over nullptr it only measures.
  explicit Scratch(void* memory) : memory_(static_cast<char*>(memory)) {}

  // `n` elements, aligned to 64 bytes, contents undefined; nullptr when measuring.
  template <typename T>
  T* Take(int64_t n) {
    char* at = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += (n * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return reinterpret_cast<T*>(at);
  }
  // Bytes taken so far.
  int64_t used() const { return used_; }

 private:
  char* memory_;
  int64_t used_ = 0;
};

}  // namespace weft

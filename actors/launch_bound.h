// LaunchBound: how far a stream of a device with a queue may be launched ahead, where ranks
// exchange. CUDA takes about a thousand calls ahead and then blocks in the call: with locks that
// another rank of the process may need for the very copy that this one waits for, and before what
// other streams could do meanwhile has been launched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime/stream.h"

namespace weft {

// The actor thread.
class LaunchBound {
 public:
  LaunchBound() = default;
  // `firings`: most that are launched and have not ended.
  explicit LaunchBound(size_t firings) : ends_(firings), calls_(firings) {}

  // Whether a firing of so many calls must wait until the stream has completed more. One of more
  // calls than are allowed goes when nothing is before it.
  bool IsFull(const Stream& stream, int64_t calls);
  // A firing of so many calls has been launched; IsFull has allowed it.
  void Add(const Stream& stream, int64_t calls);

 private:
  // Of firings, by number modulo the size: where in the stream they end, and their calls.
  std::vector<int64_t> ends_;
  std::vector<int64_t> calls_;
  size_t launched_ = 0;
  size_t ended_ = 0;     // at the last look
  int64_t pending_ = 0;  // calls of those in between
};

}  // namespace weft

// Skyline: how high memory is stacked at every tick. A tree of maxima: both operations O(log n).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace weft {

// Ticks matter only relative to `ticks`, where lives begin or end; flat at 0 at first. A value.
class Skyline {
 public:
  explicit Skyline(std::vector<int64_t> ticks);

  // The greatest height anywhere.
  int64_t highest() const;
  // The greatest height over [begin, end), both among the ticks given.
  int64_t Highest(int64_t begin, int64_t end) const;
  // Sets the height over [begin, end); not below what is there.
  void Raise(int64_t begin, int64_t end, int64_t height);
  void RaiseAll(int64_t height) { floor_ = std::max(floor_, height); }

 private:
  struct Node {
    int64_t highest = 0;     // somewhere below
    int64_t everywhere = 0;  // all below are at least this high
  };
  size_t IndexOf(int64_t tick) const;
  int64_t Query(size_t node, size_t lo, size_t hi, size_t begin, size_t end) const;
  void Update(size_t node, size_t lo, size_t hi, size_t begin, size_t end, int64_t height);

  std::vector<int64_t> ticks_;
  std::vector<Node> tree_;  // root 1; a leaf per tick
  int64_t floor_ = 0;
};

}  // namespace weft

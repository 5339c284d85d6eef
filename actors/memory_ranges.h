// MemoryRanges: which memory some kernel calls read, or write. Decides which of them are
// independent.
#pragma once

#include <cstdint>
#include <map>

namespace weft {

// A set of addresses, kept as ranges that do not touch.
class MemoryRanges {
 public:
  // Adds [data, data + bytes). O(log n), and what it swallows.
  void Add(const void* data, int64_t bytes);
  // Whether any of [data, data + bytes) is in the set. O(log n).
  bool Overlaps(const void* data, int64_t bytes) const;

 private:
  std::map<uintptr_t, uintptr_t> ends_;  // by begin
};

}  // namespace weft

#include "actors/memory_ranges.h"

#include <algorithm>
#include <iterator>

namespace weft {

void MemoryRanges::Add(const void* data, int64_t bytes) {
  if (bytes == 0) return;
  uintptr_t begin = reinterpret_cast<uintptr_t>(data), end = begin + bytes;
  // From the first range that ends at `begin` or behind it.
  auto it = ends_.upper_bound(begin);
  if (it != ends_.begin() && std::prev(it)->second >= begin) --it;
  while (it != ends_.end() && it->first <= end) {
    begin = std::min(begin, it->first);
    end = std::max(end, it->second);
    it = ends_.erase(it);
  }
  ends_[begin] = end;
}

bool MemoryRanges::Overlaps(const void* data, int64_t bytes) const {
  if (bytes == 0) return false;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data);
  const auto behind = ends_.lower_bound(begin + bytes);
  return behind != ends_.begin() && std::prev(behind)->second > begin;
}

}  // namespace weft

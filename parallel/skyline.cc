#include "parallel/skyline.h"

#include <algorithm>
#include <utility>

namespace weft {

Skyline::Skyline(std::vector<int64_t> ticks) : ticks_(std::move(ticks)) {
  std::sort(ticks_.begin(), ticks_.end());
  ticks_.erase(std::unique(ticks_.begin(), ticks_.end()), ticks_.end());
  if (!ticks_.empty()) tree_.resize(4 * ticks_.size());
}

int64_t Skyline::highest() const {
  return tree_.empty() ? floor_ : std::max(floor_, tree_[1].highest);
}

size_t Skyline::IndexOf(int64_t tick) const {
  return static_cast<size_t>(std::lower_bound(ticks_.begin(), ticks_.end(), tick) - ticks_.begin());
}

int64_t Skyline::Highest(int64_t begin, int64_t end) const {
  return std::max(floor_, Query(1, 0, ticks_.size(), IndexOf(begin), IndexOf(end)));
}

void Skyline::Raise(int64_t begin, int64_t end, int64_t height) {
  Update(1, 0, ticks_.size(), IndexOf(begin), IndexOf(end), height);
}

int64_t Skyline::Query(size_t node, size_t lo, size_t hi, size_t begin, size_t end) const {
  if (begin >= hi || end <= lo) return 0;
  if (begin <= lo && hi <= end) return tree_[node].highest;
  const size_t middle = (lo + hi) / 2;
  return std::max({tree_[node].everywhere, Query(2 * node, lo, middle, begin, end),
                   Query(2 * node + 1, middle, hi, begin, end)});
}

void Skyline::Update(size_t node, size_t lo, size_t hi, size_t begin, size_t end, int64_t height) {
  if (begin >= hi || end <= lo) return;
  tree_[node].highest = std::max(tree_[node].highest, height);
  if (begin <= lo && hi <= end) {
    tree_[node].everywhere = std::max(tree_[node].everywhere, height);
    return;
  }
  const size_t middle = (lo + hi) / 2;
  Update(2 * node, lo, middle, begin, end, height);
  Update(2 * node + 1, middle, hi, begin, end, height);
}

}  // namespace weft

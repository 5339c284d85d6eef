#include "runtime/box.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runtime/logging.h"

namespace weft {

void IndexSet::Append(Interval interval) {
  if (interval.size() <= 0) return;
  if (!intervals_.empty()) {
    CHECK_GE(interval.begin, intervals_.back().end) << "intervals must increase";
    if (intervals_.back().end == interval.begin) {
      intervals_.back().end = interval.end;
      return;
    }
  }
  intervals_.push_back(interval);
}

int64_t IndexSet::size() const {
  int64_t n = 0;
  for (const Interval& i : intervals_) n += i.size();
  return n;
}

int64_t IndexSet::ToLogical(int64_t local) const {
  for (const Interval& i : intervals_) {
    if (local < i.size()) return i.begin + local;
    local -= i.size();
  }
  LOG(FATAL) << "local index beyond the index set";
  return -1;
}

int64_t IndexSet::ToLocal(int64_t logical) const {
  int64_t before = 0;
  for (const Interval& i : intervals_) {
    if (logical < i.begin) return -1;
    if (logical < i.end) return before + logical - i.begin;
    before += i.size();
  }
  return -1;
}

IndexSet IndexSet::Intersect(const IndexSet& other) const {
  IndexSet result;
  size_t a = 0, b = 0;
  while (a < intervals_.size() && b < other.intervals_.size()) {
    const Interval& x = intervals_[a];
    const Interval& y = other.intervals_[b];
    result.Append({std::max(x.begin, y.begin), std::min(x.end, y.end)});
    if (x.end < y.end) {
      ++a;
    } else {
      ++b;
    }
  }
  return result;
}

IndexSet IndexSet::Slice(Interval local) const {
  IndexSet result;
  int64_t before = 0;
  for (const Interval& i : intervals_) {
    const int64_t lo = std::max<int64_t>(local.begin - before, 0);
    const int64_t hi = std::min<int64_t>(local.end - before, i.size());
    result.Append({i.begin + lo, i.begin + std::max(lo, hi)});
    before += i.size();
  }
  return result;
}

Box Box::Whole(absl::Span<const int64_t> shape) {
  Box box;
  for (int64_t extent : shape) box.dims.push_back(IndexSet({0, extent}));
  return box;
}

Shape Box::shape() const {
  Shape shape;
  for (const IndexSet& dim : dims) shape.push_back(dim.size());
  return shape;
}

int64_t Box::elements() const {
  int64_t n = 1;
  for (const IndexSet& dim : dims) n *= dim.size();
  return n;
}

Box Box::Intersect(const Box& other) const {
  CHECK_EQ(dims.size(), other.dims.size());
  Box result;
  for (size_t d = 0; d < dims.size(); ++d) result.dims.push_back(dims[d].Intersect(other.dims[d]));
  return result;
}

std::string Box::ToString() const {
  std::string text = "[";
  for (size_t d = 0; d < dims.size(); ++d) {
    if (d) text += ",";
    if (dims[d].intervals().empty()) text += "none";
    bool first = true;
    for (const Interval& i : dims[d].intervals()) {
      absl::StrAppend(&text, first ? "" : "+", i.begin, ":", i.end);
      first = false;
    }
  }
  return text + "]";
}

}  // namespace weft

#include "runtime/box_copy.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "runtime/logging.h"
#include "runtime/reduce.h"

namespace weft {
namespace {

template <typename T>
void Fill(void* data, int64_t count, T value) {
  std::fill_n(static_cast<T*>(data), count, value);
}

// Integers: 0, or the lowest value where the identity is -inf.
template <typename T>
void FillInteger(void* data, int64_t count, Monoid monoid) {
  Fill<T>(data, count, monoid == Monoid::kSum ? T{0} : std::numeric_limits<T>::lowest());
}

}  // namespace

absl::InlinedVector<BoxCopy::Run, 2> BoxCopy::RunsOf(const IndexSet& from, const IndexSet& to,
                                                     const IndexSet& region) {
  absl::InlinedVector<Run, 2> runs;
  for (const Interval& part : region.intervals()) {
    // A region's interval lies within one interval of each box, which contain the region.
    const Run run{from.ToLocal(part.begin), to.ToLocal(part.begin), part.size()};
    if (!runs.empty() && runs.back().from + runs.back().count == run.from &&
        runs.back().to + runs.back().count == run.to) {
      runs.back().count += run.count;  // adjacent in both buffers
    } else {
      runs.push_back(run);
    }
  }
  return runs;
}

BoxCopy::BoxCopy(const Box& from, const Box& to, const Box& region, DType dtype)
    : dtype_(dtype), element_bytes_(SizeOf(dtype)) {
  const Box shared = region.Intersect(from).Intersect(to);
  elements_ = shared.elements();
  if (elements_ == 0) return;
  const size_t rank = shared.dims.size();
  int64_t from_stride = element_bytes_;
  int64_t to_stride = element_bytes_;
  // Innermost first; a dimension joins the level inside it while that one is copied whole.
  levels_.push_back({{{0, 0, 1}}, from_stride, to_stride});
  bool whole = true;
  for (size_t i = rank; i-- > 0;) {
    const int64_t from_size = from.dims[i].size();
    const int64_t to_size = to.dims[i].size();
    absl::InlinedVector<Run, 2> runs = RunsOf(from.dims[i], to.dims[i], shared.dims[i]);
    if (whole) {
      // The level inside has one run over all of both buffers' rows: scale this one by its length.
      Level& level = levels_.back();
      const int64_t row = level.runs[0].count;
      for (Run& run : runs) run = {run.from * row, run.to * row, run.count * row};
      level.runs = std::move(runs);
    } else {
      levels_.push_back({std::move(runs), from_stride, to_stride});
    }
    whole = whole && from_size == to_size && shared.dims[i].size() == from_size &&
            levels_.back().runs.size() == 1;
    from_stride *= from_size;
    to_stride *= to_size;
  }
  std::reverse(levels_.begin(), levels_.end());
  int64_t outer = 1;  // pieces so far: the region is one run while everything outside is one position
  for (const Level& level : levels_) {
    from_offset_ += level.runs[0].from * level.from_stride;
    to_offset_ += level.runs[0].to * level.to_stride;
    int64_t positions = 0;
    for (size_t r = 0; r < level.runs.size(); ++r) {
      positions += level.runs[r].count;
      if (r == 0) continue;
      const Run& last = level.runs[r - 1];
      if (last.from + last.count != level.runs[r].from) from_contiguous_ = false;
      if (last.to + last.count != level.runs[r].to) to_contiguous_ = false;
    }
    outer *= positions;
  }
  // Several positions of an outer level are one run only if everything inside spans the whole row.
  for (size_t l = 0; l + 1 < levels_.size(); ++l) {
    int64_t positions = 0;
    for (const Run& run : levels_[l].runs) positions += run.count;
    if (positions == 1) continue;
    int64_t inside = element_bytes_;
    for (size_t k = l + 1; k < levels_.size(); ++k) {
      int64_t count = 0;
      for (const Run& run : levels_[k].runs) count += run.count;
      inside *= count;
    }
    if (inside != levels_[l].from_stride) from_contiguous_ = false;
    if (inside != levels_[l].to_stride) to_contiguous_ = false;
  }
  CHECK_EQ(outer, elements_);
}

template <typename Visit>
void BoxCopy::Walk(size_t level, const char* from, char* to, const Visit& visit) const {
  const Level& here = levels_[level];
  if (level + 1 == levels_.size()) {
    for (const Run& run : here.runs) {
      visit(from + run.from * here.from_stride, to + run.to * here.to_stride, run.count);
    }
    return;
  }
  for (const Run& run : here.runs) {
    const char* f = from + run.from * here.from_stride;
    char* t = to + run.to * here.to_stride;
    for (int64_t i = 0; i < run.count; ++i, f += here.from_stride, t += here.to_stride) {
      Walk(level + 1, f, t, visit);
    }
  }
}

void BoxCopy::Copy(const void* from, void* to) const {
  if (levels_.empty()) return;
  Walk(0, static_cast<const char*>(from), static_cast<char*>(to),
       [this](const char* f, char* t, int64_t count) {
         if (f != t) std::memcpy(t, f, count * element_bytes_);
       });
}

void BoxCopy::Combine(Monoid monoid, const void* from, void* to) const {
  if (levels_.empty()) return;
  Walk(0, static_cast<const char*>(from), static_cast<char*>(to),
       [this, monoid](const char* f, char* t, int64_t count) {
         const void* sources[] = {t, f};
         ReduceInOrder(dtype_, monoid, sources, t, count);
       });
}

void CopyIntersection(const void* from, const Box& from_box, void* to, const Box& to_box,
                      DType dtype) {
  BoxCopy(from_box, to_box, to_box, dtype).Copy(from, to);
}

void FillIdentity(DType dtype, Monoid monoid, void* data, int64_t count) {
  const double identity = IdentityOf(monoid);
  switch (dtype) {
    case DType::kF32: return Fill(data, count, static_cast<float>(identity));
    case DType::kF64: return Fill(data, count, identity);
    case DType::kBF16: return Fill(data, count, BFloat16(static_cast<float>(identity)));
    case DType::kF16: return Fill(data, count, Float16(static_cast<float>(identity)));
    case DType::kI32: return FillInteger<int32_t>(data, count, monoid);
    case DType::kI64: return FillInteger<int64_t>(data, count, monoid);
    case DType::kU8: return FillInteger<uint8_t>(data, count, monoid);
    case DType::kBool: return Fill(data, count, false);
  }
}

}  // namespace weft

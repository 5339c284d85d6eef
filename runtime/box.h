// Box: which logical indices of a tensor a rank holds. It is all that a kernel learns of
// distribution: kernels never see ranks, meshes or SBP. Vocabulary offsets, RoPE positions, masks,
// dropout, initialisation and every uneven split read it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "runtime/tensor_spec.h"

namespace weft {

// Half-open range of logical indices.
struct Interval {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  friend bool operator==(const Interval&, const Interval&) = default;
};

// Sorted, disjoint, non-adjacent intervals along one dimension. One for contiguous splits, two for
// zigzag; none for an empty part. Local index order is increasing logical index.
class IndexSet {
 public:
  IndexSet() = default;
  explicit IndexSet(Interval whole) { Append(whole); }

  // Appends at the end (begin must be >= the last end); empty intervals vanish, adjacent ones merge.
  void Append(Interval interval);
  int64_t size() const;
  bool contiguous() const { return intervals_.size() <= 1; }
  // First logical index; 0 for an empty set.
  int64_t begin() const { return intervals_.empty() ? 0 : intervals_.front().begin; }
  // Logical index of local index `local` (0 <= local < size()).
  int64_t ToLogical(int64_t local) const;
  // Local index of a logical index, or -1 if it is not held.
  int64_t ToLocal(int64_t logical) const;
  absl::Span<const Interval> intervals() const { return intervals_; }
  IndexSet Intersect(const IndexSet& other) const;
  // The logical indices at local positions [local.begin, local.end) of this set.
  IndexSet Slice(Interval local) const;
  friend bool operator==(const IndexSet&, const IndexSet&) = default;

 private:
  absl::InlinedVector<Interval, 2> intervals_;
};

// A product of index sets, one per dimension of the logical tensor.
struct Box {
  absl::InlinedVector<IndexSet, 5> dims;

  // The box that holds the whole tensor.
  static Box Whole(absl::Span<const int64_t> shape);
  // Local shape: sizes of the index sets.
  Shape shape() const;
  int64_t elements() const;
  bool empty() const { return elements() == 0; }
  Box Intersect(const Box& other) const;
  // "[0:4,8:12+20:24]".
  std::string ToString() const;
  friend bool operator==(const Box&, const Box&) = default;
};

}  // namespace weft

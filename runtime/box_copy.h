// Copying between dense buffers that hold different boxes of one logical tensor: what conversions
// of layout, feeds, fetches and checkpoints do on a rank.
#pragma once

#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "runtime/box.h"
#include "runtime/dtype.h"
#include "runtime/monoid.h"

namespace weft {

// A prepared copy of `region` between a buffer dense over the box `from` and one dense over `to`.
// Its size does not grow with the number of runs, and running it allocates nothing. Any thread.
class BoxCopy {
 public:
  BoxCopy() = default;
  // The region is what all three boxes share; they are boxes of one tensor. Packing is a `to` equal
  // to the region, unpacking a `from` equal to it.
  BoxCopy(const Box& from, const Box& to, const Box& region, DType dtype);

  // Elements that are copied.
  int64_t elements() const { return elements_; }
  int64_t bytes() const { return elements_ * element_bytes_; }
  // Whether the region is one run of the source (target) buffer, and at which byte it starts.
  bool from_contiguous() const { return from_contiguous_; }
  bool to_contiguous() const { return to_contiguous_; }
  int64_t from_offset() const { return from_offset_; }
  int64_t to_offset() const { return to_offset_; }

  // How the copy is made up, for devices that run it themselves. Along one dimension: `count`
  // positions from local index `from` at the source, `to` at the target.
  struct Run {
    int64_t from = 0;
    int64_t to = 0;
    int64_t count = 0;
  };
  // One dimension, or several inner ones merged; strides in bytes.
  struct Level {
    absl::InlinedVector<Run, 2> runs;
    int64_t from_stride = 0;
    int64_t to_stride = 0;
  };
  // Outermost first; none if there is nothing to copy. Elements of the innermost are adjacent.
  absl::Span<const Level> levels() const { return levels_; }
  DType dtype() const { return dtype_; }

  // What is where it belongs already stays; else the buffers must not overlap.
  void Copy(const void* from, void* to) const;
  // to = monoid(to, from). The pair of dtype and monoid has passed CheckReducible
  // (runtime/reduce.h).
  void Combine(Monoid monoid, const void* from, void* to) const;

 private:
  static absl::InlinedVector<Run, 2> RunsOf(const IndexSet& from, const IndexSet& to,
                                            const IndexSet& region);
  template <typename Visit>
  void Walk(size_t level, const char* from, char* to, const Visit& visit) const;

  DType dtype_ = DType::kF32;
  int64_t element_bytes_ = 0;
  int64_t elements_ = 0;
  bool from_contiguous_ = true;
  bool to_contiguous_ = true;
  int64_t from_offset_ = 0;
  int64_t to_offset_ = 0;
  absl::InlinedVector<Level, 4> levels_;
};

// Copies what the boxes share; a convenience where it is done once.
void CopyIntersection(const void* from, const Box& from_box, void* to, const Box& to_box,
                      DType dtype);

// Sets `count` elements to the monoid's identity; integers take 0 and their lowest value.
void FillIdentity(DType dtype, Monoid monoid, void* data, int64_t count);

}  // namespace weft

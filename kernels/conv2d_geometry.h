// What the convolution kernels know of their operands: extents of one rank's parts, and strides.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/types/span.h"
#include "runtime/attrs.h"

namespace weft {

// Local extents of x [n,channels,h,w] (or [n,h,w,channels]), w [filters,channels/groups,kh,kw] and
// y [n,filters,oh,ow] (or [n,oh,ow,filters]); pairs are (height, width).
struct ConvGeometry {
  ConvGeometry(absl::Span<const int64_t> x, absl::Span<const int64_t> w,
               absl::Span<const int64_t> y, const Attrs& attrs)
      : channels_last(attrs.String("format") == "NHWC"),
        batch(x[0]),
        channels(x[channels_last ? 3 : 1]),
        filters(w[0]),
        group_channels(w[1]),
        // A rank holds whole groups, or a part of the channels of the only one.
        groups(group_channels == 0 ? 0 : channels / group_channels) {
    for (int d = 0; d < 2; ++d) {
      size[d] = x[d + (channels_last ? 1 : 2)];
      out[d] = y[d + (channels_last ? 1 : 2)];
      kernel[d] = w[d + 2];
      stride[d] = attrs.Ints("stride")[d];
      padding[d] = attrs.Ints("padding")[d];
      dilation[d] = attrs.Ints("dilation")[d];
    }
  }
  // Whether some extent is 0, so that there is nothing to multiply.
  bool empty() const {
    return std::min({batch, channels, filters, groups, size[0], size[1], out[0], out[1], kernel[0],
                     kernel[1]}) == 0;
  }
  int64_t group_filters() const { return filters / groups; }

  bool channels_last;
  int64_t batch, channels, filters, group_channels, groups;
  int64_t size[2], out[2], kernel[2], stride[2], padding[2], dilation[2];
};

// Which of the three products of a convolution: y of (x, w), dx of (dy, w), dw of (x, dy).
enum class ConvProduct : int { kForward, kDataGrad, kWeightGrad };

}  // namespace weft

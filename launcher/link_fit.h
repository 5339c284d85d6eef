// Fits what messages cost (LinkCost of parallel/cost_model.h) to measured times.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "parallel/cost_model.h"

namespace weft {

// One message of so many bytes, sent while one as large was received.
struct TimedMessage {
  int64_t bytes = 0;
  double seconds = 0;
};

// The latency and bandwidth whose times are nearest to all points by least squares of the relative
// error, so that short messages count as much as long ones. Neither comes out negative: a latency
// below zero becomes none and the bandwidth is fitted alone; where longer messages take no longer,
// the bandwidth is infinite. InvalidArgument for fewer than two sizes or times that are not
// positive.
absl::StatusOr<LinkCost> FitLink(absl::Span<const TimedMessage> points);

}  // namespace weft

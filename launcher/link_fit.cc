#include "launcher/link_fit.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"

namespace weft {

absl::StatusOr<LinkCost> FitLink(absl::Span<const TimedMessage> points) {
  const auto [least, most] = std::minmax_element(
      points.begin(), points.end(), [](const auto& a, const auto& b) { return a.bytes < b.bytes; });
  if (points.empty() || least->bytes == most->bytes) {
    return absl::InvalidArgumentError(
        "latency and bandwidth follow from messages of two sizes at least");
  }
  // Minimises the sum of (latency x + beta y - 1)^2 with x = 1 / seconds, y = bytes / seconds.
  double xx = 0, xy = 0, yy = 0, x = 0, y = 0;
  for (const TimedMessage& point : points) {
    if (!(point.seconds > 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("a message of ", point.bytes, " bytes took ", point.seconds, " seconds"));
    }
    const double px = 1 / point.seconds;
    const double py = static_cast<double>(point.bytes) / point.seconds;
    xx += px * px;
    xy += px * py;
    yy += py * py;
    x += px;
    y += py;
  }
  const double determinant = xx * yy - xy * xy;  // above 0: there are two sizes
  const double latency = (x * yy - y * xy) / determinant;
  const double beta = (y * xx - x * xy) / determinant;
  if (latency < 0) return LinkCost{0, yy / y};
  if (!(beta > 0)) return LinkCost{x / xx, std::numeric_limits<double>::infinity()};
  return LinkCost{latency, 1 / beta};
}

}  // namespace weft

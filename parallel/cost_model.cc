#include "parallel/cost_model.h"

#include <algorithm>

namespace weft {

double CostModel::Seconds(const Cost& cost) const {
  return std::max(cost.flops / flops_per_second, cost.bytes / memory_bytes_per_second);
}

double CostModel::LinkSeconds(int64_t bytes, int messages) const {
  return static_cast<double>(bytes) / link_bytes_per_second + messages * link_latency;
}

int64_t CostModel::BucketBytes() const {
  constexpr double kLatencies = 25;
  return static_cast<int64_t>(kLatencies * link_latency * link_bytes_per_second);
}

}  // namespace weft

#include "parallel/cost_model.h"

#include <algorithm>

namespace weft {

double CostModel::Seconds(const Cost& cost) const {
  return std::max(cost.flops / flops_per_second, cost.bytes / memory_bytes_per_second);
}

double CostModel::LinkSeconds(int64_t bytes, int messages) const {
  return static_cast<double>(bytes) / link_bytes_per_second + messages * link_latency;
}

}  // namespace weft

#include "parallel/cost_model.h"

#include <algorithm>

namespace weft {

double CostModel::Seconds(const Cost& cost) const {
  return std::max(cost.flops / flops_per_second, cost.bytes / memory_bytes_per_second);
}

LinkCost CostModel::LinkOf(std::string_view axis, int size) const {
  const LinkCost* any = nullptr;
  for (const Group& group : groups) {
    if (group.size != size) continue;
    if (group.axis == axis) return group.link;
    if (group.axis.empty()) any = &group.link;
  }
  return any == nullptr ? link() : *any;
}

int64_t CostModel::BucketBytes() const {
  constexpr double kLatencies = 25;
  return static_cast<int64_t>(kLatencies * link_latency * link_bytes_per_second);
}

}  // namespace weft

#include "parallel/cost_model.h"

#include <algorithm>

namespace weft {

CostModel CostModel::OfGpus() {
  CostModel cost;
  cost.flops_per_second = 6.5e14;
  cost.memory_bytes_per_second = 3.5e12;
  cost.link_bytes_per_second = 3.5e11;
  cost.link_latency = 1e-5;
  return cost;
}

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

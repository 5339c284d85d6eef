#include "parallel/reshard_cost.h"

#include <algorithm>
#include <optional>

#include "parallel/reshard_map.h"
#include "runtime/collective_bytes.h"

namespace weft {
namespace {

constexpr double kFiringSeconds = 1e-6;  // of an actor, whatever it does
constexpr int kSampledRanks = 64;

double MemorySeconds(int64_t bytes, const CostModel& cost) {
  return kFiringSeconds + static_cast<double>(bytes) / cost.memory_bytes_per_second;
}

StepPrice AllReducePrice(const ReshardStep& step, const TensorSpec& spec, const CostModel& cost) {
  const int size = step.from_mesh.axes()[step.axis].size;
  // The first member's part is a largest one.
  const int64_t count = BoxOf(spec.shape, step.from, step.from_mesh, 0).elements();
  const int64_t sent = std::max(AllReduceBytesSent(0, size, count, spec.dtype),
                                AllReduceBytesSent(size - 1, size, count, spec.dtype));
  const int messages = AllReduceIsDirect(size, count, spec.dtype) ? size - 1 : 2 * (size - 1);
  const auto weight = static_cast<int64_t>(static_cast<double>(sent) * cost.all_reduce_factor);
  return {LinkOf(step, cost).Seconds(weight, messages) +
              MemorySeconds(2 * count * SizeOf(spec.dtype), cost),
          sent * step.from_mesh.size()};
}

StepPrice ExchangePrice(const ReshardStep& step, const TensorSpec& spec, const CostModel& cost) {
  const ReshardMap map(spec.shape, step);
  const int targets = step.to_mesh.size();
  const int samples = std::min(targets, kSampledRanks);
  int busiest = 0;
  int64_t most = 0, total = 0, largest = 0;
  for (int i = 0; i < samples; ++i) {
    const int t = static_cast<int>(int64_t{i} * targets / samples);
    largest = std::max(largest, map.TargetBox(t).elements());
    const int64_t received = map.Received(t);
    total += received;
    if (received > most) {
      most = received;
      busiest = t;
    }
  }
  const int64_t element = SizeOf(spec.dtype);
  const double memory = MemorySeconds(2 * element * largest, cost);
  if (most == 0) return {memory, 0};
  total = total * targets / samples;
  const ReshardMap::Load sent =
      step.same_mesh() ? map.BusiestSender() : ReshardMap::Load{total / step.from_mesh.size(), 0};
  return {memory +
              LinkOf(step, cost)
                  .Seconds(element * std::max(most, sent.elements),
                           std::max(map.Messages(busiest), sent.messages)) +
              static_cast<double>(element * most) / cost.memory_bytes_per_second,
          element * total};
}

}  // namespace

LinkCost LinkOf(const ReshardStep& step, const CostModel& cost) {
  if (cost.groups.empty() || !step.same_mesh()) return cost.link();
  std::optional<LinkCost> slowest;
  for (int a = 0; a < step.from_mesh.num_axes(); ++a) {
    const Mesh::Axis& axis = step.from_mesh.axes()[a];
    if (axis.size == 1 || step.from[a] == step.to[a]) continue;
    const LinkCost link = cost.LinkOf(axis.name, axis.size);
    if (!slowest) slowest = link;
    slowest->latency = std::max(slowest->latency, link.latency);
    slowest->bytes_per_second = std::min(slowest->bytes_per_second, link.bytes_per_second);
  }
  return slowest.value_or(cost.link());
}

double LeastSeconds(const Layout& to, const Mesh& to_mesh, const TensorSpec& spec,
                    const CostModel& cost) {
  return MemorySeconds(2 * BoxOf(spec.shape, to, to_mesh, 0).elements() * SizeOf(spec.dtype), cost);
}

StepPrice PriceOf(const ReshardStep& step, const TensorSpec& spec, const CostModel& cost) {
  if (step.kind == ReshardStep::Kind::kAllReduce) return AllReducePrice(step, spec, cost);
  if (step.kind == ReshardStep::Kind::kLocal) {
    return {LeastSeconds(step.to, step.to_mesh, spec, cost), 0};
  }
  return ExchangePrice(step, spec, cost);
}

double StepSeconds(const ReshardStep& step, const TensorSpec& spec, const CostModel& cost) {
  return PriceOf(step, spec, cost).seconds;
}

}  // namespace weft

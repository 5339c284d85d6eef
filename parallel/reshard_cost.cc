#include "parallel/reshard_cost.h"

#include <algorithm>

#include "parallel/reshard_map.h"
#include "runtime/collective_bytes.h"

namespace weft {
namespace {

constexpr double kFiringSeconds = 1e-6;  // of an actor, whatever it does
constexpr int kSampledRanks = 64;

double MemorySeconds(int64_t bytes, const CostModel& cost) {
  return kFiringSeconds + static_cast<double>(bytes) / cost.memory_bytes_per_second;
}

double AllReduceSeconds(const ReshardStep& step, const TensorSpec& spec, const CostModel& cost) {
  const int size = step.from_mesh.axes()[step.axis].size;
  // The first member's part is a largest one.
  const int64_t count = BoxOf(spec.shape, step.from, step.from_mesh, 0).elements();
  const int64_t sent = std::max(AllReduceBytesSent(0, size, count, spec.dtype),
                                AllReduceBytesSent(size - 1, size, count, spec.dtype));
  const int messages = AllReduceIsDirect(size, count, spec.dtype) ? size - 1 : 2 * (size - 1);
  return cost.LinkSeconds(sent, messages) + MemorySeconds(2 * count * SizeOf(spec.dtype), cost);
}

// Messages that a target member receives.
int Messages(const ReshardMap& map, int target) {
  const Box wanted = map.TargetBox(target);
  int messages = 0;
  for (int s : map.Sources(target)) {
    if (s != map.SourceOn(target) && !map.SourceBox(s).Intersect(wanted).empty()) ++messages;
  }
  return messages;
}

double ExchangeSeconds(const ReshardStep& step, const TensorSpec& spec, const CostModel& cost) {
  const ReshardMap map(spec.shape, step);
  const int targets = step.to_mesh.size();
  const int samples = std::min(targets, kSampledRanks);
  int busiest = 0;
  int64_t most = 0, total = 0, largest = 0;
  for (int i = 0; i < samples; ++i) {
    const int t = static_cast<int>(int64_t{i} * targets / samples);
    const Box box = map.TargetBox(t);
    const int64_t part = box.elements();
    largest = std::max(largest, part);
    int64_t received = map.Needed(t);
    const int own = map.SourceOn(t);
    if (received > 0 && own >= 0 && map.Feeds(own, t)) {
      received -= map.SourceBox(own).Intersect(box).elements();
    }
    total += received;
    if (received > most) {
      most = received;
      busiest = t;
    }
  }
  const int64_t element = SizeOf(spec.dtype);
  const double memory = MemorySeconds(2 * element * largest, cost);
  if (most == 0) return memory;
  const int64_t sent = total * targets / samples / step.from_mesh.size();
  return memory + cost.LinkSeconds(element * std::max(most, sent), Messages(map, busiest)) +
         static_cast<double>(element * most) / cost.memory_bytes_per_second;
}

}  // namespace

double StepSeconds(const ReshardStep& step, const TensorSpec& spec, const CostModel& cost) {
  if (step.kind == ReshardStep::Kind::kAllReduce) return AllReduceSeconds(step, spec, cost);
  if (step.kind == ReshardStep::Kind::kLocal) {
    const int64_t elements = BoxOf(spec.shape, step.to, step.to_mesh, 0).elements();
    return MemorySeconds(2 * elements * SizeOf(spec.dtype), cost);
  }
  return ExchangeSeconds(step, spec, cost);
}

}  // namespace weft

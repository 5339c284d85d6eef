#include "actors/stream_needs.h"

namespace weft {

int64_t WaitsOf(const Plan& plan, const Actor& actor) {
  const int own = actor.def().stream();
  const auto elsewhere = [&](int other) { return plan.actors(other).stream() != own ? 1 : 0; };
  int64_t waits = 0;
  for (int id : actor.def().inputs()) waits += elsewhere(plan.channels(id).producer());
  for (int id : actor.def().outputs()) {
    for (const ConsumerDef& consumer : plan.channels(id).consumers()) {
      waits += elsewhere(consumer.actor());
    }
  }
  return waits;
}

int64_t EntriesOf(const Plan& plan, const Actor& actor) {
  return WaitsOf(plan, actor) + actor.tasks() + (actor.marks_within() ? 0 : 2);
}

Device::Work WorkOf(const Plan& plan, const StreamDef& stream) {
  for (int a : stream.order()) {
    if (plan.actors(a).has_compute()) return Device::Work::kCompute;
  }
  return Device::Work::kTransfer;
}

}  // namespace weft

#include "actors/stream_needs.h"

namespace weft {

int64_t EntriesOf(const Plan& plan, const Actor& actor) {
  int64_t waits = actor.def().inputs_size();
  for (int id : actor.def().outputs()) waits += plan.channels(id).consumers_size();
  const int marks = actor.marks_within() ? 0 : 2;
  return waits + actor.tasks() + marks;
}

Device::Work WorkOf(const Plan& plan, const StreamDef& stream) {
  for (int a : stream.order()) {
    if (plan.actors(a).has_compute()) return Device::Work::kCompute;
  }
  return Device::Work::kTransfer;
}

}  // namespace weft

// What the streams of a plan must hold and what runs on them, for the device that makes them.
#pragma once

#include <cstdint>

#include "actors/actor.h"
#include "runtime/device.h"
#include "runtime/plan.pb.h"

namespace weft {

// Most waits for other streams that one firing of an actor of the plan appends to its stream.
int64_t WaitsOf(const Plan& plan, const Actor& actor);
// Most entries that one firing of an actor of the plan appends to its stream.
int64_t EntriesOf(const Plan& plan, const Actor& actor);
// Whether an actor of the plan runs kernels on this stream.
Device::Work WorkOf(const Plan& plan, const StreamDef& stream);

}  // namespace weft

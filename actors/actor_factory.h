// From a plan's actor definition to the actor of its kind.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "actors/actor.h"

namespace weft {

// The actor `index` of context.plan, which has passed CheckPlan. Errors name the actor.
absl::StatusOr<std::unique_ptr<Actor>> MakeActor(const ActorContext& context, int index);

}  // namespace weft

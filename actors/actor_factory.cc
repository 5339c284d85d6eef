#include "actors/actor_factory.h"

#include "absl/strings/str_cat.h"
#include "actors/all_reduce_actor.h"
#include "actors/compute_actor.h"
#include "actors/device_exchange_actor.h"
#include "actors/exchange_actor.h"
#include "actors/host_actor.h"
#include "actors/staged_host_actor.h"
#include "runtime/status.h"

namespace weft {
namespace {

// No default: a kind without a case does not compile where warnings are errors.
absl::StatusOr<std::unique_ptr<Actor>> Make(const ActorContext& context, int index) {
  const bool on_host = context.device.queue() == nullptr;
  switch (context.plan.actors(index).kind_case()) {
    case ActorDef::kCompute: return ComputeActor::Create(context, index);
    case ActorDef::kAllReduce: return AllReduceActor::Create(context, index);
    case ActorDef::kExchange:
      return on_host ? ExchangeActor::Create(context, index)
                     : DeviceExchangeActor::Create(context, index);
    case ActorDef::kFeed:
      return on_host ? HostActor::CreateFeed(context, index)
                     : StagedHostActor::CreateFeed(context, index);
    case ActorDef::kFetch:
      return on_host ? HostActor::CreateFetch(context, index)
                     : StagedHostActor::CreateFetch(context, index);
    case ActorDef::KIND_NOT_SET: break;
  }
  return absl::InvalidArgumentError("the actor has no kind");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Actor>> MakeActor(const ActorContext& context, int index) {
  absl::StatusOr<std::unique_ptr<Actor>> actor = Make(context, index);
  if (actor.ok()) return actor;
  return Annotate(actor.status(), absl::StrCat("actor `", context.plan.actors(index).name(), "`"));
}

}  // namespace weft

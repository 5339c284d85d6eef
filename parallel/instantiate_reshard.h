// One rank's share of a conversion step, as the plan's messages, and the bytes it sends.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "parallel/reshard_step.h"
#include "runtime/plan.pb.h"
#include "runtime/tensor_spec.h"

namespace weft {

// What a rank does in a step. Neither: the rank is in neither mesh.
struct RankReshard {
  // kAllReduce: ranks and monoid; the caller sets communicator, input and output.
  std::optional<AllReduceDef> all_reduce;
  // kExchange and kLocal: pieces, combine, monoid and fill; input.buffer and output.buffer are -1
  // where the rank holds nothing of that side and 0 where the caller must set them; no tag. A piece
  // from the rank itself is listed under receives only. At most one piece goes from one rank to
  // another; empty pieces are left out. With fill_identity the output starts as the monoid's
  // identity (always so with combine) and the pieces combine into it in the order listed, which is
  // the same on every rank that makes the same box.
  std::optional<ExchangeDef> exchange;
};

// `spec` is logical. Errors: a rank that should take part holds none of the step's meshes
// (Internal).
absl::StatusOr<RankReshard> InstantiateStep(const ReshardStep& step, const TensorSpec& spec,
                                            int world_rank);

// Payload bytes that the rank sends to others in the step, exactly; by the communicator's formula
// for all-reduces.
int64_t BytesSent(const ReshardStep& step, const TensorSpec& spec, int world_rank);
// The same, added over all ranks.
int64_t TotalBytesSent(const ReshardStep& step, const TensorSpec& spec);

}  // namespace weft

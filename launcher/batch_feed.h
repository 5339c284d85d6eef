// BatchFeed: binds a job's data and its schedule to the inputs of a train or evaluate graph.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "launcher/bound_data.h"
#include "launcher/job.pb.h"
#include "runtime/kernel.h"

namespace weft {

// Immutable; called on the thread that feeds. `data` and `job` outlive it.
class BatchFeed {
 public:
  BatchFeed(const Job& job, const BoundData& data, bool held_out)
      : job_(job), data_(data), held_out_(held_out) {}

  // Microbatch j of M is rows [jB/M, (j+1)B/M) of the global batch of B; one that is shorter than
  // the largest is filled up with rows that have no target. Fills input `name` of step `step`
  // (0-based; with held_out: batch number).
  absl::Status operator()(std::string_view name, int64_t step, int64_t microbatch,
                          const Operand& out) const;

 private:
  absl::Status FillRows(std::string_view name, int64_t step, int64_t microbatch,
                        const Operand& out) const;

  const Job& job_;
  const BoundData& data_;
  const bool held_out_;
};

}  // namespace weft

// The plans of several ranks, together: what the check over all of them says, and what becomes of
// them on seeded streams.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "actors/simulation.h"
#include "tests/support/seeded_ranks.h"
#include "tests/support/toy_kernels.h"

namespace weft::testing {

// Half of the seeds let one stream run as far as it can before another, the others take turns.
inline SeededStreams::Turns TurnsOf(uint64_t seed) {
  return seed % 2 == 0 ? SeededStreams::Turns::kHighest : SeededStreams::Turns::kAnyone;
}

// The check over all ranks.
inline absl::Status CheckTogether(const std::vector<Plan>& plans) {
  return SimulatePlans(
             static_cast<int>(plans.size()), [&](int rank) { return plans[rank]; },
             [](int, int) { return Link{}; }, 2)
      .status();
}

// Runs three steps of plans without feeds, variables and real kernels. OK, or why they do not end;
// Internal if they get stuck.
inline absl::Status RunByHand(const std::vector<Plan>& plans, uint64_t seed) {
  const KernelTable kernels = ToyKernels();
  SeededRanks ranks(static_cast<int>(plans.size()), seed, TurnsOf(seed));
  for (const Plan& plan : plans) {
    const absl::Status added = ranks.Add(plan, ExecutorOptions{.kernels = kernels});
    if (!added.ok()) return added;
  }
  return ranks.RunSteps(3);
}

}  // namespace weft::testing

// Rank twins: ranks that do the same at the same time, so that one plan speaks for all of them. A
// thousand ranks of a regular mesh are a handful of kinds.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "actors/simulation.h"
#include "parallel/compile.h"

namespace weft {

// By world rank the lowest of its twins; itself where there is no lower one. The ranks of one kind
// run one stage, their parts of every tensor have equal shapes, every conversion takes their links
// equally long and sends equally much, and ties them to ranks of the same kinds, as many of each
// (an equitable partition). So their plans differ in boxes and peers alone, and on virtual streams,
// where times follow from lists, durations and messages, every firing of twins begins and ends
// together. The coarsest such partition that refinement finds. Pure; O(ranks * distinct conversions
// * messages). Errors: those of InstantiateStep and MessagesOf (weft bugs).
absl::StatusOr<std::vector<int>> FindTwins(const Program& program, const LinkTable& links);

}  // namespace weft

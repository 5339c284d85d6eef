// What the reports of all ranks come to: who is absent, who holds the others up, or which ranks
// wait for each other in a circle.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "actors/stall_note.pb.h"

namespace weft {

// One sentence. `reports` is by rank; a rank without one did not answer. A rank waits for another
// if it is in an operation with it and the other is not in the same one.
std::string StallSummary(const std::vector<std::optional<RankReportDef>>& reports);

}  // namespace weft

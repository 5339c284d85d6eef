// Why virtual streams stood still: for each gap in a schedule, the firing whose end closed it.
#pragma once

#include <string>
#include <vector>

#include "actors/simulation.h"
#include "runtime/marked_graph.h"

namespace weft {

// What a marked graph over several ranks does not say of its actors. Indexed by actor.
struct SimulatedActor {
  int rank = 0;
  std::string name;
  bool computes = false;
  bool communicates = false;
};

// The gaps before firings of actors that compute, by (actor, cause), longest first. `graph` has
// lists and `schedule` is its complete run of `steps` steps.
std::vector<Simulation::Wait> FindWaits(const MarkedGraph& graph,
                                        const std::vector<SimulatedActor>& actors,
                                        const Schedule& schedule, int steps);

}  // namespace weft

// What every pass gets besides the graph.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"
#include "parallel/axis_roles.h"
#include "parallel/cost_model.h"

namespace weft {

// A conversion that layout inference had to insert, for the report.
struct Conversion {
  std::string value;     // what is converted
  std::string consumer;  // the node that asked
  std::string from, to;  // layouts
  std::string how;       // "all-reduce over model", "exchange", "local"
  int64_t bytes = 0;     // sent per firing, over all ranks
  double seconds = 0;    // modelled
  bool microbatch = false;
  bool sums = false;   // completes a partial value; else it lays a whole one elsewhere
  bool asked = false;  // by an annotation
};

// What is known of how good the layouts are, in modelled seconds.
struct LayoutCertificate {
  bool optimal = false;       // no other layouts cost less
  bool axes_optimal = false;  // none that differ on one mesh axis only
  double seconds = 0;         // a step: all ops' work and all conversions, one after another

  const char* Text() const {
    return optimal ? "optimal" : axes_optimal ? "optimal on each axis" : "not proved optimal";
  }
};

struct PassContext {
  const OpRegistry& ops;
  const CostModel& cost;
  int microbatches = 1;
  std::vector<Conversion>* conversions = nullptr;  // may be null
  LayoutCertificate* certificate = nullptr;        // may be null
  // Split optimizer states over mesh axes named "data" (parallel/axis_roles.h).
  bool shard_states = false;
  SequenceMeeting meeting = SequenceMeeting::kAuto;
};

}  // namespace weft

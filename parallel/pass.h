// What every pass gets besides the graph.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"
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
};

struct PassContext {
  const OpRegistry& ops;
  const CostModel& cost;
  int microbatches = 1;
  std::vector<Conversion>* conversions = nullptr;  // may be null
};

}  // namespace weft

// CostModel: seconds for compute and for bytes on links; documented defaults, measured where a file
// says so. Only ratios matter to layout choice; a mistaken duration costs time, never safety.
#pragma once

#include <cstdint>

#include "graph/op_def.h"

namespace weft {

struct CostModel {
  double flops_per_second = 5e10;         // one rank's sustained arithmetic
  double memory_bytes_per_second = 1e10;  // one rank's memory traffic
  double link_bytes_per_second = 2e9;     // one rank's link, one direction
  double link_latency = 2e-5;             // seconds per message

  // A firing's time by the roofline: the slower of arithmetic and memory.
  double Seconds(const Cost& cost) const;
  // Time to send `bytes` in `messages` messages.
  double LinkSeconds(int64_t bytes, int messages) const;
  // How much of the gradients to send at once: as much as makes the latency of a message
  // negligible.
  int64_t BucketBytes() const;
};

}  // namespace weft

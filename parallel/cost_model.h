// CostModel: seconds for compute and for bytes on links; documented defaults (docs/costs.md),
// measured where a file says so. Only ratios matter to layout choice; a mistaken duration costs
// time, never safety.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "graph/op_def.h"

namespace weft {

// What messages cost a rank that sends or receives them one after the other.
struct LinkCost {
  double latency = 0;           // alpha: seconds per message
  double bytes_per_second = 1;  // 1 / beta: one direction

  double Seconds(int64_t bytes, int messages) const {
    return static_cast<double>(bytes) / bytes_per_second + messages * latency;
  }
};

struct CostModel {
  // The link within groups of `size` ranks along a mesh axis, measured while all groups work.
  struct Group {
    std::string axis;  // empty: any
    int size = 0;
    LinkCost link;
  };

  double flops_per_second = 5e10;         // one rank's sustained arithmetic
  double memory_bytes_per_second = 1e10;  // one rank's memory traffic
  double link_bytes_per_second = 2e9;     // one rank's link, one direction
  double link_latency = 2e-5;             // seconds per message
  std::vector<Group> groups;              // where links differ from that; each axis and size once
  // How much longer the bytes of an all-reduce take than those of an exchange: more than 1 where
  // kernels make it, whose multiprocessors others then lack, while copy engines exchange.
  double all_reduce_factor = 1;

  // GPUs of one host (docs/costs.md); the defaults above are a CPU rank's.
  static CostModel OfGpus();

  // A firing's time by the roofline: the slower of arithmetic and memory.
  double Seconds(const Cost& cost) const;
  // The link of all ranks that no group speaks of.
  LinkCost link() const { return {link_latency, link_bytes_per_second}; }
  // The link within a group of `size` ranks along `axis`: of that axis and size, else of any axis
  // and that size, else link().
  LinkCost LinkOf(std::string_view axis, int size) const;
  // How much of the gradients to send at once: as much as makes the latency of a message on link()
  // negligible.
  int64_t BucketBytes() const;
};

}  // namespace weft

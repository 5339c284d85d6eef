// What a rank's memory is for: the largest holders of a plan, for reports and for the error of a
// job that does not fit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/plan.pb.h"

namespace weft {

struct MemoryHolder {
  int64_t bytes = 0;  // of all slots
  int slots = 1;
  std::string name;
  std::string part;   // "f32[64,128] of [128,128]": what of the tensor is here
  std::string from;   // what writes it first; "always" for variables
  std::string until;  // what reads it last, one for each stream that reads it
  int buffer = -1;    // of the plan; -1: the workspace
};

// All holders of memory on the plan's rank, the largest first: variables, values, and the kernels'
// common workspace. Values whose lives do not overlap share memory, so that the sum may exceed the
// arena.
std::vector<MemoryHolder> MemoryHolders(const Plan& plan);

// Bytes of this rank's part of a buffer, one slot.
int64_t BoxBytes(const BufferDef& buffer);

// Bytes of this rank's parts of all variables.
int64_t VariableBytes(const Plan& plan);

}  // namespace weft

// Kernels small enough to check by hand, for tests of the run side: f32, any shape.
#pragma once

#include "absl/status/status.h"
#include "runtime/kernel.h"

namespace weft::testing {

// out = in + 1.
inline absl::Status Increment(const KernelContext& c) {
  for (int64_t i = 0; i < c.out(0).elements(); ++i) {
    c.out(0).as<float>()[i] = c.in(0).as<float>()[i] + 1;
  }
  return absl::OkStatus();
}

// out = sum of all inputs, or out += that.
inline absl::Status Add(const KernelContext& c) {
  for (int64_t i = 0; i < c.out(0).elements(); ++i) {
    float sum = c.adds(0) ? c.out(0).as<float>()[i] : 0;
    for (const Operand& in : c.inputs) sum += in.as<float>()[i];
    c.out(0).as<float>()[i] = sum;
  }
  return absl::OkStatus();
}

// out = 2 * in.
inline absl::Status Double(const KernelContext& c) {
  for (int64_t i = 0; i < c.out(0).elements(); ++i) {
    c.out(0).as<float>()[i] = 2 * c.in(0).as<float>()[i];
  }
  return absl::OkStatus();
}

inline absl::Status Nothing(const KernelContext&) { return absl::OkStatus(); }

inline absl::Status Break(const KernelContext&) { return absl::InternalError("it broke"); }

inline KernelTable ToyKernels() {
  KernelTable table;
  table.Add("increment", Increment);
  table.Add("add", Add);
  table.Add("double", Double);
  table.Add("nothing", Nothing);
  table.Add("break", Break);
  return table;
}

}  // namespace weft::testing

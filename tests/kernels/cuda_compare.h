// Judges a CUDA kernel by the CPU's on the same operands.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/all_ops.h"
#include "tests/support/host_tensor.h"

namespace weft::testing {

inline const OpRegistry& CudaLawOps() {
  static const OpRegistry* ops = [] {
    auto* made = new OpRegistry;
    DefineAllOps(*made);
    return made;
  }();
  return *ops;
}

// Rounding of the results and of what they are summed from, relative to the tensor's largest value.
inline double CudaTolerance(DType operands, DType result) {
  if (operands == DType::kBF16) return 0.01;
  if (operands == DType::kF16) return 0.00125;
  if (operands == DType::kF32 || result == DType::kF32) return 2e-6;
  return 1e-12;
}

// Runs the op on the tests' device and on the CPU. `operands` is the dtype that tells the
// tolerance.
inline void ExpectLikeCpu(const std::string& name, const Attrs& given,
                          const std::vector<HostTensor>& inputs, DType operands,
                          const RunOptions& options = {}) {
  const OpDef& op = *CudaLawOps().Find(name);
  const Attrs attrs = Completed(op, given);
  SCOPED_TRACE(absl::StrCat(name, " ", std::string(Name(operands)), " ", attrs.ToString()));
  const auto got = RunKernel(op, attrs, inputs, options);
  CpuKernels cpu;
  KernelDevice* const device = DeviceOfTests();
  DeviceOfTests() = &cpu;
  const auto want = RunKernel(op, attrs, inputs, options);
  DeviceOfTests() = device;
  ASSERT_TRUE(got.ok()) << got.status();
  ASSERT_TRUE(want.ok()) << want.status();
  for (size_t o = 0; o < want->size(); ++o) {
    SCOPED_TRACE(op.outputs[o]);
    const HostTensor &x = (*got)[o], &y = (*want)[o];
    ASSERT_EQ(x.spec, y.spec);
    double scale = 1;
    for (double v : y.values) {
      if (std::isfinite(v)) scale = std::max(scale, std::abs(v));
    }
    for (size_t i = 0; i < y.values.size(); ++i) {
      if (x.values[i] == y.values[i]) continue;
      ASSERT_NEAR(x.values[i], y.values[i], CudaTolerance(operands, y.spec.dtype) * scale)
          << "element " << i;
    }
  }
}

}  // namespace weft::testing

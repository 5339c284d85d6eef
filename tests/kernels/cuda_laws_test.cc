// The CUDA kernel of every op against the CPU's: f64 operands to f64's rounding, f32 and bf16
// against the CPU's f64 result of the same (rounded) operands.
#include <cmath>

#include "gtest/gtest.h"
#include "kernels/all_ops.h"
#include "kernels/cuda_kernels.h"
#include "tests/kernels/op_samples.h"

namespace weft::testing {
namespace {

const OpRegistry& CudaLawOps() {
  static const OpRegistry* ops = [] {
    auto* made = new OpRegistry;
    DefineAllOps(*made);
    return made;
  }();
  return *ops;
}

class CudaLaws : public ::testing::TestWithParam<std::string> {};

// Runs the op's kernel on the given device.
absl::StatusOr<std::vector<HostTensor>> RunOn(KernelDevice* device, const OpDef& op,
                                              const Attrs& attrs,
                                              const std::vector<HostTensor>& inputs) {
  KernelDevice* const before = DeviceOfTests();
  DeviceOfTests() = device;
  auto results = RunKernel(op, attrs, inputs);
  DeviceOfTests() = before;
  return results;
}

// Rounding of the results and of what they are summed from, relative to the tensor's largest value.
double CudaTolerance(DType operands, DType result) {
  if (operands == DType::kBF16) return 0.01;
  if (operands == DType::kF32 || result == DType::kF32) return 2e-6;
  return 1e-12;
}

TEST_P(CudaLaws, EqualsTheCpu) {
  const OpDef& op = *CudaLawOps().Find(GetParam());
  CpuKernels cpu;
  int samples = 0;
  for (DType dtype : {DType::kF64, DType::kF32, DType::kBF16}) {
    for (const OpSample& sample : OpSamples(dtype)) {
      if (sample.op != op.name) continue;
      SCOPED_TRACE(absl::StrCat("sample ", ++samples, " ", std::string(Name(dtype)), " ",
                                sample.attrs.ToString()));
      const Attrs attrs = Completed(op, sample.attrs);
      const auto got = RunOn(DeviceOfTests(), op, attrs, sample.inputs);
      const auto want = RunOn(&cpu, op, attrs, sample.inputs);
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
          ASSERT_NEAR(x.values[i], y.values[i], CudaTolerance(dtype, y.spec.dtype) * scale)
              << "element " << i;
        }
      }
    }
  }
  EXPECT_GT(samples, 0);
}

std::vector<std::string> CudaLawNames() {
  std::vector<std::string> names;
  for (const OpDef* op : CudaLawOps().All()) names.push_back(op->name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, CudaLaws, ::testing::ValuesIn(CudaLawNames()),
                         [](const auto& info) { return info.param; });

TEST(CudaLawsTable, EveryOpHasACudaKernel) {
  KernelTable kernels;
  FillCudaKernels(kernels);
  for (const OpDef* op : CudaLawOps().All()) EXPECT_NE(kernels.Find(op->name), nullptr) << op->name;
}

}  // namespace
}  // namespace weft::testing

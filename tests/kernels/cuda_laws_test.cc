// The CUDA kernel of every op against the CPU's, on the samples of the op laws.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda_kernels.h"
#include "tests/kernels/cuda_compare.h"
#include "tests/kernels/op_samples.h"

namespace weft::testing {
namespace {

class CudaLaws : public ::testing::TestWithParam<std::string> {};

TEST_P(CudaLaws, EqualsTheCpu) {
  int samples = 0;
  for (DType dtype : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16}) {
    for (const OpSample& sample : OpSamples(dtype)) {
      if (sample.op != GetParam()) continue;
      ++samples;
      ExpectLikeCpu(sample.op, sample.attrs, sample.inputs, dtype);
      if (HasFatalFailure()) return;
      // An addend in the memory of the result, and one besides what the result is added to, where
      // the op may be run so.
      const int addend = CudaLawOps().Find(sample.op)->addend;
      if (addend < 0 || addend >= static_cast<int>(sample.inputs.size())) continue;
      const auto& shared = CudaLawOps().Find(sample.op)->in_place;
      if (std::count(shared.begin(), shared.end(), std::pair(addend, 0)) > 0) {
        ExpectLikeCpu(sample.op, sample.attrs, sample.inputs, dtype, {.aliased = {{addend, 0}}});
      }
      if (CudaLawOps().Find(sample.op)->accumulates == std::vector<int>{0}) {
        ExpectLikeCpu(sample.op, sample.attrs, sample.inputs, dtype,
                      {.present = {sample.inputs[addend]}});
      }
      if (HasFatalFailure()) return;
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

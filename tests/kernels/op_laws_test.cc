// The laws that every registered op obeys, checked on the samples of op_samples.cc. An op without
// samples fails.
#include <cmath>
#include <map>
#include <set>

#include "absl/strings/str_join.h"
#include "graph/signature.h"
#include "gtest/gtest.h"
#include "kernels/all_ops.h"
#include "kernels/dispatch.h"
#include "tests/kernels/op_parts.h"
#include "tests/kernels/op_samples.h"

namespace weft::testing {
namespace {

const OpRegistry& Ops() {
  static const OpRegistry* ops = [] {
    auto* made = new OpRegistry;
    DefineAllOps(*made);
    return made;
  }();
  return *ops;
}

// Relative to the larger of 1, the value, and twice the tensor's largest: partial summands round at
// their own size.
double Tolerance(DType operands, DType result) {
  if (operands == DType::kBF16) return 0.02;
  if (operands == DType::kF16) return 0.0025;  // an epsilon of 2^-10 instead of 2^-7
  if (operands == DType::kF32 || result == DType::kF32) return 1e-5;
  return 1e-10;
}

void ExpectClose(const HostTensor& got, const HostTensor& want, double tolerance) {
  ASSERT_EQ(got.spec, want.spec);
  ASSERT_EQ(got.values.size(), want.values.size());
  double scale = 1;
  for (double v : want.values) {
    if (std::isfinite(v)) scale = std::max(scale, 2 * std::abs(v));
  }
  for (size_t i = 0; i < want.values.size(); ++i) {
    if (got.values[i] == want.values[i]) continue;
    ASSERT_NEAR(got.values[i], want.values[i], tolerance * scale) << "element " << i;
  }
}

std::string Describe(const Signature& s) {
  auto text = [](const std::vector<Sbp>& sbps) {
    return absl::StrJoin(sbps, ",",
                         [](std::string* out, const Sbp& sbp) { *out += sbp.ToString(); });
  };
  return absl::StrCat("(", text(s.inputs), ") -> (", text(s.outputs), ")");
}

class OpLaws : public ::testing::TestWithParam<std::string> {
 protected:
  // Calls f(op, sample, attrs, unsplit results, dtype) for each sample of the op in each dtype.
  template <typename F>
  void ForEachSample(F&& f) {
    const OpDef& op = *Ops().Find(GetParam());
    int samples = 0;
    for (DType dtype : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16}) {
      for (const OpSample& sample : OpSamples(dtype)) {
        if (sample.op != op.name) continue;
        ++samples;
        SCOPED_TRACE(absl::StrCat(op.name, " sample ", samples, " ", std::string(Name(dtype)), " ",
                                  sample.attrs.ToString()));
        const Attrs attrs = Completed(op, sample.attrs);
        const auto results = RunKernel(op, attrs, sample.inputs);
        ASSERT_TRUE(results.ok()) << results.status();
        f(op, sample, attrs, *results, dtype);
        if (HasFatalFailure()) return;
      }
    }
    EXPECT_GT(samples, 0) << "add operands for '" << op.name << "' to op_samples.cc";
  }

  static std::vector<TensorSpec> Specs(const std::vector<HostTensor>& tensors) {
    std::vector<TensorSpec> specs;
    for (const HostTensor& t : tensors) specs.push_back(t.spec);
    return specs;
  }

  // Expects split, run, join = unsplit for one signature per axis. False for illegal combinations,
  // which are not run.
  static bool CheckParts(const OpDef& op, const OpSample& sample, const Attrs& attrs,
                         const std::vector<HostTensor>& results, DType dtype,
                         const std::vector<Signature>& per_axis, const std::vector<int>& sizes) {
    if (!CheckSignatures(per_axis, sizes).ok()) return false;
    RunAndCompare(op, sample, attrs, results, dtype, per_axis, sizes);
    return true;
  }

 private:
  static void RunAndCompare(const OpDef& op, const OpSample& sample, const Attrs& attrs,
                            const std::vector<HostTensor>& results, DType dtype,
                            const std::vector<Signature>& per_axis, const std::vector<int>& sizes) {
    SCOPED_TRACE(absl::StrCat(
        absl::StrJoin(per_axis, " x ",
                      [](std::string* out, const Signature& s) { *out += Describe(s); }),
        " on ", absl::StrJoin(sizes, "x")));
    const auto joined = RunParts(op, attrs, sample.inputs, Specs(results), per_axis, sizes);
    ASSERT_TRUE(joined.ok()) << joined.status();
    for (size_t o = 0; o < results.size(); ++o) {
      SCOPED_TRACE(absl::StrCat("result ", op.outputs[o]));
      ExpectClose((*joined)[o], results[o], Tolerance(dtype, results[o].spec.dtype));
      if (HasFatalFailure()) return;
    }
  }
};

TEST_P(OpLaws, KernelWritesEveryElementThatIsInferred) {
  ForEachSample([](const OpDef& op, const OpSample& sample, const Attrs& attrs,
                   const std::vector<HostTensor>& results, DType) {
    ASSERT_EQ(results.size(), op.outputs.size());
    for (const HostTensor& result : results) {
      for (double value : result.values) ASSERT_FALSE(std::isnan(value));
    }
    const std::vector<TensorSpec> inputs = Specs(sample.inputs), outputs = Specs(results);
    const FactorMap map = op.layout(LayoutContext{{inputs, attrs}, outputs});
    ASSERT_EQ(map.inputs.size(), inputs.size());
    ASSERT_EQ(map.outputs.size(), outputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_EQ(static_cast<int>(map.inputs[i].size()), inputs[i].rank());
    }
    for (size_t o = 0; o < outputs.size(); ++o) {
      EXPECT_EQ(static_cast<int>(map.outputs[o].size()), outputs[o].rank());
    }
  });
}

TEST_P(OpLaws, CostIsPositive) {
  ForEachSample([](const OpDef& op, const OpSample& sample, const Attrs& attrs,
                   const std::vector<HostTensor>& results, DType) {
    const std::vector<TensorSpec> inputs = Specs(sample.inputs), outputs = Specs(results);
    const Cost cost = op.cost(CostContext{inputs, outputs, attrs});
    EXPECT_GE(cost.flops, 0);
    EXPECT_GT(cost.bytes, 0);
  });
}

// 7 parts leave some empty on most dimensions; 2 and 3 are uneven. Where the number of parts must
// divide something, that many are legal: no signature that inference may choose goes unrun.
TEST_P(OpLaws, SplitRunJoinEqualsUnsplit) {
  ForEachSample([](const OpDef& op, const OpSample& sample, const Attrs& attrs,
                   const std::vector<HostTensor>& results, DType dtype) {
    const auto signatures = DeriveSignatures(op, Specs(sample.inputs), Specs(results), attrs);
    EXPECT_FALSE(signatures.empty());
    for (const Signature& signature : signatures) {
      if (signature.turning >= 0) continue;  // the op's unrolling does it: tests/system/ring_test.cc
      std::set<int> counts = {2, 3, 7};
      if (signature.must_divide > 1) counts.insert(static_cast<int>(signature.must_divide));
      int run = 0;
      for (int parts : counts) {
        run += CheckParts(op, sample, attrs, results, dtype, {signature}, {parts});
        if (HasFatalFailure()) return;
      }
      EXPECT_GT(run, 0) << Describe(signature);
    }
  });
}

// All pairs, of one dimension split by both axes too: 2 x 2, and nested unevenly in both orders.
TEST_P(OpLaws, TwoAxesCombine) {
  ForEachSample([](const OpDef& op, const OpSample& sample, const Attrs& attrs,
                   const std::vector<HostTensor>& results, DType dtype) {
    if (IsHalf(dtype) || results[0].spec.elements() > 2000) return;
    const auto signatures = DeriveSignatures(op, Specs(sample.inputs), Specs(results), attrs);
    for (const Signature& first : signatures) {
      for (const Signature& second : signatures) {
        if (first.turning >= 0 || second.turning >= 0) continue;
        const bool nested = first.factor == second.factor && first.factor >= 0;
        std::vector<std::vector<int>> grids = {{2, 2}};
        if (nested) grids.insert(grids.end(), {{2, 3}, {3, 2}});
        for (const std::vector<int>& sizes : grids) {
          CheckParts(op, sample, attrs, results, dtype, {first, second}, sizes);
          if (HasFatalFailure()) return;
        }
      }
    }
  });
}

TEST_P(OpLaws, AccumulatingAddsToPresentContents) {
  ForEachSample([](const OpDef& op, const OpSample& sample, const Attrs& attrs,
                   const std::vector<HostTensor>& results, DType dtype) {
    if (op.accumulates.empty()) return;
    const auto added = RunKernel(op, attrs, sample.inputs, {.present = results});
    ASSERT_TRUE(added.ok()) << added.status();
    const std::set<int> accumulates(op.accumulates.begin(), op.accumulates.end());
    for (size_t o = 0; o < results.size(); ++o) {
      HostTensor want = results[o];
      if (accumulates.contains(static_cast<int>(o))) {
        for (double& value : want.values) value *= 2;
      }
      ExpectClose((*added)[o], want, Tolerance(dtype, results[o].spec.dtype));
    }
  });
}

TEST_P(OpLaws, AnAddendIsAddedToTheFirstResult) {
  int samples = 0;
  ForEachSample([&](const OpDef& op, const OpSample& sample, const Attrs& attrs,
                    const std::vector<HostTensor>& results, DType dtype) {
    if (op.addend < 0 || op.addend >= static_cast<int>(sample.inputs.size())) return;
    ++samples;
    std::vector<HostTensor> inputs = sample.inputs;
    const HostTensor addend = inputs[op.addend];
    ASSERT_EQ(op.addend + 1, static_cast<int>(inputs.size())) << "the addend is the last operand";
    inputs.pop_back();
    auto want = RunKernel(op, attrs, inputs);
    ASSERT_TRUE(want.ok()) << want.status();
    for (size_t i = 0; i < addend.values.size(); ++i) (*want)[0].values[i] += addend.values[i];
    for (size_t o = 0; o < results.size(); ++o) {
      ExpectClose(results[o], (*want)[o], Tolerance(dtype, results[o].spec.dtype));
    }
  });
  if (Ops().Find(GetParam())->addend >= 0) {
    EXPECT_GT(samples, 0) << "no sample has an addend";
  }
}

// What the fusion of casts relies on (parallel/fuse_casts.h). The samples are multiples of 1/16, so
// that sums of their squares are exact in any order.
TEST_P(OpLaws, ANarrowOperandIsReadAsItsCast) {
  const OpDef& op = *Ops().Find(GetParam());
  int samples = 0;
  ForEachSample([&](const OpDef&, const OpSample& sample, const Attrs& attrs,
                    const std::vector<HostTensor>& results, DType dtype) {
    if (!IsHalf(dtype)) return;
    for (int i : op.takes_narrow) {
      ASSERT_EQ(sample.inputs[i].spec.dtype, dtype) << op.inputs[i];
      std::vector<HostTensor> inputs = sample.inputs;
      inputs[i].spec.dtype = DType::kF32;
      const auto wide = RunKernel(op, attrs, inputs);
      ASSERT_TRUE(wide.ok()) << wide.status();
      for (size_t o = 0; o < results.size(); ++o) {
        ASSERT_EQ((*wide)[o].spec, results[o].spec);
        ASSERT_EQ((*wide)[o].values, results[o].values) << op.outputs[o];
      }
      ++samples;
    }
  });
  if (!op.takes_narrow.empty()) {
    EXPECT_GT(samples, 0) << "no sample has a bf16 or f16 operand";
  }
}

// A wide result rounds to the narrow one.
TEST_P(OpLaws, AWideResultIsTheNarrowOneUnrounded) {
  const OpDef& op = *Ops().Find(GetParam());
  if (op.wide_result.empty()) return;
  int samples = 0;
  ForEachSample([&](const OpDef&, const OpSample& sample, const Attrs& attrs,
                    const std::vector<HostTensor>& results, DType dtype) {
    if (!IsHalf(dtype) || results[0].spec.dtype != dtype) return;
    if (op.addend >= 0 && static_cast<int>(sample.inputs.size()) > op.addend) return;
    Attrs in_f32 = attrs;
    in_f32.Set(op.wide_result, std::string("f32"));
    const auto wide = RunKernel(op, in_f32, sample.inputs);
    ASSERT_TRUE(wide.ok()) << wide.status();
    ASSERT_EQ((*wide)[0].spec, (TensorSpec{results[0].spec.shape, DType::kF32}));
    for (size_t i = 0; i < results[0].values.size(); ++i) {
      const float sum = static_cast<float>((*wide)[0].values[i]);
      const float rounded = dtype == DType::kBF16 ? static_cast<float>(BFloat16(sum))
                                                  : static_cast<float>(Float16(sum));
      ASSERT_EQ(rounded, results[0].values[i]) << i;
    }
    ++samples;
  });
  EXPECT_GT(samples, 0) << "no sample is in bf16 or f16";
}

// Operands and results go by name, as where a pass merges the two.
TEST_P(OpLaws, AMergedOpComputesWhatTheTwoDo) {
  ForEachSample([](const OpDef& op, const OpSample& sample, const Attrs& attrs,
                   const std::vector<HostTensor>& results, DType dtype) {
    if (op.merges.forward.empty()) return;
    std::map<std::string, HostTensor> tensors;
    for (size_t i = 0; i < op.inputs.size(); ++i) tensors[op.inputs[i]] = sample.inputs[i];
    for (const std::string& name : {op.merges.forward, op.merges.gradient}) {
      const OpDef* part = Ops().Find(name);
      ASSERT_NE(part, nullptr) << name;
      EXPECT_EQ(part->attrs, op.attrs) << name;
      std::vector<HostTensor> inputs;
      for (const std::string& input : part->inputs) {
        ASSERT_TRUE(tensors.contains(input)) << input;
        inputs.push_back(tensors[input]);
      }
      const auto made = RunKernel(*part, attrs, inputs);
      ASSERT_TRUE(made.ok()) << made.status();
      for (size_t o = 0; o < made->size(); ++o) tensors[part->outputs[o]] = (*made)[o];
    }
    for (size_t o = 0; o < results.size(); ++o) {
      SCOPED_TRACE(op.outputs[o]);
      ASSERT_TRUE(tensors.contains(op.outputs[o]));
      ExpectClose(results[o], tensors[op.outputs[o]], Tolerance(dtype, results[o].spec.dtype));
    }
  });
}

TEST_P(OpLaws, SharingMemoryChangesNothing) {
  ForEachSample([](const OpDef& op, const OpSample& sample, const Attrs& attrs,
                   const std::vector<HostTensor>& results, DType) {
    for (const auto& [input, output] : op.in_place) {
      if (input >= static_cast<int>(sample.inputs.size())) continue;
      if (sample.inputs[input].absent()) continue;
      if (sample.inputs[input].spec.bytes() != results[output].spec.bytes()) continue;
      const auto shared = RunKernel(op, attrs, sample.inputs, {.aliased = {{input, output}}});
      ASSERT_TRUE(shared.ok()) << shared.status();
      for (size_t o = 0; o < results.size(); ++o) {
        ASSERT_EQ((*shared)[o].values, results[o].values) << input << " with " << output;
      }
    }
  });
}

TEST_P(OpLaws, AnUnreadResultChangesNoOther) {
  ForEachSample([](const OpDef& op, const OpSample& sample, const Attrs& attrs,
                   const std::vector<HostTensor>& results, DType) {
    if (results.size() < 2) return;
    for (int unread = 0; unread < static_cast<int>(results.size()); ++unread) {
      const auto rest = RunKernel(op, attrs, sample.inputs, {.unread = unread});
      ASSERT_TRUE(rest.ok()) << rest.status();
      for (int o = 0; o < static_cast<int>(results.size()); ++o) {
        if (o == unread) continue;
        ASSERT_EQ((*rest)[o].values, results[o].values) << op.outputs[o];
      }
    }
  });
}

std::vector<std::string> OpNames() {
  std::vector<std::string> names;
  for (const OpDef* op : Ops().All()) names.push_back(op->name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, OpLaws, ::testing::ValuesIn(OpNames()),
                         [](const auto& info) { return info.param; });

TEST(OpLawsTable, EveryOpHasACpuKernel) {
  KernelTable kernels;
  FillCpuKernels(Ops(), kernels);
  for (const OpDef* op : Ops().All()) EXPECT_NE(kernels.Find(op->name), nullptr) << op->name;
}

}  // namespace
}  // namespace weft::testing

// Batched forms of CUDA kernels: bit for bit what the calls give one by one, whatever their sizes,
// types, alignment and attributes, and however many there are.
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda_kernels.h"
#include "tests/kernels/cuda_compare.h"
#include "tests/kernels/cuda_device.h"

namespace weft::testing {
namespace {

CudaKernels& Cuda() { return static_cast<CudaKernels&>(*DeviceOfTests()); }

// Memory of one tensor, at an address of choice modulo 16.
class Memory {
 public:
  Memory(int64_t bytes, size_t offset) : bytes_(bytes), memory_(bytes + 32) {
    data_ = memory_.data() + (16 - reinterpret_cast<uintptr_t>(memory_.data()) % 16) + offset;
  }
  unsigned char* data() const { return data_; }
  bool operator==(const Memory& other) const {
    return bytes_ == other.bytes_ && std::memcmp(data_, other.data_, bytes_) == 0;
  }

 private:
  int64_t bytes_;
  std::vector<unsigned char> memory_;
  unsigned char* data_;
};

// One call, with its memory. Made again from the same arguments it is the same call elsewhere.
class Call {
 public:
  // Tensors lie `offset` bytes behind a multiple of 16. `unread`: a result that has no memory.
  // `in_place`: results lie where the op allows it.
  Call(const OpDef& op, const Attrs& attrs, const std::vector<HostTensor>& inputs, size_t offset,
       int unread, bool in_place)
      : attrs_(Completed(op, attrs)), tensors_(inputs) {
    std::vector<TensorSpec> specs, results;
    for (const HostTensor& x : inputs) specs.push_back(x.spec);
    results = op.infer(InferContext{specs, attrs_}).value();
    for (const TensorSpec& spec : results) tensors_.push_back(Whole(spec, {}));
    for (const HostTensor& x : inputs) memory_.push_back(MakeMemory(x, offset));
    for (size_t o = 0; o < results.size(); ++o) {
      results_.push_back(MakeMemory(tensors_[inputs.size() + o], offset));
      for (const auto& [input, output] : op.in_place) {
        if (in_place && output == static_cast<int>(o)) results_[o] = memory_[input];
      }
    }
    for (size_t i = 0; i < tensors_.size(); ++i) {
      const HostTensor& x = tensors_[i];
      const bool is_input = i < inputs.size();
      const int output = static_cast<int>(i - inputs.size());
      std::vector<Operand>& operands = is_input ? inputs_ : outputs_;
      operands.emplace_back();
      if (!is_input && output == unread) continue;
      operands.back() = {is_input ? memory_[i]->data() : results_[output]->data(), &x.spec, &x.box,
                         x.box.shape()};
    }
    const int64_t bytes = Cuda().WorkspaceBytes(op, CostContext{specs, results, attrs_});
    workspace_ = std::make_unique<Memory>(bytes, 0);
    context_ = {.inputs = inputs_,
                .outputs = outputs_,
                .attrs = &attrs_,
                .workspace = bytes == 0 ? nullptr : workspace_->data(),
                .workspace_bytes = bytes};
  }
  Call(const Call&) = delete;

  const KernelContext& context() const { return context_; }
  bool SameResults(const Call& other) const {
    for (size_t o = 0; o < results_.size(); ++o) {
      if (!(*results_[o] == *other.results_[o])) return false;
    }
    return true;
  }
  const Memory& result(int o) const { return *results_[o]; }

 private:
  static std::shared_ptr<Memory> MakeMemory(const HostTensor& x, size_t offset) {
    auto memory = std::make_shared<Memory>(x.spec.bytes(), x.spec.shape.empty() ? 0 : offset);
    for (size_t i = 0; i < x.values.size(); ++i) {
      StoreElement(x.spec.dtype, memory->data(), static_cast<int64_t>(i), x.values[i]);
    }
    return memory;
  }

  const Attrs attrs_;
  std::vector<HostTensor> tensors_;
  std::vector<std::shared_ptr<Memory>> memory_, results_;
  std::unique_ptr<Memory> workspace_;
  std::vector<Operand> inputs_, outputs_;
  KernelContext context_;
};

constexpr DType kTypes[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kF64};

// Operands of the op for tensors of n elements, gradients (or what is cast) of `dtype`.
std::vector<HostTensor> Operands(const std::string& op, int64_t n, DType dtype, uint64_t seed) {
  const DType wide = dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  const auto x = [&](DType type, double low) {
    return Sixteenths({{n}, type}, ++seed, low, low + 4);
  };
  const auto scalar = [](double value, DType type = DType::kF32) {
    return Whole({{}, type}, {value});
  };
  if (op == "cast") return {x(dtype, -2)};
  if (op == "sgd") return {x(wide, -2), x(wide, -2), x(dtype, -2), scalar(0.1), scalar(0.5)};
  if (op == "lamb_update") {
    return {x(wide, -2), x(wide, -2), x(wide, 0.5), x(dtype, -2), scalar(3), scalar(0.5)};
  }
  if (op == "lamb_apply") {
    return {x(wide, -2), x(wide, -2), scalar(3, DType::kF64), scalar(5, DType::kF64), scalar(0.1)};
  }
  return {x(wide, -2), x(wide, -2), x(wide, 0.5), x(dtype, -2),
          scalar(0.1), scalar(3),   scalar(0.5)};
}

std::unique_ptr<Call> MakeCall(const std::string& op, int i) {
  constexpr int64_t kSizes[] = {17000, 0, 1, 3, 1003, 8192, 8193, 16384, 40, 30011, 4096};
  const DType dtype = kTypes[i / 2 % 4];
  Attrs attrs;
  if (op == "cast") attrs.Set("dtype", std::string(Name(kTypes[i % 4])));
  if (op == "adamw" || op == "sgd" || op == "lamb_update") {
    attrs.Set("weight_decay", i % 4 == 0 ? 0.0 : 0.1);
  }
  return std::make_unique<Call>(*CudaLawOps().Find(op), attrs,
                                Operands(op, kSizes[i % 11], dtype, 1000 + 10 * i),
                                /*offset=*/i % 5 == 3 ? 8 : 0,
                                /*unread=*/op == "adamw" && i % 7 == 2 ? 3 : -1,
                                /*in_place=*/i % 3 == 1);
}

class CudaBatchesTest : public ::testing::TestWithParam<std::string> {};

// 300: more than a launch takes of any kernel.
TEST_P(CudaBatchesTest, EqualTheCallsOneByOne) {
  const OpDef& op = *CudaLawOps().Find(GetParam());
  for (int calls : {1, 2, 30, 300}) {
    std::vector<std::unique_ptr<Call>> single, batched;
    std::vector<KernelContext> contexts;
    for (int i = 0; i < calls; ++i) {
      single.push_back(MakeCall(GetParam(), i));
      batched.push_back(MakeCall(GetParam(), i));
      contexts.push_back(batched.back()->context());
      const absl::Status status = Cuda().Run(op, single.back()->context());
      ASSERT_TRUE(status.ok()) << status;
    }
    const absl::Status status = Cuda().RunBatched(op, contexts);
    ASSERT_TRUE(status.ok()) << status;
    for (int i = 0; i < calls; ++i) {
      EXPECT_TRUE(batched[i]->SameResults(*single[i])) << "call " << i << " of " << calls;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, CudaBatchesTest,
                         ::testing::Values("adamw", "cast", "lamb_apply", "lamb_update", "sgd"),
                         [](const auto& info) { return info.param; });

// The sums of squares of a batch have the bits of sum_squares.
TEST(CudaBatchesSums, AreThoseOfSumSquares) {
  const OpDef &adamw = *CudaLawOps().Find("adamw"),
              &sum_squares = *CudaLawOps().Find("sum_squares");
  std::vector<std::unique_ptr<Call>> calls, sums;
  std::vector<KernelContext> contexts;
  int i = 0;
  for (const DType dtype : kTypes) {
    for (const int64_t n : {0, 1, 5, 1003, 8192, 20001, 1200000}) {
      const std::vector<HostTensor> operands = Operands("adamw", n, dtype, 10 * ++i);
      calls.push_back(std::make_unique<Call>(adamw, Attrs(), operands, 0, -1, false));
      contexts.push_back(calls.back()->context());
      sums.push_back(std::make_unique<Call>(sum_squares, Attrs(),
                                            std::vector<HostTensor>{operands[3]}, 0, -1, false));
      const absl::Status status = Cuda().Run(sum_squares, sums.back()->context());
      ASSERT_TRUE(status.ok()) << status;
    }
  }
  const absl::Status status = Cuda().RunBatched(adamw, contexts);
  ASSERT_TRUE(status.ok()) << status;
  for (size_t c = 0; c < calls.size(); ++c) {
    EXPECT_TRUE(calls[c]->result(3) == sums[c]->result(0)) << "call " << c;
  }
}

// Bit for bit as on the CPU, from left to right: few large operands, and more than a launch takes.
TEST(CudaAddN, EqualsTheCpuInEveryBit) {
  const OpDef& op = *CudaLawOps().Find("add_n");
  struct Case {
    int operands;
    int64_t n;
  };
  for (const DType dtype : kTypes) {
    for (const auto& [operands, n] : {Case{1, 7},
                                      {2, 100003},
                                      {4, 8192},
                                      {9, 5000},
                                      {219, 1},
                                      {504, 3},
                                      {505, 2},
                                      {1100, 5},
                                      {3, 0}}) {
      for (const bool in_place : {false, true}) {
        std::vector<HostTensor> xs;
        for (int k = 0; k < operands; ++k) {
          xs.push_back(Sixteenths({{n}, dtype}, 100 + k));
          for (double& x : xs.back().values) x /= 3;  // sums round
        }
        const Call call(op, Attrs(), xs, 0, -1, in_place), cpu(op, Attrs(), xs, 0, -1, in_place);
        const absl::Status status = Cuda().Run(op, call.context());
        ASSERT_TRUE(status.ok()) << status;
        ASSERT_TRUE(op.cpu(cpu.context()).ok());
        EXPECT_TRUE(call.SameResults(cpu)) << Name(dtype) << ": " << operands << " of " << n;
      }
    }
  }
}

}  // namespace
}  // namespace weft::testing

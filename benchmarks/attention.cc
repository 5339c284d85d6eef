// The CPU kernels of attention and its gradient beside their floor: the matrix products that they
// cannot do without, made by Gemm alone in the operands' type on the tiles' shapes. One thread,
// causal. Best of several rounds, kernel and floor in turn, in f32 and bf16.
//
//   bench_attention [--rounds 7]
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/all_ops.h"
#include "kernels/attention_geometry.h"
#include "kernels/gemm.h"
#include "runtime/kernel.h"

namespace weft {
namespace {

struct Problem {
  int64_t batch, sequence, heads, kv_heads, head_dim;
};
constexpr Problem kProblems[] = {
    {1, 512, 8, 8, 64}, {1, 2048, 8, 2, 64}, {1, 2048, 4, 4, 128}, {16, 128, 4, 2, 32}};

double Seconds(const std::function<absl::Status()>& call) {
  const auto begin = std::chrono::steady_clock::now();
  const absl::Status status = call();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    std::exit(1);
  }
  return seconds.count();
}

// A whole tensor of small numbers that owns its memory, as a kernel's operand.
class WholeTensor {
 public:
  explicit WholeTensor(const TensorSpec& spec)
      : spec_(spec), box_(Box::Whole(spec.shape)), bytes_(spec.bytes()) {
    uint32_t state = 1;
    for (int64_t i = 0; i < spec.elements(); ++i) {
      state = state * 1664525u + 1013904223u;
      const float value = static_cast<float>(state >> 8) / (1 << 24) - 0.5f;
      if (spec.dtype == DType::kF32) reinterpret_cast<float*>(bytes_.data())[i] = value;
      if (spec.dtype == DType::kBF16)
        reinterpret_cast<BFloat16*>(bytes_.data())[i] = BFloat16(value);
    }
  }
  Operand operand() { return {bytes_.data(), &spec_, &box_, spec_.shape}; }

 private:
  TensorSpec spec_;
  Box box_;
  std::vector<char> bytes_;
};

// One op with operands and results of its own; its results are the inputs of the next.
class Call {
 public:
  Call(const OpDef& op, std::vector<TensorSpec> inputs) : op_(op) {
    for (const auto& [name, value] : op.attrs) attrs_.Set(name, value);
    attrs_.Set("causal", true);
    const std::vector<TensorSpec> outputs = *op.infer({inputs, attrs_});
    for (const TensorSpec& spec : inputs) in_.push_back(Hold(spec));
    for (const TensorSpec& spec : outputs) out_.push_back(Hold(spec));
    workspace_.resize(op.workspace({inputs, outputs, attrs_}) + 64);
    flops_ = op.cost({inputs, outputs, attrs_}).flops;
  }
  absl::Status Run() {
    KernelContext context;
    context.inputs = in_;
    context.outputs = out_;
    context.attrs = &attrs_;
    void* memory = workspace_.data();
    size_t space = workspace_.size();
    context.workspace = std::align(64, workspace_.size() - 64, memory, space);
    context.workspace_bytes = static_cast<int64_t>(workspace_.size() - 64);
    return op_.cpu(context);
  }
  double flops() const { return flops_; }

 private:
  Operand Hold(const TensorSpec& spec) {
    tensors_.push_back(std::make_unique<WholeTensor>(spec));
    return tensors_.back()->operand();
  }
  const OpDef& op_;
  Attrs attrs_;
  std::vector<std::unique_ptr<WholeTensor>> tensors_;
  std::vector<Operand> in_, out_;
  std::vector<char> workspace_;
  double flops_ = 0;
};

// The products of one op: `products` of them per tile of queries and block of keys that it sees,
// scores [rows, keys] and mixtures [rows, d] in turn, with sums in f32. `tile` and `block` stand
// for any operands, dense.
template <typename T>
absl::Status Products(const Problem& p, int products, const std::vector<T>& tile,
                      const std::vector<T>& block, std::vector<float>& sums) {
  const int64_t d = p.head_dim;
  for (int64_t head = 0; head < p.batch * p.heads; ++head) {
    for (int64_t first = 0; first < p.sequence; first += kAttentionRows) {
      const int64_t rows = std::min(kAttentionRows, p.sequence - first);
      const int64_t seen = first + rows;
      for (int64_t key = 0; key < seen; key += kAttentionKeys) {
        const int64_t keys = std::min(kAttentionKeys, seen - key);
        for (int i = 0; i < products; ++i) {
          const bool scores = i % 2 == 0;
          const Matrix<const T> b{block.data(), scores ? 1 : d, scores ? d : 1};
          absl::Status status = Gemm({rows, scores ? keys : d, scores ? d : keys}, 1,
                                     Matrix<const T>{tile.data(), scores ? d : keys, 1}, b, !scores,
                                     Matrix<float>{sums.data(), scores ? keys : d, 1});
          if (!status.ok()) return status;
        }
      }
    }
  }
  return absl::OkStatus();
}

template <typename T>
void Measure(const OpRegistry& ops, const Problem& p, DType dtype, int rounds) {
  const TensorSpec q{{p.batch, p.sequence, p.heads, p.head_dim}, dtype};
  const TensorSpec k{{p.batch, p.sequence, p.kv_heads, p.head_dim}, dtype};
  const TensorSpec lse{{p.batch, p.sequence, p.heads}, DType::kF32};
  Call forward(*ops.Find("attention"), {q, k, k});
  Call backward(*ops.Find("attention_grad"), {q, q, k, k, q, lse});
  const int64_t widest = std::max(kAttentionKeys, p.head_dim);
  std::vector<T> tile(kAttentionRows * widest), block(kAttentionKeys * p.head_dim);
  std::vector<float> sums(kAttentionRows * widest);
  double best[4] = {1e30, 1e30, 1e30, 1e30};
  for (int round = 0; round < rounds; ++round) {
    const std::function<absl::Status()> calls[] = {
        [&] { return forward.Run(); }, [&] { return Products<T>(p, 2, tile, block, sums); },
        [&] { return backward.Run(); }, [&] { return Products<T>(p, 5, tile, block, sums); }};
    for (int i = 0; i < 4; ++i) best[i] = std::min(best[i], Seconds(calls[i]));
  }
  std::printf(
      "{\"benchmark\": \"attention\", \"dtype\": \"%s\", \"batch\": %lld, "
      "\"sequence\": %lld, \"heads\": %lld, \"kv_heads\": %lld, \"head_dim\": %lld, "
      "\"forward_us\": %.1f, \"forward_gflop_per_s\": %.1f, \"forward_floor_ratio\": %.3f, "
      "\"backward_us\": %.1f, \"backward_gflop_per_s\": %.1f, "
      "\"backward_floor_ratio\": %.3f}\n",
      std::string(Name(dtype)).c_str(), static_cast<long long>(p.batch),
      static_cast<long long>(p.sequence), static_cast<long long>(p.heads),
      static_cast<long long>(p.kv_heads), static_cast<long long>(p.head_dim), best[0] * 1e6,
      forward.flops() / best[0] * 1e-9, best[1] / best[0], best[2] * 1e6,
      backward.flops() / best[2] * 1e-9, best[3] / best[2]);
  std::fflush(stdout);
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  int rounds = 7;
  if (argc == 3 && std::strcmp(argv[1], "--rounds") == 0) rounds = std::atoi(argv[2]);
  if ((argc != 1 && argc != 3) || rounds < 1) {
    std::fprintf(stderr, "usage: bench_attention [--rounds 7]\n");
    return 2;
  }
  weft::OpRegistry ops;
  weft::DefineAllOps(ops);
  for (const weft::Problem& problem : weft::kProblems) {
    weft::Measure<float>(ops, problem, weft::DType::kF32, rounds);
    weft::Measure<weft::BFloat16>(ops, problem, weft::DType::kBF16, rounds);
  }
  return 0;
}

// weft's CUDA kernels at the sizes of the 1.36 B decoder (issue 4), each against its floor: the
// larger of its bytes over the measured rate of a copy and, for products, its operations over the
// measured rate of an 8192^3 product. JSON lines.
//
//   bench_gpu_kernels [--tune]
//
// --tune: behind each case of products a second line, with algorithms chosen by measuring.
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "graph/op_def.h"
#include "kernels/all_ops.h"
#include "kernels/cuda_handles.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_product_measurer.h"
#include "timing.h"

namespace weft {
namespace {

constexpr int64_t kBatch = 4, kSequence = 4096, kHidden = 2048, kHeads = 16, kHeadDim = 128;
constexpr int64_t kFfn = 5632, kVocabulary = 32000;

void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

// One op at one size. i32 operands are tokens below kVocabulary, scalars 1.
struct Case {
  std::string label;
  std::string op;
  Attrs attrs;
  std::vector<TensorSpec> inputs;
  bool products = false;  // its operations are those of matrix units
  bool accumulates = false;
  int unread = -1;  // a result that nobody reads
};

class Bench {
 public:
  explicit Bench(bool tunes) {
    DefineAllOps(ops_);
    FillCudaKernels(kernels_);
    auto handles = MakeCudaHandles(0);
    Must(handles.status());
    handles_ = *std::move(handles);
    if (tunes) {
      auto measurer = CudaProductMeasurer::Make(static_cast<CudaHandles&>(*handles_));
      Must(measurer.status());
      measurer_ = *std::move(measurer);
    }
    CheckCuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
  }

  // Bytes per second of a copy, counting those read and those written.
  void MeasureCopy() {
    constexpr int64_t kBytes = int64_t{1} << 30;
    char* from = DeviceAlloc<char>(2 * kBytes);
    CudaTimer timer(stream_);
    const double seconds = timer.MedianSeconds(5, 5, [&] {
      CheckCuda(cudaMemcpyAsync(from + kBytes, from, kBytes, cudaMemcpyDeviceToDevice, stream_),
                "copy");
    });
    cudaFree(from);
    copy_rate_ = 2.0 * kBytes / seconds;
    std::printf("{\"benchmark\": \"gpu_kernels\", \"copy_gb_per_s\": %.0f}\n", copy_rate_ * 1e-9);
  }

  void MeasureProduct() {
    const TensorSpec square{{8192, 8192}, DType::kBF16};
    const Case product{
        "square", "einsum", {{"equation", std::string("mk,kn->mn")}}, {square, square}};
    flop_rate_ = 2.0 * 8192 * 8192 * 8192 / Seconds(product).seconds;
    std::printf("{\"benchmark\": \"gpu_kernels\", \"product_tflops\": %.1f}\n", flop_rate_ * 1e-12);
  }

  void Run(const Case& c) {
    const Timed timed = Seconds(c);
    const double bytes_floor = timed.cost.bytes / copy_rate_;
    const double flops_floor = c.products ? timed.cost.flops / flop_rate_ : 0;
    const double floor = std::max(bytes_floor, flops_floor);
    std::printf(
        "{\"benchmark\": \"gpu_kernels\", \"case\": \"%s\", \"op\": \"%s\", \"ms\": %.4f, "
        "\"floor_ms\": %.4f, \"times_floor\": %.2f, \"gb_per_s\": %.0f, \"tflops\": %.1f}\n",
        c.label.c_str(), c.op.c_str(), timed.seconds * 1e3, floor * 1e3, timed.seconds / floor,
        timed.cost.bytes / timed.seconds * 1e-9, timed.cost.flops / timed.seconds * 1e-12);
    if (timed.tuned_seconds > 0) {
      std::printf(
          "{\"benchmark\": \"gpu_kernels_tuned\", \"case\": \"%s\", \"op\": \"%s\", \"ms\": %.4f, "
          "\"untuned_ms\": %.4f, \"tflops\": %.1f, \"untuned_tflops\": %.1f, \"tuning_s\": %.2f}\n",
          c.label.c_str(), c.op.c_str(), timed.tuned_seconds * 1e3, timed.seconds * 1e3,
          timed.cost.flops / timed.tuned_seconds * 1e-12, timed.cost.flops / timed.seconds * 1e-12,
          timed.tuning_seconds);
    }
    std::fflush(stdout);
  }

 private:
  struct Timed {
    double seconds;
    Cost cost;
    double tuned_seconds = 0;   // 0: it has no products that are measured
    double tuning_seconds = 0;  // what measuring took
  };

  // Measures the products of a call and has kernels use what was found; false if it has none.
  bool Tune(const std::string& op, Kernel kernel, const KernelContext& context) {
    ProductSet products;
    Must(measurer_->List(op, kernel, context, products));
    ProductAlgorithms algorithms;
    for (const ProductKey& key : products) {
      if (!WorthMeasuring(key)) continue;
      auto found = measurer_->Measure(key);
      Must(found.status());
      if (*found) algorithms.emplace(key, **found);
    }
    const bool any = !algorithms.empty();
    measurer_->Adopt(std::move(algorithms));
    return any;
  }

  // Values that look random, small enough for exponentials.
  void Fill(const TensorSpec& spec, void* data) {
    if (spec.dtype == DType::kI32) {
      std::vector<int32_t> tokens(spec.elements());
      uint64_t state = 1;
      for (int32_t& token : tokens) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        token = static_cast<int32_t>((state >> 33) % kVocabulary);
      }
      CheckCuda(cudaMemcpy(data, tokens.data(), spec.bytes(), cudaMemcpyHostToDevice), "tokens");
      return;
    }
    const OpDef& op = *ops_.Find("random_uniform");
    Attrs attrs;
    for (const auto& [name, value] : op.attrs) attrs.Set(name, value);
    attrs.Set("low", spec.rank() == 0 ? 1.0 : -0.1);
    attrs.Set("high", spec.rank() == 0 ? 1.0 : 0.1);
    attrs.Set("seed", ++seed_);
    const Box box = Box::Whole(spec.shape);
    const Operand out{data, &spec, &box, spec.shape};
    KernelContext context;
    context.outputs = absl::MakeConstSpan(&out, 1);
    context.attrs = &attrs;
    context.native_stream = stream_;
    context.device = handles_.get();
    Must(kernels_.Find("random_uniform")(context));
  }

  Timed Seconds(const Case& c) {
    const OpDef& op = *ops_.Find(c.op);
    Attrs attrs = c.attrs;
    for (const auto& [name, value] : op.attrs) {
      if (!attrs.Has(name)) attrs.Set(name, value);
    }
    auto inferred = op.infer(InferContext{c.inputs, attrs});
    Must(inferred.status());
    const std::vector<TensorSpec> results = *std::move(inferred);
    std::vector<Box> boxes;
    for (const auto* specs : {&c.inputs, &results}) {
      for (const TensorSpec& spec : *specs) boxes.push_back(Box::Whole(spec.shape));
    }
    std::vector<void*> owned;
    std::vector<Operand> in, out;
    for (size_t i = 0; i < c.inputs.size() + results.size(); ++i) {
      const bool input = i < c.inputs.size();
      const TensorSpec& spec = input ? c.inputs[i] : results[i - c.inputs.size()];
      owned.push_back(DeviceAlloc<char>(spec.bytes() + 16));
      if (input) Fill(spec, owned.back());
      (input ? in : out).push_back({owned.back(), &spec, &boxes[i], spec.shape});
    }
    if (c.unread >= 0) out[c.unread] = {};
    const CostContext cost{c.inputs, results, attrs};
    const auto bytes = op.cuda_workspace != nullptr ? op.cuda_workspace : op.workspace;
    KernelContext context;
    context.inputs = in;
    context.outputs = out;
    context.attrs = &attrs;
    context.workspace_bytes = bytes == nullptr ? 0 : bytes(cost);
    context.workspace = DeviceAlloc<char>(context.workspace_bytes + 16);
    owned.push_back(context.workspace);
    const bool adds[] = {c.accumulates, c.accumulates};
    if (c.accumulates) context.accumulate = absl::MakeConstSpan(adds, results.size());
    context.native_stream = stream_;
    context.device = handles_.get();
    const Kernel kernel = kernels_.Find(c.op);
    CudaTimer timer(stream_);
    const double seconds = timer.MedianSeconds(5, 4, [&] { Must(kernel(context)); });
    Timed timed{seconds, {}};
    const auto start = std::chrono::steady_clock::now();
    if (measurer_ != nullptr && Tune(c.op, kernel, context)) {
      timed.tuning_seconds =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      timed.tuned_seconds = timer.MedianSeconds(5, 4, [&] { Must(kernel(context)); });
      measurer_->Adopt({});
    }
    for (void* data : owned) cudaFree(data);
    Cost total = op.cost(cost);
    // What is added to is read too.
    for (size_t i = 0; c.accumulates && i < results.size(); ++i) total.bytes += results[i].bytes();
    timed.cost = total;
    return timed;
  }

  OpRegistry ops_;
  KernelTable kernels_;
  std::unique_ptr<DeviceState> handles_;
  std::unique_ptr<ProductMeasurer> measurer_;  // null: nothing is tuned
  cudaStream_t stream_ = nullptr;
  int64_t seed_ = 0;
  double copy_rate_ = 0, flop_rate_ = 0;
};

std::vector<Case> DecoderCases() {
  constexpr DType kBF16 = DType::kBF16, kF32 = DType::kF32;
  const TensorSpec x{{kBatch, kSequence, kHidden}, kBF16};
  const TensorSpec heads{{kBatch, kSequence, kHeads, kHeadDim}, kBF16};
  const TensorSpec ffn{{kBatch, kSequence, kFfn}, kBF16};
  const TensorSpec w_qkv{{kHidden, kHeads, kHeadDim}, kBF16};
  const TensorSpec w_ffn{{kHidden, kFfn}, kBF16}, w_down{{kFfn, kHidden}, kBF16};
  const TensorSpec head{{kVocabulary, kHidden}, kBF16}, weight{{kHidden}, kBF16};
  const TensorSpec tokens{{kBatch, kSequence}, DType::kI32}, rows{{kBatch, kSequence}, kF32};
  const TensorSpec lse{{kBatch, kSequence, kHeads}, kF32}, scalar{{}, kF32};
  const TensorSpec master{{kHidden, kFfn}, kF32};
  const auto product = [](const char* label, const char* equation, TensorSpec a, TensorSpec b,
                          bool adds = false) {
    return Case{label, "einsum", {{"equation", std::string(equation)}}, {a, b}, true, adds};
  };
  const auto product_in_f32 = [](const char* label, const char* equation, TensorSpec a,
                                 TensorSpec b, bool adds) {
    const Attrs attrs = {{"equation", std::string(equation)}, {"dtype", std::string("f32")}};
    return Case{label, "einsum", attrs, {a, b}, true, adds};
  };
  // With the sum that the product takes over: against the product of the line above and "residual".
  const auto sum = [](const char* label, const char* equation, TensorSpec a, TensorSpec b,
                      TensorSpec addend) {
    return Case{label, "einsum", {{"equation", std::string(equation)}}, {a, b, addend}, true};
  };
  constexpr int kGradSq = 3;
  const auto adamw = [&](const char* label, TensorSpec grad, int unread) {
    return Case{label,
                "adamw",
                {},
                {master, master, master, std::move(grad), scalar, scalar, scalar},
                false,
                false,
                unread};
  };
  const Attrs causal{{"causal", true}};
  return {
      product("q", "bsh,hnd->bsnd", x, w_qkv),
      product("q_dx", "bsnd,hnd->bsh", heads, w_qkv),
      sum("q_dx_sum", "bsnd,hnd->bsh", heads, w_qkv, x),
      product("q_dw", "bsh,bsnd->hnd", x, heads, true),
      product("gate", "bsh,hf->bsf", x, w_ffn),
      product("gate_dx", "bsf,hf->bsh", ffn, w_ffn),
      sum("gate_dx_sum", "bsf,hf->bsh", ffn, w_ffn, x),
      product("gate_dw", "bsh,bsf->hf", x, ffn, true),
      product_in_f32("gate_dw_f32", "bsh,bsf->hf", x, ffn, false),
      product_in_f32("gate_dw_f32_sum", "bsh,bsf->hf", x, ffn, true),
      product("down", "bsf,fh->bsh", ffn, w_down),
      sum("down_sum", "bsf,fh->bsh", ffn, w_down, x),
      product("down_dx", "bsh,fh->bsf", x, w_down),
      product("down_dw", "bsf,bsh->fh", ffn, x, true),
      {"attention", "attention", causal, {heads, heads, heads}, true},
      {"attention_grad", "attention_grad", causal, {heads, heads, heads, heads, heads, lse}, true},
      {"head", "head_cross_entropy", {}, {x, head, tokens}, true},
      {"head_grad", "head_cross_entropy_grad", {}, {x, head, tokens, rows, rows, rows}, true},
      {"head_with_grad", "head_cross_entropy_with_grad", {}, {x, head, tokens, rows, rows}, true},
      {"norm", "rms_norm", {}, {x, weight}},
      {"norm_grad", "rms_norm_grad", {}, {x, x, weight, rows}},
      {"norm_grad_sum", "rms_norm_grad", {}, {x, x, weight, rows, x}},
      {"rope", "rope", {}, {heads}},
      {"silu_gate", "silu_gate", {}, {ffn, ffn}},
      {"silu_gate_grad", "silu_gate_grad", {}, {ffn, ffn, ffn}},
      {"residual", "add", {}, {x, x}},
      {"bias", "add", {}, {x, weight}},
      {"embedding", "embedding", {}, {tokens, head}},
      {"embedding_grad", "embedding_grad", {{"vocab", kVocabulary}}, {tokens, x}},
      {"token_loss", "token_loss", {}, {rows, rows, tokens, scalar}},
      adamw("adamw_bf16_grad", w_ffn, kGradSq),
      adamw("adamw_f32_grad", master, kGradSq),
      // With the sum of squares: against the lines above and "sum_squares".
      adamw("adamw_bf16_grad_sq", w_ffn, -1),
      adamw("adamw_f32_grad_sq", master, -1),
      {"cast_weights", "cast", {{"dtype", std::string("bf16")}}, {master}},
      {"sum_squares", "sum_squares", {}, {master}},
      {"accumulate", "accumulate", {}, {master}, false, true},
      {"transpose", "transpose", {{"perm", std::vector<int64_t>{0, 2, 1, 3}}}, {heads}},
      {"softmax", "softmax", {}, {{{4096, 4096}, kBF16}}},
      {"column_sums", "reduce_sum", {{"axes", std::vector<int64_t>{0, 1}}}, {x}},
  };
}

int Main(int argc, char** argv) {
  const bool tunes = argc == 2 && std::strcmp(argv[1], "--tune") == 0;
  if (argc > 1 && !tunes) {
    std::fprintf(stderr, "usage: %s [--tune]\n", argv[0]);
    return 2;
  }
  Bench bench(tunes);
  bench.MeasureCopy();
  bench.MeasureProduct();
  for (const Case& c : DecoderCases()) bench.Run(c);
  return 0;
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) { return weft::Main(argc, argv); }

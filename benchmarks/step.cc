// How much of a CPU's matrix rate a whole training step keeps: model FLOP/s of a decoder's step on
// one rank over the rate of oneDNN's own GEMM on the same cores in the same run, and where the time
// goes.
//
//   bench_step [--dtype F32|BF16] [--layers 8] [--hidden 512] [--heads 8] [--ffn 1536]
//              [--vocab 8192] [--sequence 512] [--batch 4] [--steps 5]
//
// Prints one JSON line for the step and one per kernel: its seconds, its share of the step, and,
// for those that multiply matrices, its rate over the GEMM's. Model FLOPs are those of the
// products, three times the forward ones, causal attention counted by its visible half; nothing
// recomputed counts.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "graph/op_def.h"
#include "kernels/all_ops.h"
#include "kernels/dnnl_handles.h"
#include "launcher/job.h"
#include "launcher/job_graph.h"
#include "launcher/session.h"
#include "oneapi/dnnl/dnnl.hpp"
#include "runtime/logging.h"
#include "runtime/memory_transport.h"

namespace weft {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Kernels are plain functions; each gets a stand-in of its own that takes the time.
constexpr size_t kMostKernels = 128;
std::array<Kernel, kMostKernels> real_kernels;
std::array<double, kMostKernels> kernel_seconds;

template <size_t I>
absl::Status Timed(const KernelContext& context) {
  const Clock::time_point begin = Clock::now();
  absl::Status status = real_kernels[I](context);
  kernel_seconds[I] += SecondsSince(begin);
  return status;
}

template <size_t... I>
constexpr std::array<Kernel, sizeof...(I)> StandIns(std::index_sequence<I...>) {
  return {Timed<I>...};
}

// A table whose kernels count their time; `names` by index into kernel_seconds.
KernelTable TimedKernels(const OpRegistry& ops, const KernelTable& kernels,
                         std::vector<std::string>* names) {
  constexpr auto kStandIns = StandIns(std::make_index_sequence<kMostKernels>());
  KernelTable timed;
  for (const OpDef* op : ops.All()) {
    const Kernel kernel = kernels.Find(op->name);
    if (kernel == nullptr) continue;
    CHECK_LT(names->size(), kMostKernels);
    real_kernels[names->size()] = kernel;
    timed.Add(op->name, kStandIns[names->size()]);
    names->push_back(op->name);
  }
  return timed;
}

// Best FLOP/s of oneDNN's product of square matrices, over sizes and repetitions.
double GemmRate(bool bf16) {
  using dnnl::memory;
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const auto type = bf16 ? memory::data_type::bf16 : memory::data_type::f32;
  double best = 0;
  for (const int64_t n : {512, 1024, 2048}) {
    const memory::desc desc({n, n}, type, memory::format_tag::ab);
    const dnnl::matmul::primitive_desc description({desc, desc, desc}, engine);
    const dnnl::matmul product(description);
    memory a(desc, engine), b(desc, engine), c(desc, engine);
    std::fill_n(static_cast<char*>(a.get_data_handle()), desc.get_size(), 0);
    std::fill_n(static_cast<char*>(b.get_data_handle()), desc.get_size(), 0);
    for (int round = 0; round < 6; ++round) {
      const Clock::time_point begin = Clock::now();
      product.execute(stream, {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}});
      stream.wait();
      best = std::max(best, 2.0 * n * n * n / SecondsSince(begin));
    }
  }
  return best;
}

struct Size {
  std::string dtype = "F32";
  int64_t layers = 8, hidden = 512, heads = 8, ffn = 1536, vocab = 8192, sequence = 512, batch = 4;
  int steps = 5;
};

// FLOPs of the products of one step, by kernel: forward, and with its gradients (three times).
std::map<std::string, double> ModelFlops(const Size& s) {
  const double tokens = static_cast<double>(s.batch * s.sequence);
  const double projections = 4.0 * s.hidden * s.hidden + 3.0 * s.hidden * s.ffn;
  const double attention = 2.0 * s.sequence / 2 * s.hidden;  // scores and values, half is visible
  return {{"einsum", 3 * 2 * tokens * s.layers * projections},
          {"attention", 2 * tokens * s.layers * attention},
          {"attention_grad", 2 * 2 * tokens * s.layers * attention},
          {"head_cross_entropy_with_grad", 3 * 2 * tokens * s.hidden * s.vocab}};
}

absl::Status Fill(const Size& size, std::string_view name, int64_t step, const Operand& out) {
  if (name == "tokens" || name == "targets") {
    uint64_t state = static_cast<uint64_t>(step) * 2 + (name == "targets");
    for (int64_t i = 0; i < out.elements(); ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      out.as<int32_t>()[i] =
          static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(size.vocab));
    }
    return absl::OkStatus();
  }
  float& value = *out.as<float>();
  value = 1e-4f;
  if (name == "loss_scale") value = 1.0f / static_cast<float>(size.batch * size.sequence);
  if (name == "step") value = static_cast<float>(step + 1);
  return absl::OkStatus();
}

absl::Status Run(const Size& size) {
  const std::string text =
      absl::StrCat("name: 'step' model { decoder { layers: ", size.layers, " hidden: ", size.hidden,
                   " heads: ", size.heads, " ffn: ", size.ffn, " vocab: ", size.vocab,
                   " } } data { tokens: 'unused' sequence: ", size.sequence,
                   " } mesh: 'data:1' train { steps: 1 global_batch: ", size.batch,
                   " dtype: ", size.dtype, " } optimizer { adamw { lr: 1e-4 } clip_norm: 1 }");
  absl::StatusOr<Job> job = ParseJob(text, "bench_step");
  if (!job.ok()) return job.status();
  OpRegistry ops;
  KernelTable kernels;
  DefineAllOps(ops);
  FillCpuKernels(ops, kernels);
  std::vector<std::string> names;
  const KernelTable timed = TimedKernels(ops, kernels, &names);
  absl::StatusOr<Graph> graph = TrainGraph(*job, ops);
  if (!graph.ok()) return graph.status();
  MemoryNetwork network(1);
  Session session(ops, timed, network.endpoint(0));
  auto runnable = session.Load(
      *std::move(graph), CompileOptions(),
      [&](std::string_view name, int64_t step, int64_t, const Operand& out) {
        return Fill(size, name, step, out);
      },
      [](std::string_view, int64_t, int64_t, const Operand&) { return absl::OkStatus(); });
  if (!runnable.ok()) return runnable.status();

  // Where oneDNN has no bf16 products weft widens to f32, and the f32 rate is the one to keep.
  const bool bf16 = size.dtype == "BF16" && DnnlComputesBF16();
  double gemm = GemmRate(bf16);
  if (absl::Status status = (*runnable)->Run(0, 1); !status.ok()) return status;
  double best = 1e30;
  std::array<double, kMostKernels> best_kernels{};
  for (int step = 1; step <= size.steps; ++step) {
    kernel_seconds.fill(0);
    const Clock::time_point begin = Clock::now();
    if (absl::Status status = (*runnable)->Run(step, 1); !status.ok()) return status;
    const double seconds = SecondsSince(begin);
    if (seconds >= best) continue;
    best = seconds;
    best_kernels = kernel_seconds;
  }
  gemm = std::max(gemm, GemmRate(bf16));

  const std::map<std::string, double> flops = ModelFlops(size);
  double total = 0;
  for (const auto& [name, count] : flops) total += count;
  std::printf(
      "{\"benchmark\": \"step\", \"dtype\": \"%s\", \"layers\": %lld, \"hidden\": %lld, "
      "\"sequence\": "
      "%lld, \"batch\": %lld, \"step_ms\": %.2f, \"model_gflops_per_s\": %.1f, "
      "\"gemm_dtype\": \"%s\", \"gemm_gflops_per_s\": %.1f, \"ratio\": %.3f, \"tokens_per_s\": "
      "%.0f, \"arena_bytes\": %lld}\n",
      size.dtype.c_str(), static_cast<long long>(size.layers), static_cast<long long>(size.hidden),
      static_cast<long long>(size.sequence), static_cast<long long>(size.batch), best * 1e3,
      total / best / 1e9, bf16 ? "BF16" : "F32", gemm / 1e9, total / best / gemm,
      static_cast<double>(size.batch * size.sequence) / best,
      static_cast<long long>((*runnable)->plan().arena_bytes()));
  std::vector<std::pair<double, std::string>> rows;
  for (size_t i = 0; i < names.size(); ++i) {
    if (best_kernels[i] > 0) rows.push_back({best_kernels[i], names[i]});
  }
  std::sort(rows.rbegin(), rows.rend());
  for (const auto& [seconds, name] : rows) {
    std::printf(
        "{\"benchmark\": \"step kernel\", \"kernel\": \"%s\", \"ms\": %.3f, \"share\": %.4f",
        name.c_str(), seconds * 1e3, seconds / best);
    if (auto found = flops.find(name); found != flops.end()) {
      std::printf(", \"ratio\": %.3f", found->second / seconds / gemm);
    }
    std::printf("}\n");
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  CLI::App app("Training step against GEMM rate");
  weft::Size size;
  app.add_option("--dtype", size.dtype)->check(CLI::IsMember({"F32", "BF16"}));
  app.add_option("--layers", size.layers);
  app.add_option("--hidden", size.hidden);
  app.add_option("--heads", size.heads);
  app.add_option("--ffn", size.ffn);
  app.add_option("--vocab", size.vocab);
  app.add_option("--sequence", size.sequence);
  app.add_option("--batch", size.batch);
  app.add_option("--steps", size.steps);
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = weft::Run(size);
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}

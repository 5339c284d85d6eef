// How long the compiler takes, by ops of the graph: decoders of growing depth on a 2 x 2 mesh, from the
// differentiated graph to one rank's plan, phase by phase, and the size of the plan.
//
//   bench_compile [--ops 1000,10000,76000] [--mesh data:2,model:2]
//
// One JSON line per size.
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "kernels/all_ops.h"
#include "launcher/job.h"
#include "launcher/job_graph.h"
#include "parallel/compile.h"

namespace weft {
namespace {

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

absl::StatusOr<Graph> Decoder(const OpRegistry& ops, int layers, const std::string& mesh) {
  absl::StatusOr<Job> job = ParseJob(
      absl::StrCat("name: 'deep' model { decoder { layers: ", layers,
                   " hidden: 64 heads: 4 ffn: 128 vocab: 256 } } data { tokens: 'unused' sequence: "
                   "32 } mesh: '",
                   mesh,
                   "' train { steps: 1 global_batch: 8 } optimizer { adamw { lr: 1e-4 } clip_norm: 1 }"),
      "bench_compile");
  if (!job.ok()) return job.status();
  return TrainGraph(*job, ops);
}

absl::Status Measure(const OpRegistry& ops, int wanted, const std::string& mesh) {
  // Ops grow linearly with layers: two small graphs tell how.
  absl::StatusOr<Graph> two = Decoder(ops, 2, mesh), four = Decoder(ops, 4, mesh);
  if (!two.ok()) return two.status();
  if (!four.ok()) return four.status();
  const int per_layer = static_cast<int>(four->nodes.size() - two->nodes.size()) / 2;
  const int fixed = static_cast<int>(two->nodes.size()) - 2 * per_layer;
  const int layers = std::max(1, (wanted - fixed + per_layer - 1) / per_layer);

  auto begin = std::chrono::steady_clock::now();
  absl::StatusOr<Graph> graph = Decoder(ops, layers, mesh);
  const double build = SecondsSince(begin);
  if (!graph.ok()) return graph.status();
  const size_t nodes = graph->nodes.size();

  begin = std::chrono::steady_clock::now();
  absl::StatusOr<Program> program = Compile(*std::move(graph), ops, CompileOptions());
  const double compile = SecondsSince(begin);
  if (!program.ok()) return program.status();

  begin = std::chrono::steady_clock::now();
  absl::StatusOr<Plan> plan = InstantiatePlan(*program, 0);
  const double instantiate = SecondsSince(begin);
  if (!plan.ok()) return plan.status();
  std::printf(
      "{\"benchmark\": \"compile\", \"ops\": %zu, \"mesh\": \"%s\", \"layers\": %d, \"actors\": %zu, "
      "\"build_s\": %.3f, \"compile_s\": %.3f, \"plan_s\": %.3f, \"total_s\": %.3f, "
      "\"plan_mb\": %.2f}\n",
      nodes, mesh.c_str(), layers, program->lowered.actors.size(), build, compile, instantiate,
      build + compile + instantiate, static_cast<double>(plan->ByteSizeLong()) / 1e6);
  std::fflush(stdout);
  return absl::OkStatus();
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  CLI::App app("Compile time by ops");
  std::vector<int> sizes = {1000, 10000, 76000};
  std::string mesh = "data:2,model:2";
  app.add_option("--ops", sizes)->delimiter(',')->check(CLI::PositiveNumber);
  app.add_option("--mesh", mesh);
  CLI11_PARSE(app, argc, argv);
  weft::OpRegistry ops;
  weft::DefineAllOps(ops);
  for (const int size : sizes) {
    const absl::Status status = weft::Measure(ops, size, mesh);
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
      return 1;
    }
  }
  return 0;
}

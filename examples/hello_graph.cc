// The smallest whole journey: write a graph, say how it lies on a mesh, train it on two ranks.
//
// The model is y = x w. Two ranks (threads here; processes under mpirun) each take half of every
// batch; nothing below says how gradients meet, since that follows from the annotations of x and w.
#include <cmath>
#include <cstdio>

#include "graph/graph_builder.h"
#include "graph/graph_text.h"
#include "graph/optimizer.h"
#include "kernels/all_ops.h"
#include "launcher/ranks.h"
#include "launcher/session.h"
#include "runtime/status.h"

namespace {

constexpr int64_t kRows = 8, kFeatures = 3;
constexpr float kTruth[kFeatures] = {2.0f, -1.0f, 0.5f};

// Any data will do, as long as it is a function of the logical index: then it is the same on every
// mesh.
float Feature(int64_t step, int64_t row, int64_t column) {
  return std::sin(static_cast<float>(step * kRows + row) *
                  (1.7f + 0.9f * static_cast<float>(column)));
}

absl::StatusOr<weft::Graph> Model(const weft::OpRegistry& ops) {
  WEFT_ASSIGN_OR_RETURN(weft::Mesh mesh, weft::Mesh::Parse("data:2"));
  weft::GraphBuilder g(ops, mesh);
  weft::Value x = g.Input("x", {{kRows, kFeatures}, weft::DType::kF32});
  weft::Value y = g.Input("y", {{kRows, 1}, weft::DType::kF32});
  weft::Value w = g.Parameter("w", {{kFeatures, 1}, weft::DType::kF32}, weft::Normal(0.1));
  g.Annotate(x, "[data:S(0)]");  // rows are split,
  g.Annotate(w, "[data:B]");     // weights are whole; layout inference does the rest
  weft::Value error = g.Op("sub", {g.Op("einsum", {x, w}, {{"equation", "bi,io->bo"}}), y});
  weft::Value loss =
      g.Op("reduce_mean", {g.Op("square", {error})}, {{"axes", std::vector<int64_t>{0, 1}}});
  WEFT_RETURN_IF_ERROR(
      AddOptimizer(g, loss, {.kind = weft::OptimizerConfig::Kind::kSgd, .momentum = 0.5}));
  return g.Build();
}

// Writes this rank's part of an input: out.box says which logical rows those are.
absl::Status Feed(std::string_view name, int64_t step, int64_t, const weft::Operand& out) {
  float* data = out.as<float>();
  if (name == "learning_rate") {
    data[0] = 0.2f;
    return absl::OkStatus();
  }
  for (int64_t i = 0; i < out.shape[0]; ++i) {
    const int64_t row = out.box->dims[0].ToLogical(i);
    float y = 0;
    for (int64_t column = 0; column < kFeatures; ++column) {
      const float feature = Feature(step, row, column);
      y += feature * kTruth[column];
      if (name == "x") data[i * kFeatures + column] = feature;
    }
    if (name == "y") data[i] = y;
  }
  return absl::OkStatus();
}

absl::Status Train(const weft::Graph& graph, const weft::OpRegistry& ops,
                   const weft::KernelTable& kernels, weft::Transport& transport) {
  const bool speaks = transport.rank() == 0;
  float loss = 0;
  const auto fetch = [&](std::string_view name, int64_t step, int64_t, const weft::Operand& in) {
    if (name != "loss") return absl::OkStatus();
    loss = *in.as<float>();
    if (speaks && step % 20 == 0) {
      std::printf("step %3d  loss %.6f\n", static_cast<int>(step), loss);
    }
    return absl::OkStatus();
  };
  weft::Session session(ops, kernels, transport);
  WEFT_ASSIGN_OR_RETURN(auto program, session.Load(graph, weft::CompileOptions(), Feed, fetch));
  WEFT_RETURN_IF_ERROR(program->Run(0, 101));
  const float* w = session.variables().Find("w")->operand().as<float>();
  if (speaks) std::printf("w = %.3f %.3f %.3f\n", w[0], w[1], w[2]);
  return loss < 1e-4f ? absl::OkStatus() : absl::InternalError("it did not learn");
}

absl::Status Run() {
  weft::OpRegistry ops;
  weft::KernelTable kernels;
  weft::DefineAllOps(ops);
  weft::FillCpuKernels(ops, kernels);
  WEFT_ASSIGN_OR_RETURN(const weft::Graph graph, Model(ops));

  // A graph and its text say the same thing.
  const std::string text = weft::GraphText(graph);
  WEFT_ASSIGN_OR_RETURN(const weft::Graph read, weft::ParseGraphText(text, ops));
  if (weft::GraphText(read) != text) return absl::InternalError("the text does not read back");
  std::printf("%s\n", text.c_str());

  WEFT_ASSIGN_OR_RETURN(weft::Ranks ranks, weft::Ranks::Start(2));
  return ranks.Run(
      [&](weft::Transport& transport) { return Train(graph, ops, kernels, transport); });
}

}  // namespace

int main() {
  const absl::Status status = Run();
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}

// Data parallelism: an MLP learns a function of three numbers, on one rank and on three.
//
// One annotation says that rows are split over the mesh axis `data`; that weights are whole on
// every rank, that their gradients are summed and when, follows. The program checks two things: the
// losses are those of one rank, and the MLP beats the best linear fit, whose error it works out
// itself.
#include <array>
#include <cmath>
#include <cstdio>
#include <vector>

#include "graph/graph_builder.h"
#include "graph/optimizer.h"
#include "kernels/all_ops.h"
#include "launcher/ranks.h"
#include "launcher/session.h"
#include "runtime/status.h"

namespace {

// 100 rows on 3 ranks: 34, 33 and 33.
constexpr int64_t kRows = 100, kFeatures = 3, kHidden = 32, kSteps = 300;

// Data is a function of the logical row, so that it is the same on every mesh.
float Feature(int64_t row, int64_t column) {
  const double irrational[kFeatures] = {0.754877666, 0.569840291, 0.438447187};
  const double x = static_cast<double>(row + 1) * irrational[column];
  return static_cast<float>(2 * (x - std::floor(x)) - 1);  // fills [-1,1) evenly
}

float Target(int64_t row) {
  return std::sin(3 * Feature(row, 0)) + 2 * Feature(row, 1) * Feature(row, 2);
}

absl::StatusOr<weft::Graph> Model(const weft::OpRegistry& ops, const char* mesh_text) {
  WEFT_ASSIGN_OR_RETURN(weft::Mesh mesh, weft::Mesh::Parse(mesh_text));
  weft::GraphBuilder g(ops, mesh);
  const auto weight = [&g](const char* name, weft::Shape shape, double stddev) {
    return g.Parameter(name, {std::move(shape), weft::DType::kF32}, weft::Normal(stddev));
  };
  weft::Value x = g.Input("x", {{kRows, kFeatures}, weft::DType::kF32});
  weft::Value y = g.Input("y", {{kRows, 1}, weft::DType::kF32});
  g.Annotate(x, "[data:S(0)]");  // the one thing to say
  weft::Value hidden =
      g.Op("einsum", {x, weight("w1", {kFeatures, kHidden}, 0.8)}, {{"equation", "bi,ih->bh"}});
  hidden = g.Op("tanh", {g.Op("add", {hidden, weight("b1", {kHidden}, 0.5)})});
  weft::Value out =
      g.Op("einsum", {hidden, weight("w2", {kHidden, 1}, 0.2)}, {{"equation", "bh,ho->bo"}});
  weft::Value error = g.Op("sub", {out, y});
  weft::Value loss =
      g.Op("reduce_mean", {g.Op("square", {error})}, {{"axes", std::vector<int64_t>{0, 1}}});
  WEFT_RETURN_IF_ERROR(AddOptimizer(g, loss, {.kind = weft::OptimizerConfig::Kind::kAdamW}));
  return g.Build();
}

// Writes this rank's part of an input: out.box says which logical rows those are.
absl::Status Feed(std::string_view name, int64_t step, int64_t, const weft::Operand& out) {
  float* data = out.as<float>();
  if (name == "learning_rate") data[0] = 0.01f;
  if (name == "step") data[0] = static_cast<float>(step + 1);
  if (name != "x" && name != "y") return absl::OkStatus();
  for (int64_t i = 0; i < out.shape[0]; ++i) {
    const int64_t row = out.box->dims[0].ToLogical(i);
    if (name == "y") data[i] = Target(row);
    for (int64_t c = 0; name == "x" && c < kFeatures; ++c)
      data[i * kFeatures + c] = Feature(row, c);
  }
  return absl::OkStatus();
}

// The loss of every step.
absl::StatusOr<std::vector<float>> Train(const char* mesh, int ranks, const weft::OpRegistry& ops,
                                         const weft::KernelTable& kernels) {
  WEFT_ASSIGN_OR_RETURN(const weft::Graph graph, Model(ops, mesh));
  std::vector<float> losses(kSteps);
  WEFT_ASSIGN_OR_RETURN(weft::Ranks group, weft::Ranks::Start(ranks));
  WEFT_RETURN_IF_ERROR(group.Run([&](weft::Transport& transport) -> absl::Status {
    const bool keeps = transport.rank() == 0;
    const auto fetch = [&, keeps](std::string_view name, int64_t step, int64_t,
                                  const weft::Operand& in) {
      if (keeps && name == "loss") losses[step] = *in.as<float>();
      return absl::OkStatus();
    };
    weft::Session session(ops, kernels, transport);
    WEFT_ASSIGN_OR_RETURN(auto program, session.Load(graph, weft::CompileOptions(), Feed, fetch));
    return program->Run(0, kSteps);
  }));
  return losses;
}

// The mean squared error of the best a + b x0 + c x1 + d x2: its normal equations, solved by
// Gaussian elimination.
double BestLinearError() {
  constexpr int kUnknowns = kFeatures + 1;
  std::array<std::array<double, kUnknowns + 1>, kUnknowns> m{};
  const auto term = [](int64_t row, int i) { return i == 0 ? 1.0 : Feature(row, i - 1); };
  for (int64_t row = 0; row < kRows; ++row) {
    for (int i = 0; i < kUnknowns; ++i) {
      for (int j = 0; j < kUnknowns; ++j) m[i][j] += term(row, i) * term(row, j);
      m[i][kUnknowns] += term(row, i) * Target(row);
    }
  }
  for (int pivot = 0; pivot < kUnknowns; ++pivot) {  // the matrix is positive definite
    for (int i = 0; i < kUnknowns; ++i) {
      if (i == pivot) continue;
      const double factor = m[i][pivot] / m[pivot][pivot];
      for (int j = pivot; j <= kUnknowns; ++j) m[i][j] -= factor * m[pivot][j];
    }
  }
  double sum = 0;
  for (int64_t row = 0; row < kRows; ++row) {
    double fit = 0;
    for (int i = 0; i < kUnknowns; ++i) fit += m[i][kUnknowns] / m[i][i] * term(row, i);
    sum += (fit - Target(row)) * (fit - Target(row));
  }
  return sum / kRows;
}

absl::Status Run() {
  weft::OpRegistry ops;
  weft::KernelTable kernels;
  weft::DefineAllOps(ops);
  weft::FillCpuKernels(ops, kernels);
  WEFT_ASSIGN_OR_RETURN(const std::vector<float> one, Train("data:1", 1, ops, kernels));
  WEFT_ASSIGN_OR_RETURN(const std::vector<float> three, Train("data:3", 3, ops, kernels));
  const double linear = BestLinearError();
  for (int64_t step : {int64_t{0}, int64_t{9}, int64_t{99}, kSteps - 1}) {
    std::printf("step %3d  one rank %.6f  three ranks %.6f\n", static_cast<int>(step + 1),
                one[step], three[step]);
  }
  std::printf("best linear fit      %.6f\n", linear);
  for (int64_t step = 0; step < 50; ++step) {
    // Sums over rows are taken in another order, which rounds otherwise.
    if (!(std::abs(three[step] - one[step]) <= 1e-4f * one[step])) {
      return absl::InternalError("three ranks do not train as one does");
    }
  }
  if (!(three.back() < linear / 10)) return absl::InternalError("the MLP did not beat a line");
  return absl::OkStatus();
}

}  // namespace

int main() {
  const absl::Status status = Run();
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}

// Writes a training job for `weft train`: a graph from the C++ API as text, its data, and the job
// that binds them. What a cluster scheduler is handed when an engineer's model is no decoder.
//
//   example_dump_graph DIR && weft train DIR/job.pbtxt
//
// The model is linear regression with a metric of its own. The data is two features in a CSV file
// and a target in a .npy array, 3 a - 2 b + 1 + noise of known size, so that the least error which
// a linear model can reach is known: it is worked out here and written to DIR/least_loss.
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "graph/graph_builder.h"
#include "graph/graph_text.h"
#include "kernels/all_ops.h"
#include "runtime/status.h"

namespace {

constexpr int64_t kRows = 400, kBatch = 40;

struct Row {
  float a, b, target;
};

Row RowOf(int64_t i) {
  const double u = static_cast<double>(i + 1) * 0.754877666;
  const double v = static_cast<double>(i + 1) * 0.569840291;
  Row row{};
  row.a = static_cast<float>(2 * (u - std::floor(u)) - 1);
  row.b = static_cast<float>(2 * (v - std::floor(v)) - 1);
  row.target = 3 * row.a - 2 * row.b + 1 + (i % 2 == 0 ? 0.1f : -0.1f);
  return row;
}

// The forward part alone: the job's optimizer adds gradients and updates.
absl::StatusOr<weft::Graph> Model(const weft::OpRegistry& ops) {
  WEFT_ASSIGN_OR_RETURN(weft::Mesh mesh, weft::Mesh::Parse("data:2"));
  weft::GraphBuilder g(ops, mesh);
  weft::Value x = g.Input("x", {{kBatch, 2}, weft::DType::kF32});
  weft::Value y = g.Input("y", {{kBatch}, weft::DType::kF32});
  weft::Value scale = g.Input("loss_scale", {{}, weft::DType::kF32}, weft::Rate::kStep);
  g.Annotate(x, "[data:S(0)]");
  weft::Value w = g.Parameter("w", {{2}, weft::DType::kF32}, weft::Normal(0.1));
  weft::Value bias = g.Parameter("bias", {{1}, weft::DType::kF32}, weft::Constant(0.0));
  weft::Value fit = g.Op("einsum", {x, w}, {{"equation", "bi,i->b"}});
  weft::Value error = g.Op("sub", {g.Op("add", {fit, bias}), y});
  // Sums times loss_scale, which is 1 / rows of the global batch, are means over all microbatches.
  const weft::Attrs rows = {{"axes", std::vector<int64_t>{0}}};
  weft::Value squares = g.Op("reduce_sum", {g.Op("square", {error})}, rows);
  weft::Value absolute = g.Op("reduce_sum", {g.Op("sqrt", {g.Op("square", {error})})}, rows);
  g.Output("loss", g.Op("mul", {squares, scale}));
  g.Output("mean_absolute_error", g.Op("mul", {absolute, scale}));
  return g.Build();
}

// The mean squared error of the best linear fit, by the normal equations.
double LeastLoss() {
  std::array<std::array<double, 4>, 3> m{};
  const auto term = [](const Row& row, int i) { return i == 0 ? 1.0 : i == 1 ? row.a : row.b; };
  for (int64_t r = 0; r < kRows; ++r) {
    const Row row = RowOf(r);
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) m[i][j] += term(row, i) * term(row, j);
      m[i][3] += term(row, i) * row.target;
    }
  }
  for (int p = 0; p < 3; ++p) {
    for (int i = 0; i < 3; ++i) {
      if (i == p) continue;
      const double factor = m[i][p] / m[p][p];
      for (int j = p; j < 4; ++j) m[i][j] -= factor * m[p][j];
    }
  }
  double sum = 0;
  for (int64_t r = 0; r < kRows; ++r) {
    const Row row = RowOf(r);
    double fit = 0;
    for (int i = 0; i < 3; ++i) fit += m[i][3] / m[i][i] * term(row, i);
    sum += (fit - row.target) * (fit - row.target);
  }
  return sum / kRows;
}

// numpy.save's format, version 1: magic, version, length of the header, the header, the numbers.
std::string Npy(const std::vector<float>& values) {
  std::string header =
      absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': (", values.size(), ",), }");
  header.resize(128 - 10 - 1, ' ');
  header.push_back('\n');
  std::string text("\x93NUMPY\x01\x00", 8);
  text.push_back(static_cast<char>(header.size()));
  text.push_back('\0');
  text += header;
  text.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  return text;
}

absl::Status Write(const std::filesystem::path& path, const std::string& contents) {
  std::ofstream file(path, std::ios::binary);
  file << contents;
  if (file.flush()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("cannot write ", path.string()));
}

absl::Status Run(const std::filesystem::path& dir) {
  weft::OpRegistry ops;
  weft::DefineAllOps(ops);
  WEFT_ASSIGN_OR_RETURN(const weft::Graph graph, Model(ops));
  std::string csv = "a,unused,b\n";
  std::vector<float> targets;
  for (int64_t i = 0; i < kRows; ++i) {
    const Row row = RowOf(i);
    absl::StrAppend(&csv, row.a, ",", i, ",", row.b, "\n");
    targets.push_back(row.target);
  }
  std::string job = R"(# Written by example_dump_graph.
name: "regression"
model { graph_file: "DIR/graph.pbtxt" }
data { input: "x" csv: "DIR/features.csv" columns: "a" columns: "b" held_out: 0.1 }
data { input: "y" array: "DIR/targets.npy" held_out: 0.1 }
mesh: "data:2"
train { steps: 200 global_batch: 40 }
optimizer { sgd { lr: 0.2 momentum: 0.9 } schedule { decay: LINEAR final_lr_ratio: 0.01 } }
evaluate { every: 100 }
)";
  for (size_t at; (at = job.find("DIR")) != std::string::npos;) job.replace(at, 3, dir.string());
  WEFT_RETURN_IF_ERROR(Write(dir / "graph.pbtxt", weft::GraphText(graph)));
  WEFT_RETURN_IF_ERROR(Write(dir / "features.csv", csv));
  WEFT_RETURN_IF_ERROR(Write(dir / "targets.npy", Npy(targets)));
  WEFT_RETURN_IF_ERROR(Write(dir / "job.pbtxt", job));
  return Write(dir / "least_loss", absl::StrCat(LeastLoss(), "\n"));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s DIR (where to write the job)\n", argv[0]);
    return 2;
  }
  const absl::Status status = Run(argv[1]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}

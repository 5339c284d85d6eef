// An op defined outside of weft: Huber's loss, quadratic near zero and linear beyond `delta`
// (Huber, Robust estimation of a location parameter, 1964).
//
// A definition says what the op's results are, how it may be split over ranks, its gradient, what
// it costs, and the kernel. From then on it is an op like any other: annotated, split,
// differentiated and scheduled. The program checks its gradient against finite differences, that
// two ranks train as one does, and that it does what it is for: with one row in ten spoilt, the fit
// keeps the true slope, which least squares (worked out in closed form) loses.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "graph/grad_context.h"
#include "graph/graph_builder.h"
#include "graph/optimizer.h"
#include "kernels/all_ops.h"
#include "launcher/ranks.h"
#include "launcher/session.h"
#include "runtime/status.h"

namespace {

using weft::CostContext;
using weft::InferContext;
using weft::KernelContext;
using weft::LayoutContext;
using Specs = absl::StatusOr<std::vector<weft::TensorSpec>>;

// Logical shapes: checked where the graph is built, so that errors name the op there.
Specs InferHuber(const InferContext& c) {
  for (int i = 0; i < c.num_inputs(); ++i) {
    if (c.in(i).dtype != weft::DType::kF32 || c.in(i).shape != c.in(0).shape) {
      return absl::InvalidArgumentError("huber takes f32, its gradient two of one shape");
    }
  }
  return c.Like(0);
}

// Every dimension may be split over any axis: each element is for itself.
weft::FactorMap SplitAnywhere(const LayoutContext& c) { return c.Elementwise(); }

weft::Cost Elementwise(const CostContext& c) {
  return {.flops = 4.0 * static_cast<double>(c.outputs[0].elements()),
          .bytes = static_cast<double>(c.bytes())};
}

// Kernels see this rank's part, dense; where it lies in the logical tensor does not matter here.
absl::Status HuberCpu(const KernelContext& k) {
  const float delta = static_cast<float>(k.attrs->Float("delta"));
  for (int64_t i = 0; i < k.in(0).elements(); ++i) {
    const float x = k.in(0).as<float>()[i], size = std::abs(x);
    k.out(0).as<float>()[i] = size <= delta ? x * x / 2 : delta * (size - delta / 2);
  }
  return absl::OkStatus();
}

absl::Status HuberGradCpu(const KernelContext& k) {
  const float delta = static_cast<float>(k.attrs->Float("delta"));
  for (int64_t i = 0; i < k.in(0).elements(); ++i) {
    const float slope = std::min(std::max(k.in(0).as<float>()[i], -delta), delta);
    k.out(0).as<float>()[i] = slope * k.in(1).as<float>()[i];
  }
  return absl::OkStatus();
}

void DefineHuber(weft::OpRegistry& ops) {
  ops.Add({.name = "huber",
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {{"delta", 1.0}},
           .infer = InferHuber,
           .layout = SplitAnywhere,
           .gradient =
               [](weft::GradContext& g) {
                 return g.Emit("huber_grad", {g.input(0), g.output_grad(0)}, g.attrs());
               },
           .cost = Elementwise,
           .cpu = HuberCpu});
  ops.Add({.name = "huber_grad",
           .inputs = {"x", "dy"},
           .outputs = {"dx"},
           .attrs = {{"delta", 1.0}},
           .infer = InferHuber,
           .layout = SplitAnywhere,
           .cost = Elementwise,
           .cpu = HuberGradCpu});
}

constexpr int64_t kRows = 60, kSteps = 150;
constexpr float kSlope = 2.0f, kDelta = 0.1f;

float Feature(int64_t row) { return static_cast<float>(row) / (kRows - 1) * 2 - 1; }
// One row in ten, those with large x, is off by 8.
float Target(int64_t row) {
  return kSlope * Feature(row) - (row >= kRows - kRows / 10 ? 8.0f : 0.0f);
}

absl::StatusOr<weft::Graph> Model(const weft::OpRegistry& ops, const char* mesh_text) {
  WEFT_ASSIGN_OR_RETURN(weft::Mesh mesh, weft::Mesh::Parse(mesh_text));
  weft::GraphBuilder g(ops, mesh);
  weft::Value x = g.Input("x", {{kRows}, weft::DType::kF32});
  weft::Value y = g.Input("y", {{kRows}, weft::DType::kF32});
  g.Annotate(x, "[data:S(0)]");
  weft::Value slope = g.Parameter("slope", {{1}, weft::DType::kF32}, weft::Constant(0.5));
  weft::Value error = g.Op("sub", {g.Op("mul", {x, slope}), y});
  weft::Value each = g.Op("huber", {error}, {{"delta", static_cast<double>(kDelta)}});
  weft::Value loss = g.Op("reduce_mean", {each}, {{"axes", std::vector<int64_t>{0}}});
  WEFT_RETURN_IF_ERROR(
      AddOptimizer(g, loss, {.kind = weft::OptimizerConfig::Kind::kSgd, .momentum = 0.9}));
  return g.Build();
}

absl::Status Feed(std::string_view name, int64_t, int64_t, const weft::Operand& out) {
  if (name == "learning_rate") *out.as<float>() = 0.3f;
  if (name != "x" && name != "y") return absl::OkStatus();
  for (int64_t i = 0; i < out.shape[0]; ++i) {
    const int64_t row = out.box->dims[0].ToLogical(i);
    out.as<float>()[i] = name == "x" ? Feature(row) : Target(row);
  }
  return absl::OkStatus();
}

struct Result {
  std::vector<float> losses = std::vector<float>(kSteps);
  float first_gradient = 0;  // its norm
  float slope = 0;
};

absl::StatusOr<Result> Train(const char* mesh, int ranks, const weft::OpRegistry& ops,
                             const weft::KernelTable& kernels) {
  WEFT_ASSIGN_OR_RETURN(const weft::Graph graph, Model(ops, mesh));
  Result result;
  WEFT_ASSIGN_OR_RETURN(weft::Ranks group, weft::Ranks::Start(ranks));
  WEFT_RETURN_IF_ERROR(group.Run([&](weft::Transport& transport) -> absl::Status {
    const bool keeps = transport.rank() == 0;
    const auto fetch = [&, keeps](std::string_view name, int64_t step, int64_t,
                                  const weft::Operand& in) {
      if (keeps && name == "loss") result.losses[step] = *in.as<float>();
      if (keeps && name == "grad_norm" && step == 0) result.first_gradient = *in.as<float>();
      return absl::OkStatus();
    };
    weft::Session session(ops, kernels, transport);
    WEFT_ASSIGN_OR_RETURN(auto program, session.Load(graph, weft::CompileOptions(), Feed, fetch));
    WEFT_RETURN_IF_ERROR(program->Run(0, kSteps));
    if (keeps) result.slope = *session.variables().Find("slope")->operand().as<float>();
    return absl::OkStatus();
  }));
  return result;
}

// The loss at a slope, in double.
double LossAt(double slope) {
  double sum = 0;
  for (int64_t row = 0; row < kRows; ++row) {
    const double size = std::abs(slope * Feature(row) - Target(row));
    sum += size <= kDelta ? size * size / 2 : kDelta * (size - kDelta / 2);
  }
  return sum / kRows;
}

absl::Status Run() {
  weft::OpRegistry ops;
  weft::KernelTable kernels;
  weft::DefineAllOps(ops);
  DefineHuber(ops);  // the one line that makes it an op
  weft::FillCpuKernels(ops, kernels);
  WEFT_ASSIGN_OR_RETURN(const Result one, Train("data:1", 1, ops, kernels));
  WEFT_ASSIGN_OR_RETURN(const Result two, Train("data:2", 2, ops, kernels));

  const double difference = (LossAt(0.5 + 1e-4) - LossAt(0.5 - 1e-4)) / 2e-4;
  double xy = 0, xx = 0;
  for (int64_t row = 0; row < kRows; ++row) {
    xy += Feature(row) * Target(row);
    xx += Feature(row) * Feature(row);
  }
  std::printf("gradient %.5f, by finite differences %.5f\n", one.first_gradient,
              std::abs(difference));
  std::printf("slope: true %.3f, Huber %.3f, least squares %.3f\n", kSlope, one.slope, xy / xx);
  if (!(std::abs(one.first_gradient - std::abs(difference)) < 1e-3 * std::abs(difference))) {
    return absl::InternalError("the gradient is wrong");
  }
  for (int64_t step = 0; step < kSteps; ++step) {
    if (std::abs(two.losses[step] - one.losses[step]) <= 1e-4f * one.losses[step]) continue;
    return absl::InternalError("two ranks do not train as one does");
  }
  // A spoilt row pulls with delta at most, however far off it is; least squares feels all of it.
  if (!(std::abs(one.slope - kSlope) < 0.1 && std::abs(xy / xx - kSlope) > 1)) {
    return absl::InternalError("the fit is not robust");
  }
  return absl::OkStatus();
}

}  // namespace

int main() {
  const absl::Status status = Run();
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}

// Tensor parallelism: two MLP blocks whose weights are too large for one rank.
//
// The first weight of a block is split by columns, the second by rows (Megatron-LM, arXiv
// 1909.08053, section 3): the wide hidden values never leave their rank, and one all-reduce of the
// narrow ones ends a block. Two annotations per block say so. The program checks that the losses
// are those of one rank, that every rank holds its share of the weights and no more, that nothing
// larger than a narrow value travels, and that the bytes sent are those predicted.
#include <cmath>
#include <cstdio>
#include <utility>
#include <vector>

#include "graph/graph_builder.h"
#include "graph/optimizer.h"
#include "kernels/all_ops.h"
#include "launcher/ranks.h"
#include "launcher/session.h"
#include "runtime/status.h"

namespace {

using weft::DType;
using weft::GraphBuilder;
using weft::Value;

constexpr int64_t kRows = 16, kWidth = 24, kHidden = 96, kSteps = 40;
constexpr int kBlocks = 2;

Value Block(GraphBuilder& g, Value x, int number) {
  GraphBuilder::Scope scope(g, number == 0 ? "block0" : "block1");
  Value up = g.Parameter("up", {{kWidth, kHidden}, DType::kF32}, weft::Normal(0.2));
  Value down = g.Parameter("down", {{kHidden, kWidth}, DType::kF32}, weft::Normal(0.1));
  g.Annotate(up, "[model:S(1)]");    // columns,
  g.Annotate(down, "[model:S(0)]");  // then rows
  Value hidden = g.Op("gelu", {g.Op("einsum", {x, up}, {{"equation", "bi,ih->bh"}})});
  return g.Op("add", {x, g.Op("einsum", {hidden, down}, {{"equation", "bh,ho->bo"}})});
}

absl::StatusOr<weft::Graph> Model(const weft::OpRegistry& ops, const char* mesh_text) {
  WEFT_ASSIGN_OR_RETURN(weft::Mesh mesh, weft::Mesh::Parse(mesh_text));
  GraphBuilder g(ops, mesh);
  Value x = g.Input("x", {{kRows, kWidth}, DType::kF32});
  Value y = g.Input("y", {{kRows, kWidth}, DType::kF32});
  g.Annotate(x, "[model:B]");
  Value out = x;
  for (int i = 0; i < kBlocks; ++i) out = Block(g, out, i);
  Value error = g.Op("sub", {out, y});
  Value loss =
      g.Op("reduce_mean", {g.Op("square", {error})}, {{"axes", std::vector<int64_t>{0, 1}}});
  WEFT_RETURN_IF_ERROR(
      AddOptimizer(g, loss, {.kind = weft::OptimizerConfig::Kind::kSgd, .momentum = 0.9}));
  return g.Build();
}

// x is noise; y is x with its columns turned by one and squashed.
absl::Status Feed(std::string_view name, int64_t step, int64_t, const weft::Operand& out) {
  if (name == "learning_rate") {
    *out.as<float>() = 0.1f;
    return absl::OkStatus();
  }
  for (int64_t i = 0; i < out.elements(); ++i) {
    const int64_t row = out.box->dims[0].ToLogical(i / out.shape[1]);
    const int64_t column =
        (out.box->dims[1].ToLogical(i % out.shape[1]) + (name == "y" ? 1 : 0)) % kWidth;
    const float x =
        std::sin(static_cast<float>((step % 4 * kRows + row) * 7 + column * column * 3));
    out.as<float>()[i] = name == "y" ? std::tanh(x) : x;
  }
  return absl::OkStatus();
}

// That this rank of `ranks` has 1/ranks of every weight.
absl::Status CheckShare(weft::Session& session, int ranks) {
  int64_t held = 0;
  for (const auto& [name, entry] : session.variables().entries()) {
    const bool weight = name.find("momentum") == std::string::npos;
    if (weight) held += entry.box.elements();
  }
  const int64_t all = kBlocks * 2 * kWidth * kHidden;
  std::printf("rank %d of %d holds %d of %d weights\n", session.rank(), ranks,
              static_cast<int>(held), static_cast<int>(all));
  return held * ranks == all ? absl::OkStatus() : absl::InternalError("that is not its share");
}

// That no conversion moves more than an all-reduce of a narrow value does: every rank sends what it
// has to every other, as small ones do (runtime/collective_bytes.h).
absl::Status CheckConversions(const weft::Program& program, int ranks) {
  const int64_t most = ranks * (ranks - 1) * kRows * kWidth * static_cast<int64_t>(sizeof(float));
  for (const weft::Conversion& c : program.conversions) {
    if (c.bytes == 0) continue;
    std::printf("  %-28s %s -> %s, %s: %d bytes\n", c.value.c_str(), c.from.c_str(), c.to.c_str(),
                c.how.c_str(), static_cast<int>(c.bytes));
    if (c.bytes > most) return absl::InternalError("something wide travels");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> Train(const char* mesh, int ranks, const weft::OpRegistry& ops,
                                         const weft::KernelTable& kernels) {
  WEFT_ASSIGN_OR_RETURN(const weft::Graph graph, Model(ops, mesh));
  std::vector<float> losses(kSteps);
  WEFT_ASSIGN_OR_RETURN(weft::Ranks group, weft::Ranks::Start(ranks));
  WEFT_RETURN_IF_ERROR(group.Run([&](weft::Transport& transport) -> absl::Status {
    const bool speaks = transport.rank() == 0;
    const auto fetch = [&, speaks](std::string_view name, int64_t step, int64_t,
                                   const weft::Operand& in) {
      if (speaks && name == "loss") losses[step] = *in.as<float>();
      return absl::OkStatus();
    };
    weft::Session session(ops, kernels, transport);
    WEFT_ASSIGN_OR_RETURN(auto program, session.Load(graph, weft::CompileOptions(), Feed, fetch));
    WEFT_RETURN_IF_ERROR(CheckShare(session, ranks));
    if (speaks) WEFT_RETURN_IF_ERROR(CheckConversions(program->program(), ranks));
    const int64_t before = transport.total_bytes_sent();
    WEFT_RETURN_IF_ERROR(program->Run(0, kSteps));
    const int64_t sent = transport.total_bytes_sent() - before;
    if (sent == kSteps * program->plan().bytes_sent_per_step()) return absl::OkStatus();
    return absl::InternalError("the bytes sent are not those predicted");
  }));
  return losses;
}

absl::Status Run() {
  weft::OpRegistry ops;
  weft::KernelTable kernels;
  weft::DefineAllOps(ops);
  weft::FillCpuKernels(ops, kernels);
  WEFT_ASSIGN_OR_RETURN(const std::vector<float> one, Train("model:1", 1, ops, kernels));
  for (const auto& [mesh, ranks] : {std::pair{"model:2", 2}, std::pair{"model:3", 3}}) {
    WEFT_ASSIGN_OR_RETURN(const std::vector<float> split, Train(mesh, ranks, ops, kernels));
    for (int64_t step = 0; step < kSteps; ++step) {
      if (std::abs(split[step] - one[step]) <= 1e-4f * one[step]) continue;
      std::printf("step %d: %.7f and %.7f\n", static_cast<int>(step + 1), split[step], one[step]);
      return absl::InternalError("a split MLP does not train as a whole one does");
    }
    std::printf("%s: loss %.5f -> %.5f, as on one rank\n", mesh, split.front(), split.back());
  }
  return one.back() < one.front() / 2 ? absl::OkStatus() : absl::InternalError("it did not learn");
}

}  // namespace

int main() {
  const absl::Status status = Run();
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}

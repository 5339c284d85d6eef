// A decoder written op by op, beside the library's: what BuildDecoderLoss does, on one page.
//
// One layer, RMSNorm, grouped-query attention, SwiGLU, tied head. Variables of the same name and
// seed start alike on every mesh, so both graphs must give the same loss; the example checks that
// they do.
#include <cmath>
#include <cstdio>

#include "graph/decoder.h"
#include "graph/graph_builder.h"
#include "graph/graph_text.h"
#include "kernels/all_ops.h"
#include "launcher/ranks.h"
#include "launcher/session.h"
#include "runtime/status.h"

namespace {

using weft::DType;
using weft::GraphBuilder;
using weft::Normal;
using weft::Value;

constexpr int64_t kBatch = 2, kSequence = 16, kHidden = 32, kHeads = 4, kKvHeads = 2, kHeadDim = 8;
constexpr int64_t kFfn = 48, kVocab = 64;
constexpr double kStddev = 0.02;

Value Norm(GraphBuilder& g, Value x) {
  Value weight = g.Parameter("norm", {{kHidden}, DType::kF32}, weft::Constant(1.0));
  return g.Emit("rms_norm", {x, weight})[0];
}

Value Project(GraphBuilder& g, Value x, const char* name, weft::Shape shape, const char* equation,
              double stddev = kStddev) {
  Value weight = g.Parameter(name, {std::move(shape), DType::kF32}, Normal(stddev));
  return g.Op("einsum", {x, weight}, {{"equation", equation}});
}

Value Attention(GraphBuilder& g, Value x) {
  GraphBuilder::Scope scope(g, "attention");
  x = Norm(g, x);
  // Weights are [hidden, heads, head_dim]: a split of dimension 1 takes whole heads.
  Value q = Project(g, x, "q", {kHidden, kHeads, kHeadDim}, "bsh,hnd->bsnd");
  Value k = Project(g, x, "k", {kHidden, kKvHeads, kHeadDim}, "bsh,hnd->bsnd");
  Value v = Project(g, x, "v", {kHidden, kKvHeads, kHeadDim}, "bsh,hnd->bsnd");
  q = g.Op("rope", {q});
  k = g.Op("rope", {k});
  Value mixed = g.Emit("attention", {q, k, v}, {{"causal", true}})[0];
  return Project(g, mixed, "o", {kHeads, kHeadDim, kHidden}, "bsnd,ndh->bsh",
                 kStddev / std::sqrt(2.0));
}

Value Mlp(GraphBuilder& g, Value x) {
  GraphBuilder::Scope scope(g, "mlp");
  x = Norm(g, x);
  Value gate = Project(g, x, "gate", {kHidden, kFfn}, "bsh,hf->bsf");
  Value up = Project(g, x, "up", {kHidden, kFfn}, "bsh,hf->bsf");
  return Project(g, g.Op("silu_gate", {gate, up}), "down", {kFfn, kHidden}, "bsf,fh->bsh",
                 kStddev / std::sqrt(2.0));
}

Value LossByHand(GraphBuilder& g) {
  Value tokens = g.Input("tokens", {{kBatch, kSequence}, DType::kI32});
  Value targets = g.Input("targets", {{kBatch, kSequence}, DType::kI32});
  Value scale = g.Input("loss_scale", {{}, DType::kF32}, weft::Rate::kStep);
  Value table = g.Parameter("embedding", {{kVocab, kHidden}, DType::kF32}, Normal(kStddev));
  Value x = g.Op("embedding", {tokens, table});
  {
    GraphBuilder::Scope layer(g, "layers.0");
    x = g.Op("add", {x, Attention(g, x)});
    x = g.Op("add", {x, Mlp(g, x)});
  }
  // The head product and the loss are one op: logits are never whole in memory.
  const std::vector<Value> rows = g.Emit("head_cross_entropy", {Norm(g, x), table, targets});
  return g.Op("token_loss", {rows[0], rows[1], targets, scale});
}

Value LossByLibrary(GraphBuilder& g) {
  return BuildDecoderLoss(g,
                          {.layers = 1,
                           .hidden = kHidden,
                           .heads = kHeads,
                           .kv_heads = kKvHeads,
                           .ffn = kFfn,
                           .vocab = kVocab,
                           .tied_head = true,
                           .init_stddev = kStddev},
                          kBatch, kSequence, DType::kF32);
}

absl::Status Feed(std::string_view name, int64_t, int64_t, const weft::Operand& out) {
  if (name == "loss_scale") {
    *out.as<float>() = 1.0f / (kBatch * kSequence);
    return absl::OkStatus();
  }
  for (int64_t i = 0; i < out.elements(); ++i) {
    const int64_t row = out.box->dims[0].ToLogical(i / out.shape[1]);
    const int64_t column = out.box->dims[1].ToLogical(i % out.shape[1]) + (name == "targets");
    out.as<int32_t>()[i] = static_cast<int32_t>((row * 31 + column * column * 7) % kVocab);
  }
  return absl::OkStatus();
}

absl::StatusOr<float> LossOf(Value (*model)(GraphBuilder&), const weft::OpRegistry& ops,
                             const weft::KernelTable& kernels, const char* mesh_text) {
  WEFT_ASSIGN_OR_RETURN(weft::Mesh mesh, weft::Mesh::Parse(mesh_text));
  GraphBuilder g(ops, mesh);
  g.Output("loss", g.Op("accumulate", {model(g)}));
  WEFT_ASSIGN_OR_RETURN(const weft::Graph graph, g.Build());
  const std::string text = weft::GraphText(graph);
  WEFT_ASSIGN_OR_RETURN(const weft::Graph read, weft::ParseGraphText(text, ops));
  if (weft::GraphText(read) != text) return absl::InternalError("the text does not read back");

  float loss = 0;
  WEFT_ASSIGN_OR_RETURN(weft::Ranks ranks, weft::Ranks::Start(mesh.size()));
  WEFT_RETURN_IF_ERROR(ranks.Run([&](weft::Transport& transport) -> absl::Status {
    const auto fetch = [&](std::string_view, int64_t, int64_t, const weft::Operand& in) {
      if (transport.rank() == 0) loss = *in.as<float>();
      return absl::OkStatus();
    };
    weft::Session session(ops, kernels, transport);
    WEFT_ASSIGN_OR_RETURN(auto program, session.Load(graph, weft::CompileOptions(), Feed, fetch));
    return program->Run(0, 1);
  }));
  return loss;
}

absl::Status Run() {
  weft::OpRegistry ops;
  weft::KernelTable kernels;
  weft::DefineAllOps(ops);
  weft::FillCpuKernels(ops, kernels);
  WEFT_ASSIGN_OR_RETURN(const float by_hand, LossOf(LossByHand, ops, kernels, ""));
  std::printf("by hand           %.7f   (ln %d = %.7f)\n", by_hand, static_cast<int>(kVocab),
              std::log(static_cast<double>(kVocab)));
  for (const char* mesh : {"", "data:2", "model:2"}) {
    WEFT_ASSIGN_OR_RETURN(const float library, LossOf(LossByLibrary, ops, kernels, mesh));
    std::printf("library %-9s %.7f\n", mesh, library);
    if (!(std::abs(library - by_hand) < 1e-5f)) return absl::InternalError("the losses differ");
  }
  return absl::OkStatus();
}

}  // namespace

int main() {
  const absl::Status status = Run();
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}

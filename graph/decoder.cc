#include "graph/decoder.h"

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr int64_t kMaxExtent = int64_t{1} << 24;    // of hidden, heads, ffn, layers, ...
constexpr int64_t kMaxElements = int64_t{1} << 50;  // of one tensor

absl::Status CheckRange(const char* field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("decoder ", field, " is ", value, "; it must be from ", low, " to ", high));
}

DecoderConfig Resolved(DecoderConfig config) {
  if (config.kv_heads == 0) config.kv_heads = config.heads;
  if (config.head_dim == 0) config.head_dim = config.hidden / config.heads;
  return config;
}

absl::Status CheckRates(const DecoderConfig& c) {
  if (!(c.rope_theta > 0) || !std::isfinite(c.rope_theta)) {
    return absl::InvalidArgumentError(
        absl::StrCat("decoder rope_theta is ", c.rope_theta, "; it must be positive"));
  }
  if (!(c.norm_eps > 0) || !std::isfinite(c.norm_eps)) {
    return absl::InvalidArgumentError(
        absl::StrCat("decoder norm_eps is ", c.norm_eps, "; it must be positive"));
  }
  if (c.window < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("decoder window is ", c.window, "; it must be positive, or 0 for none"));
  }
  if (!(c.init_stddev > 0) || !std::isfinite(c.init_stddev)) {
    return absl::InvalidArgumentError(
        absl::StrCat("decoder init_stddev is ", c.init_stddev, "; it must be positive"));
  }
  if (!(c.dropout >= 0 && c.dropout < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("decoder dropout is ", c.dropout, "; it must be at least 0 and below 1"));
  }
  return absl::OkStatus();
}

// Emits the body layer by layer. Lives for one BuildDecoder.
class Body {
 public:
  Body(GraphBuilder& g, const DecoderConfig& config, DType compute)
      : g_(g), c_(config), compute_(compute) {}

  // Everything, layer by layer, each on its stage's mesh.
  Decoder Build(int64_t batch, int64_t sequence);

 private:
  // A trained f32 variable.
  Value Master(std::string name, Shape shape, double stddev) {
    return g_.Parameter(std::move(name), {std::move(shape), DType::kF32}, Normal(stddev));
  }
  // The same in the compute type.
  Value Weight(std::string name, Shape shape, double stddev) {
    return Cast(Master(std::move(name), std::move(shape), stddev));
  }
  Value Cast(Value x);
  Value Norm(Value x);
  Value Dropout(Value x);
  Value Attention(Value x, bool enters);
  Value Mlp(Value x);
  // Where the stream of hidden values enters a stage: it lies as the tokens do.
  Value Enter(Value x, bool enters);
  int MeshOfLayer(int64_t layer) const;
  double ResidualStddev() const {
    return c_.init_stddev / std::sqrt(2.0 * static_cast<double>(c_.layers));
  }

  GraphBuilder& g_;
  const DecoderConfig& c_;
  const DType compute_;
  Value dropout_seed_;
  int64_t dropouts_ = 0;  // so far; each has its own tag
};

// How [batch, sequence, ...] lies over the axes that have a say in it: rows over "data", and the
// sequence over sequence axes: so that every part has as many keys before it as any other, or with
// a window, near what it sees.
std::string LayoutOfTokens(const Mesh& mesh, const DecoderConfig& config) {
  const char* split = config.window > 0 ? ":S(1)" : ":S(1; zigzag)";
  std::vector<std::string> axes;
  for (const Mesh::Axis& axis : mesh.axes()) {
    if (axis.name == "data") axes.push_back("data:S(0)");
    if (IsSequenceAxis(axis.name)) axes.push_back(absl::StrCat(axis.name, split));
  }
  return absl::StrCat("[", absl::StrJoin(axes, ", "), "]");
}

Value Body::Enter(Value x, bool enters) {
  if (enters) g_.Annotate(x, LayoutOfTokens(g_.mesh(), c_));
  return x;
}

int Body::MeshOfLayer(int64_t layer) const {
  const int64_t stages = static_cast<int64_t>(c_.stages.size());
  return stages == 0 ? g_.mesh_index() : c_.stages[layer * stages / c_.layers];
}

Value Body::Cast(Value x) {
  if (g_.spec(x).dtype == compute_) return x;
  return g_.Op("cast", {x}, {{"dtype", std::string(Name(compute_))}});
}

Value Body::Norm(Value x) {
  const TensorSpec spec{{c_.hidden}, DType::kF32};
  Value weight = g_.Parameter("norm", spec, Constant(1.0));
  if (c_.norm == DecoderConfig::Norm::kRms) {
    return g_.Emit("rms_norm", {x, Cast(weight)}, {{"eps", c_.norm_eps}})[0];
  }
  Value bias = g_.Parameter("norm_bias", spec, Constant(0.0));
  return g_.Emit("layer_norm", {x, Cast(weight), Cast(bias)}, {{"eps", c_.norm_eps}})[0];
}

Value Body::Dropout(Value x) {
  if (!dropout_seed_) return x;
  return g_.Op("dropout", {x, dropout_seed_}, {{"rate", c_.dropout}, {"tag", dropouts_++}});
}

Value Body::Attention(Value x, bool enters) {
  GraphBuilder::Scope scope(g_, "attention");
  const Attrs rope = {{"theta", c_.rope_theta}};
  x = Enter(Norm(x), enters);
  Value q = Weight("q", {c_.hidden, c_.heads, c_.head_dim}, c_.init_stddev);
  Value k = Weight("k", {c_.hidden, c_.kv_heads, c_.head_dim}, c_.init_stddev);
  Value v = Weight("v", {c_.hidden, c_.kv_heads, c_.head_dim}, c_.init_stddev);
  Value o = Weight("o", {c_.heads, c_.head_dim, c_.hidden}, ResidualStddev());
  const Attrs project = {{"equation", "bsh,hnd->bsnd"}};
  q = g_.Op("rope", {g_.Op("einsum", {x, q}, project, "queries")}, rope, "rope_q");
  k = g_.Op("rope", {g_.Op("einsum", {x, k}, project, "keys")}, rope, "rope_k");
  v = g_.Op("einsum", {x, v}, project, "values");
  std::vector<Value> mixed =
      g_.Emit("attention", {q, k, v}, {{"causal", true}, {"window", c_.window}});
  if (c_.attention_sinks) {
    Value sink = g_.Parameter("sink", {{c_.heads}, DType::kF32}, Constant(0.0));
    mixed = g_.Emit("attention_sink", {mixed[0], mixed[1], sink});
  }
  return Dropout(g_.Op("einsum", {mixed[0], o}, {{"equation", "bsnd,ndh->bsh"}}, "output"));
}

Value Body::Mlp(Value x) {
  GraphBuilder::Scope scope(g_, "mlp");
  x = Norm(x);
  const Attrs project = {{"equation", "bsh,hf->bsf"}};
  const Shape shape = {c_.hidden, c_.ffn};
  Value active;
  if (c_.activation == DecoderConfig::Activation::kSiluGate) {
    Value gate = Weight("gate", shape, c_.init_stddev);
    Value up = Weight("up", shape, c_.init_stddev);
    active = g_.Op("silu_gate", {g_.Op("einsum", {x, gate}, project, "gates"),
                                 g_.Op("einsum", {x, up}, project, "ups")});
  } else {
    Value up = Weight("up", shape, c_.init_stddev);
    active = g_.Op("gelu", {g_.Op("einsum", {x, up}, project, "ups")});
  }
  Value down = Weight("down", {c_.ffn, c_.hidden}, ResidualStddev());
  return Dropout(g_.Op("einsum", {active, down}, {{"equation", "bsf,fh->bsh"}}, "output"));
}

Decoder Body::Build(int64_t batch, int64_t sequence) {
  std::optional<GraphBuilder::OnMesh> stage;
  stage.emplace(g_, MeshOfLayer(0));
  Value tokens = g_.Input("tokens", {{batch, sequence}, DType::kI32});
  g_.Annotate(tokens, LayoutOfTokens(g_.mesh(), c_));
  if (c_.dropout > 0) {  // every stage takes it from the ranks' common mesh
    const GraphBuilder::OnMesh there(g_, c_.stages.empty() ? g_.mesh_index() : 0);
    dropout_seed_ = g_.Input("dropout_seed", {{}, DType::kI64});
  }
  Decoder decoder;
  Value embedding = Master("embedding", {c_.vocab, c_.hidden}, c_.init_stddev);
  Value x = Dropout(g_.Op("embedding", {tokens, Cast(embedding)}, {}, "embed"));
  for (int64_t layer = 0; layer < c_.layers && g_.status().ok(); ++layer) {
    GraphBuilder::Scope layers(g_, absl::StrCat("layers.", layer));
    const int before = g_.mesh_index(), mesh = MeshOfLayer(layer);
    stage.reset();
    stage.emplace(g_, mesh);
    const bool enters = mesh != before;
    x = Enter(g_.Op("add", {x, Attention(x, enters)}, {}, "attended"), enters);
    x = g_.Op("add", {x, Mlp(x)}, {}, "result");
  }
  decoder.hidden = Norm(x);
  decoder.head = c_.tied_head ? embedding : Master("head", {c_.vocab, c_.hidden}, c_.init_stddev);
  return decoder;
}

absl::Status CheckActivations(const DecoderConfig& config, int64_t batch, int64_t sequence,
                              DType compute) {
  WEFT_RETURN_IF_ERROR(ValidateDecoder(config));
  if (static_cast<int64_t>(config.stages.size()) > config.layers) {
    return absl::InvalidArgumentError(absl::StrCat("decoder layers ", config.layers,
                                                   " cannot fill ", config.stages.size(),
                                                   " stages; use fewer stages"));
  }
  WEFT_RETURN_IF_ERROR(CheckRange("batch", batch, 1, kMaxExtent));
  WEFT_RETURN_IF_ERROR(CheckRange("sequence", sequence, 1, kMaxExtent));
  const int64_t widest = std::max({config.hidden, config.ffn, config.vocab,
                                   Resolved(config).heads * Resolved(config).head_dim});
  if (batch * sequence > kMaxElements / widest) {
    return absl::InvalidArgumentError(absl::StrCat("decoder activations of batch ", batch,
                                                   " x sequence ", sequence, " x ", widest,
                                                   " are more than ", kMaxElements, " elements"));
  }
  if (!IsFloat(compute)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a decoder cannot compute in ", std::string(Name(compute))));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateDecoder(const DecoderConfig& config) {
  WEFT_RETURN_IF_ERROR(CheckRange("layers", config.layers, 1, kMaxExtent));
  WEFT_RETURN_IF_ERROR(CheckRange("hidden", config.hidden, 1, kMaxExtent));
  WEFT_RETURN_IF_ERROR(CheckRange("heads", config.heads, 1, kMaxExtent));
  WEFT_RETURN_IF_ERROR(CheckRange("kv_heads", config.kv_heads, 0, kMaxExtent));
  WEFT_RETURN_IF_ERROR(CheckRange("head_dim", config.head_dim, 0, kMaxExtent));
  WEFT_RETURN_IF_ERROR(CheckRange("ffn", config.ffn, 1, kMaxExtent));
  WEFT_RETURN_IF_ERROR(CheckRange("vocab", config.vocab, 1, std::numeric_limits<int32_t>::max()));
  if (config.head_dim == 0 && config.hidden % config.heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("decoder hidden ", config.hidden,
                                                   " is not a multiple of heads ", config.heads,
                                                   "; change one of them or set head_dim"));
  }
  const DecoderConfig c = Resolved(config);
  if (c.heads % c.kv_heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("decoder kv_heads ", c.kv_heads, " does not divide heads ", c.heads));
  }
  if (c.head_dim % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "decoder head_dim ", c.head_dim, " is odd; rotary positions turn pairs of dimensions"));
  }
  const double largest = static_cast<double>(c.hidden) *
                         static_cast<double>(std::max({c.heads * c.head_dim, c.ffn, c.vocab}));
  if (largest > static_cast<double>(kMaxElements) / static_cast<double>(c.layers)) {
    return absl::InvalidArgumentError(
        absl::StrCat("decoder parameters of ", c.layers, " layers with ", largest,
                     " elements in the largest matrix are more than ", kMaxElements));
  }
  return CheckRates(c);
}

int64_t NumParameters(const DecoderConfig& config) {
  const DecoderConfig c = Resolved(config);
  const int64_t norm = c.norm == DecoderConfig::Norm::kRms ? c.hidden : 2 * c.hidden;
  const int64_t attention = c.hidden * c.head_dim * 2 * (c.heads + c.kv_heads);
  const int64_t matrices = c.activation == DecoderConfig::Activation::kSiluGate ? 3 : 2;
  const int64_t sinks = c.attention_sinks ? c.heads : 0;
  const int64_t layer = attention + sinks + matrices * c.hidden * c.ffn + 2 * norm;
  return c.layers * layer + norm + c.vocab * c.hidden * (c.tied_head ? 1 : 2);
}

Decoder BuildDecoder(GraphBuilder& g, const DecoderConfig& config, int64_t batch, int64_t sequence,
                     DType compute) {
  absl::Status valid = CheckActivations(config, batch, sequence, compute);
  if (!valid.ok()) {
    g.Fail(std::move(valid));
    return Decoder();
  }
  const DecoderConfig resolved = Resolved(config);
  return Body(g, resolved, compute).Build(batch, sequence);
}

Value BuildDecoderLoss(GraphBuilder& g, const DecoderConfig& config, int64_t batch,
                       int64_t sequence, DType compute) {
  const Decoder decoder = BuildDecoder(g, config, batch, sequence, compute);
  if (!g.status().ok()) return Value();
  const GraphBuilder::OnMesh last(g, g.graph().info(decoder.hidden).mesh);
  Value targets = g.Input("targets", {{batch, sequence}, DType::kI32});
  g.Annotate(targets, LayoutOfTokens(g.mesh(), config));
  Value scale = g.Input("loss_scale", {{}, DType::kF32}, Rate::kStep);
  Value head = decoder.head;
  if (compute != DType::kF32) {
    head = g.Op("cast", {head}, {{"dtype", std::string(Name(compute))}}, "cast_head");
  }
  const std::vector<Value> parts =
      g.Emit("head_cross_entropy", {decoder.hidden, head, targets}, {}, "cross_entropy");
  if (!g.status().ok()) return Value();
  return g.Op("token_loss", {parts[0], parts[1], targets, scale}, {}, "token_loss");
}

Value BuildDecoderLogits(GraphBuilder& g, const DecoderConfig& config, int64_t batch,
                         int64_t sequence, DType compute) {
  const Decoder decoder = BuildDecoder(g, config, batch, sequence, compute);
  if (!g.status().ok()) return Value();
  const GraphBuilder::OnMesh last(g, g.graph().info(decoder.hidden).mesh);
  Value hidden = decoder.hidden;
  if (compute != DType::kF32) hidden = g.Op("cast", {hidden}, {{"dtype", "f32"}}, "hidden");
  Value logits = g.Op("einsum", {hidden, decoder.head}, {{"equation", "bsh,vh->bsv"}}, "logits");
  // Outputs are whole on every rank; of another mesh than the first they are copied there.
  if (g.mesh_index() == 0) g.Annotate(logits, "[]");
  return logits;
}

}  // namespace weft

#include "graph/optimizer.h"

#include <cmath>
#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "graph/autodiff.h"
#include "runtime/status.h"

namespace weft {
namespace {

// The per-step scalars that every update takes; no `skip` without loss scaling.
struct StepScalars {
  Value learning_rate, step, clip, skip;
  // `operands`, and `skip` behind them.
  std::vector<Value> With(std::vector<Value> operands) const {
    if (skip) operands.push_back(skip);
    return operands;
  }
};

// The variables of loss scaling.
struct ScaleState {
  Value scale, good_steps, updates;
};

struct Parameter {
  std::string name;
  Value value, gradient;
};

absl::Status CheckRate(const char* field, double value, bool below_one) {
  if (std::isfinite(value) && value >= 0 && (!below_one || value < 1)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "optimizer ", field, " is ", value, "; it must be ", below_one ? "in [0, 1)" : "0 or more"));
}

absl::Status CheckLossScaling(const LossScaling& scaling) {
  int exponent = 0;
  const bool power = std::frexp(scaling.initial, &exponent) == 0.5;
  if (!power || scaling.initial < 1 || scaling.initial > kMostLossScale) {
    return absl::InvalidArgumentError(absl::StrCat("optimizer loss scale is ", scaling.initial,
                                                   "; it must be a power of two from 1 to ",
                                                   kMostLossScale));
  }
  if (scaling.growth_every < 1 || scaling.growth_every > kMostGrowthSteps) {
    return absl::InvalidArgumentError(
        absl::StrCat("optimizer loss scale grows every ", scaling.growth_every,
                     " steps; it must be from 1 to ", kMostGrowthSteps));
  }
  return absl::OkStatus();
}

// A zero-initialised variable like the parameter, lying as it does.
Value StateLike(GraphBuilder& g, const Parameter& parameter, const char* suffix) {
  Value state =
      g.State(absl::StrCat(parameter.name, ".", suffix), g.spec(parameter.value), Constant(0.0));
  const std::optional<Layout> annotation = g.graph().info(parameter.value).annotation;
  if (annotation) g.Annotate(state, ToString(*annotation, g.graph().mesh(parameter.value)));
  return state;
}

double WeightDecay(GraphBuilder& g, const Parameter& parameter, const OptimizerConfig& config) {
  return g.spec(parameter.value).rank() >= 2 ? config.weight_decay : 0.0;
}

void AddSgd(GraphBuilder& g, const Parameter& p, const StepScalars& s, const OptimizerConfig& c) {
  Value momentum = StateLike(g, p, "momentum");
  const std::vector<Value> next = g.Emit(
      "sgd", s.With({p.value, momentum, p.gradient, s.learning_rate, s.clip}),
      {{"momentum", c.momentum}, {"weight_decay", WeightDecay(g, p, c)}, {"nesterov", c.nesterov}},
      absl::StrCat("optimizer.", p.name));
  if (!g.status().ok()) return;
  g.Update(p.value, next[0]);
  g.Update(momentum, next[1]);
}

// Returns the sum of the squares of the gradient.
Value AddAdamW(GraphBuilder& g, const Parameter& p, const StepScalars& s,
               const OptimizerConfig& c) {
  Value m = StateLike(g, p, "m");
  Value v = StateLike(g, p, "v");
  const std::vector<Value> next =
      g.Emit("adamw", s.With({p.value, m, v, p.gradient, s.learning_rate, s.step, s.clip}),
             {{"beta1", c.beta1},
              {"beta2", c.beta2},
              {"eps", c.eps},
              {"weight_decay", WeightDecay(g, p, c)}},
             absl::StrCat("optimizer.", p.name));
  if (!g.status().ok()) return Value();
  g.Update(p.value, next[0]);
  g.Update(m, next[1]);
  g.Update(v, next[2]);
  return next[3];
}

void AddLamb(GraphBuilder& g, const Parameter& p, const StepScalars& s, const OptimizerConfig& c) {
  Value m = StateLike(g, p, "m");
  Value v = StateLike(g, p, "v");
  GraphBuilder::Scope scope(g, absl::StrCat("optimizer.", p.name));
  const std::vector<Value> next =
      g.Emit("lamb_update", s.With({p.value, m, v, p.gradient, s.step, s.clip}),
             {{"beta1", c.beta1},
              {"beta2", c.beta2},
              {"eps", c.eps},
              {"weight_decay", WeightDecay(g, p, c)},
              {"bias_correction", c.bias_correction}},
             "update");
  if (!g.status().ok()) return;
  Value param_sq = g.Op("sum_squares", {p.value}, {}, "param_sq");
  Value update_sq = g.Op("sum_squares", {next[2]}, {}, "update_sq");
  g.Update(p.value,
           g.Op("lamb_apply", s.With({p.value, next[2], param_sq, update_sq, s.learning_rate}), {},
                "apply"));
  g.Update(m, next[0]);
  g.Update(v, next[1]);
}

absl::StatusOr<std::vector<Parameter>> GradientsOf(GraphBuilder& g, Value loss, Value scale) {
  std::vector<Parameter> parameters;
  std::vector<Value> targets;
  for (const Variable& variable : g.graph().variables) {
    if (!variable.trainable) continue;
    parameters.push_back({variable.name, variable.value, Value()});
    targets.push_back(variable.value);
  }
  if (targets.empty()) {
    return absl::InvalidArgumentError(
        "the graph has no trainable variable to optimize; mark parameters trainable");
  }
  WEFT_ASSIGN_OR_RETURN(const std::vector<Value> gradients, Differentiate(g, loss, targets, scale));
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!gradients[i]) {
      return absl::InvalidArgumentError(absl::StrCat("the loss does not depend on parameter '",
                                                     parameters[i].name,
                                                     "'; remove it, or make it a state"));
    }
    parameters[i].gradient = gradients[i];
  }
  return parameters;
}

using ByMesh = std::map<int, std::vector<Value>>;

ByMesh SquaresOf(GraphBuilder& g, const std::vector<Parameter>& parameters) {
  GraphBuilder::Scope scope(g, "clip");
  ByMesh squares;
  for (const Parameter& p : parameters) {
    const int mesh = g.graph().info(p.value).mesh;
    const GraphBuilder::OnMesh there(g, mesh);
    squares[mesh].push_back(g.Op("sum_squares", {p.gradient}, {}, p.name));
  }
  return squares;
}

// Of all gradients. Meshes sum their own first.
Value SumSquares(GraphBuilder& g, const ByMesh& squares) {
  GraphBuilder::Scope scope(g, "clip");
  std::vector<Value> sums;
  for (const auto& [mesh, values] : squares) {
    const GraphBuilder::OnMesh there(g, mesh);
    sums.push_back(g.Op("add_n", values));
  }
  return sums.size() == 1 ? sums[0] : g.Op("add_n", sums);
}

// The factor by which all gradients are multiplied, and their norm before.
std::vector<Value> AddClip(GraphBuilder& g, const ByMesh& squares, double max_norm) {
  const Value sum = SumSquares(g, squares);
  GraphBuilder::Scope scope(g, "clip");
  return g.Emit("clip_scale", {sum}, {{"max_norm", max_norm}}, "scale");
}

// The same where the gradients are those of a scaled loss; the scale of the next step, and whether
// this one is skipped: by the sum of all squares, which every rank has, so that all do the same.
std::vector<Value> AddScaledClip(GraphBuilder& g, const ByMesh& squares, const ScaleState& state,
                                 const OptimizerConfig& config, StepScalars& scalars) {
  const Value sum = SumSquares(g, squares);
  if (!g.status().ok()) return {};
  const std::vector<Value> next =
      g.Emit("loss_scale_update", {state.scale, state.good_steps, state.updates, sum},
             {{"growth_every", config.loss_scaling->growth_every},
              {"most", kMostLossScale},
              {"fixed", config.loss_scaling->fixed}},
             "loss_scale.update");
  if (!g.status().ok()) return {};
  g.Update(state.scale, next[0]);
  g.Update(state.good_steps, next[1]);
  g.Update(state.updates, next[2]);
  g.Output("loss_scale", state.scale);
  g.Output("skipped", next[3]);
  scalars.step = next[2];
  scalars.skip = next[3];
  GraphBuilder::Scope scope(g, "clip");
  return g.Emit("clip_scale", {sum, state.scale}, {{"max_norm", config.clip_norm}}, "scale");
}

// Updates every parameter by gradients that are scaled so that their common norm is at most
// clip_norm, and returns the norm; by none if a loss scale has made one of them not finite.
Value AddClippedUpdates(GraphBuilder& g, const std::vector<Parameter>& parameters,
                        StepScalars scalars, const ScaleState& state,
                        const OptimizerConfig& config) {
  const ByMesh squares = SquaresOf(g, parameters);
  const std::vector<Value> clip = config.loss_scaling
                                      ? AddScaledClip(g, squares, state, config, scalars)
                                      : AddClip(g, squares, config.clip_norm);
  if (!g.status().ok()) return Value();
  scalars.clip = clip[0];
  for (const Parameter& p : parameters) {
    const GraphBuilder::OnMesh there(g, g.graph().info(p.value).mesh);
    switch (config.kind) {
      case OptimizerConfig::Kind::kSgd: AddSgd(g, p, scalars, config); break;
      case OptimizerConfig::Kind::kAdamW: AddAdamW(g, p, scalars, config); break;
      case OptimizerConfig::Kind::kLamb: AddLamb(g, p, scalars, config); break;
    }
  }
  return clip[1];
}

// As AddClippedUpdates for adamw that clips nothing: no update waits for the norm then, and each
// sums the squares of the gradient that it reads.
Value AddUnclippedAdamW(GraphBuilder& g, const std::vector<Parameter>& parameters,
                        StepScalars scalars, const OptimizerConfig& config) {
  ByMesh squares;
  std::map<int, Value> ones;  // by mesh
  for (const Parameter& p : parameters) {
    const int mesh = g.graph().info(p.value).mesh;
    const GraphBuilder::OnMesh there(g, mesh);
    Value& one = ones[mesh];
    if (!one) {
      GraphBuilder::Scope scope(g, "clip");
      one = g.Op("fill", {}, {{"shape", std::vector<int64_t>{}}, {"value", 1.0}}, "off");
    }
    scalars.clip = one;
    squares[mesh].push_back(AddAdamW(g, p, scalars, config));
  }
  if (!g.status().ok()) return Value();
  const std::vector<Value> norm = AddClip(g, squares, 0);
  return g.status().ok() ? norm[1] : Value();
}

ScaleState AddScaleState(GraphBuilder& g, const LossScaling& scaling) {
  const TensorSpec scalar{{}, DType::kF32};
  return {g.State("loss_scale.value", scalar, Constant(scaling.initial)),
          g.State("loss_scale.good_steps", scalar, Constant(0)),
          g.State("loss_scale.updates", scalar, Constant(0))};
}

absl::Status TryAdd(GraphBuilder& g, Value loss, const OptimizerConfig& config) {
  WEFT_RETURN_IF_ERROR(g.status());
  WEFT_RETURN_IF_ERROR(ValidateOptimizer(config));
  ScaleState state;
  if (config.loss_scaling) state = AddScaleState(g, *config.loss_scaling);
  WEFT_RETURN_IF_ERROR(g.status());
  WEFT_ASSIGN_OR_RETURN(const std::vector<Parameter> parameters, GradientsOf(g, loss, state.scale));
  StepScalars scalars;
  scalars.learning_rate = g.Input("learning_rate", {{}, DType::kF32}, Rate::kStep);
  if (config.kind != OptimizerConfig::Kind::kSgd && !config.loss_scaling) {
    scalars.step = g.Input("step", {{}, DType::kF32}, Rate::kStep);
  }
  // With loss scaling updates wait for the norm: it says whether there are any.
  const bool unclipped =
      config.kind == OptimizerConfig::Kind::kAdamW && config.clip_norm == 0 && !config.loss_scaling;
  const Value norm = unclipped ? AddUnclippedAdamW(g, parameters, scalars, config)
                               : AddClippedUpdates(g, parameters, scalars, state, config);
  WEFT_RETURN_IF_ERROR(g.status());
  const bool per_step = g.graph().info(loss).rate == Rate::kStep;
  const GraphBuilder::OnMesh there(g, g.graph().info(loss).mesh);
  g.Output("loss", per_step ? loss : g.Op("accumulate", {loss}, {}, "loss"));
  g.Output("grad_norm", norm);
  return g.status();
}

}  // namespace

absl::Status ValidateOptimizer(const OptimizerConfig& config) {
  if (config.loss_scaling) WEFT_RETURN_IF_ERROR(CheckLossScaling(*config.loss_scaling));
  WEFT_RETURN_IF_ERROR(CheckRate("momentum", config.momentum, true));
  WEFT_RETURN_IF_ERROR(CheckRate("beta1", config.beta1, true));
  WEFT_RETURN_IF_ERROR(CheckRate("beta2", config.beta2, true));
  WEFT_RETURN_IF_ERROR(CheckRate("eps", config.eps, false));
  WEFT_RETURN_IF_ERROR(CheckRate("weight_decay", config.weight_decay, false));
  return CheckRate("clip_norm", config.clip_norm, false);
}

absl::Status AddOptimizer(GraphBuilder& g, Value loss, const OptimizerConfig& config) {
  absl::Status status = TryAdd(g, loss, config);
  if (!status.ok()) g.Fail(status);
  return status;
}

}  // namespace weft

// Optimizers as part of the graph: gradients, clipping and updates are ops, and states are
// variables that lie as their parameters do, so that sharding them is a matter of layout alone.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "graph/graph_builder.h"

namespace weft {

// Gradients of a loss that is multiplied by a scale, for computation in f16: what is small stays
// above its least value. They are divided by the scale before they are clipped and used. A step in
// which one of them is not finite changes neither parameters nor states, and halves the scale,
// down to 1.
struct LossScaling {
  double initial = 65536;       // a power of two, so that it rounds nothing; 1 to kMostLossScale
  int64_t growth_every = 2000;  // steps without a skip until the scale doubles
  bool fixed = false;           // the scale stays; what overflows is skipped all the same
};
inline constexpr double kMostLossScale = 0x1p40;
// Scale and steps are counted in f32.
inline constexpr int64_t kMostGrowthSteps = 10'000'000;

struct OptimizerConfig {
  // kSgd: momentum; kAdamW: decoupled decay (arXiv 1711.05101); kLamb: arXiv 1904.00962,
  // algorithm 2.
  enum class Kind : uint8_t { kSgd, kAdamW, kLamb };
  Kind kind = Kind::kAdamW;
  double momentum = 0.9;        // kSgd
  bool nesterov = false;        // kSgd
  double beta1 = 0.9;           // kAdamW, kLamb
  double beta2 = 0.999;         // kAdamW, kLamb
  double eps = 1e-8;            // kAdamW, kLamb
  bool bias_correction = true;  // kLamb
  double weight_decay = 0.0;    // of parameters of rank 2 and more; norms and biases are exempt
  double clip_norm = 0.0;       // of all gradients as one vector; 0: no clipping
  std::optional<LossScaling> loss_scaling = {};
};

// Checks rates; the message names the field, its value and what is allowed.
absl::Status ValidateOptimizer(const OptimizerConfig& config);

// Adds one training step for every trainable variable of the builder's graph: gradients of `loss`,
// summed over the step's microbatches, clipped together, and the update. Adds inputs
// "learning_rate" f32 [] and (kAdamW, kLamb) "step" f32 [], the step's number from 1, both per
// step; zero-initialised states "<parameter>.momentum" or "<parameter>.m" and "<parameter>.v",
// annotated as the parameter is; outputs "loss" (summed over microbatches) and "grad_norm" (before
// clipping). With loss_scaling it has states "loss_scale.value", "loss_scale.good_steps" (since the
// scale was changed) and "loss_scale.updates" (steps that were not skipped), f32 []; the latter
// stands for the input "step"; and outputs "loss_scale", by which this step's gradients were
// multiplied, and "skipped", 0 or 1. "loss" and "grad_norm" are without the scale, the norm of a
// skipped step is not finite. Errors: a bad config; no trainable variable; one that the loss does
// not depend on; those of Differentiate. They stick in the builder too.
absl::Status AddOptimizer(GraphBuilder& g, Value loss, const OptimizerConfig& config);

}  // namespace weft

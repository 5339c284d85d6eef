// The one list of a job's required fields and of the ranges of its numbers;
// launcher/job_validate.cc checks them and what no table can say.
#pragma once

#include <limits>

#include "graph/optimizer.h"

namespace weft {

// A field without which a job means nothing; looked at only where its parent is present.
struct Required {
  const char* path;
  const char* remedy;
};

inline constexpr Required kRequired[] = {
    {"model", "add model { decoder { layers: 4 hidden: 128 heads: 4 ffn: 384 vocab: 256 } }"},
    {"model.decoder.layers", "say how many layers, such as layers: 4"},
    {"model.decoder.hidden", "say how wide the model is, such as hidden: 128"},
    {"model.decoder.heads", "say how many attention heads, such as heads: 4"},
    {"model.decoder.ffn", "say how wide the MLP is, such as ffn: 384"},
    {"model.decoder.vocab", "say how many token ids there are, such as vocab: 256"},
    {"data", "add data { text: \"FILE\" tokenizer: BYTES sequence: 128 }"},
    {"train", "add train { steps: 50 global_batch: 16 }"},
    {"train.steps", "say how many steps to train, such as steps: 50"},
    {"train.global_batch", "say how many rows a step has, such as global_batch: 16"},
    {"optimizer", "add optimizer { adamw { lr: 1e-3 } }"},
    {"optimizer.adamw.lr", "give the learning rate, such as lr: 1e-3"},
    {"optimizer.lamb.lr", "give the learning rate, such as lr: 1e-2"},
    {"optimizer.sgd.lr", "give the learning rate, such as lr: 0.1"},
};

// The closed range of a number that was given.
struct Limit {
  const char* path;
  double least;
  double most;
};

// What optimizers compute with are floats: a smaller eps is 0 there, a larger decay rate 1.
inline constexpr double kLeastEps = 1e-37;
inline constexpr double kMostRate = 1.0 - 1e-6;
static_assert(static_cast<float>(kLeastEps) >= std::numeric_limits<float>::min());
static_assert(static_cast<float>(kMostRate) < 1.0f);
// A plan has actors for every microbatch.
inline constexpr double kMostMicrobatches = 4096;

inline constexpr Limit kLimits[] = {
    {"model.decoder.layers", 1, 10000},
    {"model.decoder.hidden", 1, 1 << 20},
    {"model.decoder.heads", 1, 1 << 16},
    {"model.decoder.kv_heads", 1, 1 << 16},
    {"model.decoder.ffn", 1, 1 << 24},
    {"model.decoder.vocab", 2, 1 << 26},
    {"model.decoder.head_dim", 1, 1 << 16},
    {"model.decoder.rope_theta", 1, 1e12},
    {"model.decoder.window", 0, 1 << 30},
    {"data.sequence", 1, 1 << 26},
    {"data.held_out", 0, 0.9},
    {"data.shift", 0, 1},
    {"train.steps", 1, 1e12},
    {"train.global_batch", 1, 1 << 26},
    {"train.microbatches", 1, kMostMicrobatches},
    {"train.memory_bytes", 0, 1e18},
    {"train.loss_scale.initial", 1, kMostLossScale},
    {"train.loss_scale.growth_every", 1, kMostGrowthSteps},
    {"plan.conversion_bytes", 0, 1e18},
    {"optimizer.adamw.lr", 0, 1000},
    {"optimizer.adamw.beta1", 0, kMostRate},
    {"optimizer.adamw.beta2", 0, kMostRate},
    {"optimizer.adamw.eps", kLeastEps, 1},
    {"optimizer.adamw.weight_decay", 0, 1000},
    {"optimizer.lamb.lr", 0, 1000},
    {"optimizer.lamb.beta1", 0, kMostRate},
    {"optimizer.lamb.beta2", 0, kMostRate},
    {"optimizer.lamb.eps", kLeastEps, 1},
    {"optimizer.lamb.weight_decay", 0, 1000},
    {"optimizer.sgd.lr", 0, 1000},
    {"optimizer.sgd.momentum", 0, kMostRate},
    {"optimizer.sgd.weight_decay", 0, 1000},
    {"optimizer.clip_norm", 0, 1e30},
    {"optimizer.schedule.warmup_steps", 0, 1e12},
    {"optimizer.schedule.final_lr_ratio", 0, 1},
    {"evaluate.every", 0, 1e12},
    {"evaluate.batches", 0, 1e12},
    {"checkpoint.every", 0, 1e12},
    {"checkpoint.keep", 0, 1e6},
};

}  // namespace weft

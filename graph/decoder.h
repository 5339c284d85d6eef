// The decoder-only transformer, written once over GraphBuilder and shared by the examples and the
// launcher: embedding, L x (norm, grouped-query causal attention, norm, MLP), norm, head.
//
// Parameters are f32 masters, cast to the compute type before use. Their names and shapes:
//   embedding [v,h]   norm [h]   head [v,h] (absent if tied)
//   layers.N.attention.norm [h]   .q [h,n,d]   .k .v [h,kv,d]   .o [n,d,h]   (.sink [n])
//   layers.N.mlp.norm [h]   .gate .up [h,f]   .down [f,h]   (no gate with GELU)
// and, with LAYER norms, a norm_bias [h] beside every norm.
//
// One fact is stated for layout inference: over the mesh axis "data", tokens and targets lie by
// rows, over sequence axes ("seq") by zigzag parts of the sequence (contiguous ones with a window),
// and so do the hidden values where they enter a pipeline stage. The rest is inferred from
// what axes are called (parallel/axis_roles.h): over "model" it comes to the split of Megatron-LM
// (arXiv 1909.08053, section 3), heads and ffn.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "graph/graph_builder.h"

namespace weft {

struct DecoderConfig {
  enum class Norm : uint8_t { kRms, kLayer };
  enum class Activation : uint8_t { kSiluGate, kGelu };

  int64_t layers = 0;
  int64_t hidden = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;  // 0: as many as heads
  int64_t head_dim = 0;  // 0: hidden / heads
  int64_t ffn = 0;
  int64_t vocab = 0;
  Norm norm = Norm::kRms;
  Activation activation = Activation::kSiluGate;
  double norm_eps = 1e-5;
  double rope_theta = 10000.0;
  bool tied_head = false;
  int64_t window = 0;            // positions that a token attends to, its own the last; 0: all
  bool attention_sinks = false;  // a learned logit for each head beside the scores
  // Of all matrices; those that write to the residual stream get init_stddev / sqrt(2 * layers).
  double init_stddev = 0.02;
  // Meshes (indices of the builder's) on which consecutive layers lie, in shares as equal as can
  // be: layer l on stages[l * size / layers], the embedding on the first, norm and head on the
  // last. Empty: everything lies on the builder's mesh.
  std::vector<int> stages = {};
  double dropout = 0.0;  // of the embedding and of each branch before its residual sum
};

// Checks sizes and rates; the message names the field, its value and what is allowed.
absl::Status ValidateDecoder(const DecoderConfig& config);
// Number of trained elements of a valid config.
int64_t NumParameters(const DecoderConfig& config);

// What the body of a decoder offers to a head.
struct Decoder {
  Value hidden;  // [b,s,h] in the compute type, after the last norm
  Value head;    // [v,h] f32 master; the embedding if tied
};

// Adds inputs "tokens" i32 [batch, sequence] (one microbatch; 0 <= token < vocab) and, with
// dropout, "dropout_seed" i64 [] per microbatch, the parameters and the body. Errors stick in the
// builder.
Decoder BuildDecoder(GraphBuilder& g, const DecoderConfig& config, int64_t batch, int64_t sequence,
                     DType compute);
// BuildDecoder and the loss of one microbatch, an f32 scalar: loss_scale * sum of token losses.
// Adds inputs "targets" i32 [batch, sequence] (negative: not counted) and "loss_scale" f32 [] per
// step (1 / valid tokens of the global batch), so that the sum over microbatches is the batch's
// mean.
Value BuildDecoderLoss(GraphBuilder& g, const DecoderConfig& config, int64_t batch,
                       int64_t sequence, DType compute);
// BuildDecoder and the logits f32 [batch, sequence, vocab], whole on every rank: those at position
// i foretell token i + 1.
Value BuildDecoderLogits(GraphBuilder& g, const DecoderConfig& config, int64_t batch,
                         int64_t sequence, DType compute);

}  // namespace weft

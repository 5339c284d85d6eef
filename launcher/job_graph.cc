#include "launcher/job_graph.h"

#include <algorithm>
#include <cmath>

#include "graph/graph_builder.h"
#include "graph/optimizer.h"
#include "launcher/graph_file.h"
#include "runtime/status.h"

namespace weft {

DType ComputeType(const Job& job) {
  switch (job.train().dtype()) {
    case Job::Train::F32: return DType::kF32;
    case Job::Train::BF16: return DType::kBF16;
    case Job::Train::F16: return DType::kF16;
    case Job::Train::TF32: return DType::kF32;
  }
  return DType::kF32;
}

namespace {

OptimizerConfig OptimizerOf(const Job& job) {
  OptimizerConfig config;
  if (job.train().dtype() == Job::Train::F16) {
    const Job::LossScale& scale = job.train().loss_scale();
    config.loss_scaling = {scale.initial(), scale.growth_every(), scale.fixed()};
  }
  config.clip_norm = job.optimizer().clip_norm();
  switch (job.optimizer().kind_case()) {
    case Job::Optimizer::kAdamw: {
      const Job::Adamw& adamw = job.optimizer().adamw();
      config.kind = OptimizerConfig::Kind::kAdamW;
      config.beta1 = adamw.beta1();
      config.beta2 = adamw.beta2();
      config.eps = adamw.eps();
      config.weight_decay = adamw.weight_decay();
      break;
    }
    case Job::Optimizer::kLamb: {
      const Job::Lamb& lamb = job.optimizer().lamb();
      config.kind = OptimizerConfig::Kind::kLamb;
      config.beta1 = lamb.beta1();
      config.beta2 = lamb.beta2();
      config.eps = lamb.eps();
      config.weight_decay = lamb.weight_decay();
      break;
    }
    case Job::Optimizer::kSgd: {
      const Job::Sgd& sgd = job.optimizer().sgd();
      config.kind = OptimizerConfig::Kind::kSgd;
      config.momentum = sgd.momentum();
      config.weight_decay = sgd.weight_decay();
      break;
    }
    case Job::Optimizer::KIND_NOT_SET: break;
  }
  return config;
}

double PeakRate(const Job& job) {
  switch (job.optimizer().kind_case()) {
    case Job::Optimizer::kAdamw: return job.optimizer().adamw().lr();
    case Job::Optimizer::kLamb: return job.optimizer().lamb().lr();
    case Job::Optimizer::kSgd: return job.optimizer().sgd().lr();
    case Job::Optimizer::KIND_NOT_SET: break;
  }
  return 0;
}

// A builder on the job's mesh. Each coordinate of a stage axis is a further mesh, listed in
// `stages`.
absl::StatusOr<GraphBuilder> StartGraph(const Job& job, const OpRegistry& ops,
                                        std::vector<int>* stages) {
  WEFT_ASSIGN_OR_RETURN(const Mesh mesh, MeshOf(job));
  GraphBuilder g(ops, mesh, static_cast<int64_t>(job.train().seed()));
  const int axis = mesh.FindAxis(kStageAxis);
  if (axis < 0) return g;
  for (Mesh& stage : mesh.Cut(axis)) stages->push_back(g.AddMesh(std::move(stage)));
  return g;
}

// The forward part of a job's model: the builder to go on with, and the loss of one microbatch.
struct Model {
  GraphBuilder builder;
  Value loss;
  std::vector<GraphOutput> metrics;
};

absl::StatusOr<Model> BuildModel(const Job& job, const OpRegistry& ops) {
  const int64_t seed = static_cast<int64_t>(job.train().seed());
  if (!job.model().has_graph_file()) {
    DecoderConfig decoder = DecoderOf(job);
    WEFT_ASSIGN_OR_RETURN(GraphBuilder builder, StartGraph(job, ops, &decoder.stages));
    Model model{std::move(builder), Value(), {}};
    model.loss = BuildDecoderLoss(model.builder, decoder, MicrobatchRows(job),
                                  job.data(0).sequence(), ComputeType(job));
    return model;
  }
  WEFT_ASSIGN_OR_RETURN(Graph graph, ReadGraphFile(job, ops));
  std::vector<GraphOutput> outputs = std::move(graph.outputs);
  graph.outputs.clear();
  Model model{GraphBuilder(std::move(graph), ops, seed), Value(), {}};
  for (GraphOutput& output : outputs) {
    if (output.name == "loss") {
      model.loss = output.value;
    } else {
      model.metrics.push_back(std::move(output));
    }
  }
  return model;
}

// The sum over the step's microbatches.
Value OfStep(GraphBuilder& g, Value value, const std::string& name) {
  if (!g.status().ok() || g.graph().info(value).rate == Rate::kStep) return value;
  const GraphBuilder::OnMesh there(g, g.graph().info(value).mesh);
  return g.Op("accumulate", {value}, {}, name);
}

}  // namespace

DecoderConfig DecoderOf(const Job& job) {
  const Job::Decoder& d = job.model().decoder();
  DecoderConfig config;
  config.layers = d.layers();
  config.hidden = d.hidden();
  config.heads = d.heads();
  config.kv_heads = d.kv_heads();
  config.head_dim = d.head_dim();
  config.ffn = d.ffn();
  config.vocab = d.vocab();
  config.norm =
      d.norm() == Job::Decoder::LAYER ? DecoderConfig::Norm::kLayer : DecoderConfig::Norm::kRms;
  config.activation = d.activation() == Job::Decoder::GELU ? DecoderConfig::Activation::kGelu
                                                           : DecoderConfig::Activation::kSiluGate;
  config.rope_theta = d.rope_theta();
  config.tied_head = d.tied_head();
  config.window = d.window();
  config.attention_sinks = d.attention_sinks();
  return config;
}

absl::StatusOr<Mesh> MeshOf(const Job& job) {
  absl::StatusOr<Mesh> mesh = Mesh::Parse(job.mesh());
  if (!mesh.ok()) return Annotate(mesh.status(), "mesh");
  return mesh;
}

std::string ModelName(const Job& job) {
  return job.model().has_graph_file() ? job.model().graph_file() : "model.decoder";
}

int64_t MicrobatchRows(const Job& job) {
  const int64_t microbatches = job.train().microbatches();
  return (job.train().global_batch() + microbatches - 1) / microbatches;
}

absl::StatusOr<Graph> TrainGraph(const Job& job, const OpRegistry& ops) {
  WEFT_ASSIGN_OR_RETURN(Model model, BuildModel(job, ops));
  GraphBuilder& g = model.builder;
  WEFT_RETURN_IF_ERROR(Annotate(AddOptimizer(g, model.loss, OptimizerOf(job)), ModelName(job)));
  for (const GraphOutput& metric : model.metrics) {
    g.Output(metric.name, OfStep(g, metric.value, metric.name));
  }
  absl::StatusOr<Graph> graph = g.Build();
  return graph.ok() ? std::move(graph) : Annotate(graph.status(), ModelName(job));
}

absl::StatusOr<Graph> EvaluateGraph(const Job& job, const OpRegistry& ops) {
  WEFT_ASSIGN_OR_RETURN(Model model, BuildModel(job, ops));
  GraphBuilder& g = model.builder;
  g.Output("loss", OfStep(g, model.loss, "loss"));
  for (const GraphOutput& metric : model.metrics) {
    g.Output(metric.name, OfStep(g, metric.value, metric.name));
  }
  absl::StatusOr<Graph> graph = g.Build();
  return graph.ok() ? std::move(graph) : Annotate(graph.status(), ModelName(job));
}

absl::StatusOr<Graph> GenerateGraph(const Job& job, const OpRegistry& ops, int64_t batch,
                                    int64_t sequence) {
  if (job.model().has_graph_file()) {
    return absl::UnimplementedError(
        "generating from model.graph_file is not built: its rows and columns are fixed; train a "
        "model.decoder to generate");
  }
  DecoderConfig decoder = DecoderOf(job);
  WEFT_ASSIGN_OR_RETURN(GraphBuilder g, StartGraph(job, ops, &decoder.stages));
  const Value logits = BuildDecoderLogits(g, decoder, batch, sequence, ComputeType(job));
  g.Output("logits", logits);
  return g.Build();
}

CompileOptions CompileOptionsOf(const Job& job) {
  CompileOptions options;
  options.microbatches = static_cast<int>(job.train().microbatches());
  options.memory_bytes = job.train().memory_bytes();
  if (job.train().device() == Job::Train::CUDA) {
    options.device = DeviceKind::kCuda;
    options.cost = CostModel::OfGpus();
  }
  switch (job.plan().shard_states()) {
    case Job::Plan::WHEN_SHORT:
      options.shard_states = CompileOptions::ShardStates::kWhenShort;
      break;
    case Job::Plan::ALWAYS: options.shard_states = CompileOptions::ShardStates::kAlways; break;
    case Job::Plan::NEVER: options.shard_states = CompileOptions::ShardStates::kNever; break;
  }
  switch (job.plan().sequence()) {
    case Job::Plan::AUTO: options.meeting = SequenceMeeting::kAuto; break;
    case Job::Plan::RING: options.meeting = SequenceMeeting::kRing; break;
    case Job::Plan::HEADS: options.meeting = SequenceMeeting::kHeads; break;
    case Job::Plan::GATHER: options.meeting = SequenceMeeting::kGather; break;
  }
  options.conversions.forbid = job.plan().forbid_conversions();
  options.conversions.bytes = job.plan().conversion_bytes();
  return options;
}

double LearningRate(const Job& job, int64_t step) {
  const Job::Schedule& schedule = job.optimizer().schedule();
  const double peak = PeakRate(job);
  const int64_t warmup = schedule.warmup_steps();
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  const int64_t span = std::max<int64_t>(1, job.train().steps() - warmup);
  const double progress =
      std::min(1.0, static_cast<double>(step - warmup) / static_cast<double>(span));
  const double floor = schedule.final_lr_ratio();
  switch (schedule.decay()) {
    case Job::Schedule::CONSTANT: return peak;
    case Job::Schedule::LINEAR: return peak * (floor + (1 - floor) * (1 - progress));
    case Job::Schedule::COSINE:
      return peak * (floor + (1 - floor) * 0.5 * (1 + std::cos(M_PI * progress)));
  }
  return peak;
}

}  // namespace weft

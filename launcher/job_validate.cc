// What makes a job sensible: contradictions and features that are not built. Required fields and
// limits are tables in launcher/job_limits.h.
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "graph/mesh.h"
#include "launcher/job.h"
#include "launcher/job_data.h"
#include "launcher/job_graph.h"
#include "launcher/job_limits.h"
#include "launcher/mesh_choice.h"
#include "launcher/step_trace.h"
#include "launcher/tokenizer.h"
#include "runtime/status.h"

namespace weft {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr double kMaxParameters = 1e13;
constexpr double kMaxTokensPerStep = 1e12;
constexpr double kMaxActivations = 1e15;

// A limit or value as a person writes it: whole numbers without an exponent.
std::string Print(double value) {
  if (std::abs(value) < 1e15 && value == std::floor(value)) {
    return absl::StrCat(static_cast<int64_t>(value));
  }
  return absl::StrCat(value);
}

// One check of one job.
class Checker {
 public:
  Checker(const Job& job, const FieldOrigins& origins) : job_(job), origins_(origins) {}

  absl::Status Run() const {
    WEFT_RETURN_IF_ERROR(CheckBuilt());
    WEFT_RETURN_IF_ERROR(CheckRequired());
    WEFT_RETURN_IF_ERROR(CheckLimits());
    WEFT_RETURN_IF_ERROR(CheckModel());
    WEFT_RETURN_IF_ERROR(CheckData());
    WEFT_RETURN_IF_ERROR(CheckMesh());
    WEFT_RETURN_IF_ERROR(CheckTrain());
    return CheckReports();
  }

 private:
  absl::Status Wrong(const std::string& path, const std::string& why) const {
    return absl::InvalidArgumentError(absl::StrCat(WhereWritten(origins_, path), ": ", why));
  }
  absl::Status NotBuilt(const std::string& path, const std::string& why) const {
    return absl::UnimplementedError(absl::StrCat(WhereWritten(origins_, path), ": ", why));
  }

  // A field and the message that holds it.
  struct Place {
    const Message* parent = nullptr;
    const FieldDescriptor* field = nullptr;
    std::string path;
    bool set() const {
      const google::protobuf::Reflection& reflection = *parent->GetReflection();
      return field->is_repeated() ? reflection.FieldSize(*parent, field) > 0
                                  : reflection.HasField(*parent, field);
    }
    double number() const {
      const google::protobuf::Reflection& reflection = *parent->GetReflection();
      return field->cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE
                 ? reflection.GetDouble(*parent, field)
                 : static_cast<double>(reflection.GetInt64(*parent, field));
    }
  };
  // Where `path` leads: nowhere if a message on the way is absent, to one place in each entry of a
  // list.
  std::vector<Place> Find(const char* path) const {
    std::vector<Place> places;
    const std::vector<std::string> names = absl::StrSplit(path, '.');
    Visit(job_, "", names, &places);
    return places;
  }
  static void Visit(const Message& message, const std::string& prefix,
                    absl::Span<const std::string> names, std::vector<Place>* places) {
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(names[0]);
    const std::string path = absl::StrCat(prefix, names[0]);
    if (names.size() == 1) return places->push_back({&message, field, path});
    if (!field->is_repeated()) {
      if (!reflection.HasField(message, field)) return;
      return Visit(reflection.GetMessage(message, field), path + ".", names.subspan(1), places);
    }
    const int size = reflection.FieldSize(message, field);
    for (int i = 0; i < size; ++i) {
      Visit(reflection.GetRepeatedMessage(message, field, i),
            size == 1 ? path + "." : absl::StrCat(path, "[", i, "]."), names.subspan(1), places);
    }
  }

  absl::Status CheckBuilt() const;
  absl::Status CheckRequired() const;
  absl::Status CheckLimits() const;
  absl::Status CheckModel() const;
  absl::Status CheckData() const;
  absl::Status CheckMesh() const;
  absl::Status CheckType() const;
  absl::Status CheckTrain() const;
  absl::Status CheckReports() const;

  const Job& job_;
  const FieldOrigins& origins_;
};

absl::Status Checker::CheckBuilt() const {
  if (job_.train().virtual_batches() != 0) {
    return NotBuilt("train.virtual_batches", "virtual batches are not built; leave it out");
  }
  if (!job_.log().tensorboard().empty()) {
    return NotBuilt("log.tensorboard",
                    "TensorBoard files are not built; use "
                    "log.metrics, JSON lines, instead");
  }
  return absl::OkStatus();
}

absl::Status Checker::CheckRequired() const {
  for (const Required& required : kRequired) {
    for (const Place& place : Find(required.path)) {
      if (!place.set()) return Wrong(place.path, absl::StrCat("missing; ", required.remedy));
    }
  }
  if (job_.model().kind_case() == Job::Model::KIND_NOT_SET) {
    return Wrong("model", "describes nothing; add decoder { ... } or graph_file: \"FILE\"");
  }
  if (job_.model().has_graph_file() && job_.model().graph_file().empty()) {
    return Wrong("model.graph_file", "is empty; name a file of graph text");
  }
  if (job_.optimizer().kind_case() == Job::Optimizer::KIND_NOT_SET) {
    return Wrong("optimizer", "names none; add adamw { lr: 1e-3 }, lamb or sgd");
  }
  return absl::OkStatus();
}

absl::Status Checker::CheckLimits() const {
  for (const Limit& limit : kLimits) {
    for (const Place& place : Find(limit.path)) {
      if (!place.set()) continue;
      const double value = place.number();
      if (value >= limit.least && value <= limit.most) continue;  // false for NaN
      return Wrong(place.path, absl::StrCat("is ", Print(value), "; it must be from ",
                                            Print(limit.least), " to ", Print(limit.most)));
    }
  }
  return absl::OkStatus();
}

absl::Status Checker::CheckModel() const {
  if (!job_.model().has_decoder()) return absl::OkStatus();
  const Job::Decoder& model = job_.model().decoder();
  const int64_t kv_heads = model.has_kv_heads() ? model.kv_heads() : model.heads();
  if (model.heads() % kv_heads != 0) {
    return Wrong("model.decoder.kv_heads",
                 absl::StrCat(kv_heads, " kv_heads do not divide ", model.heads(),
                              " heads; each kv head serves heads / kv_heads query heads"));
  }
  if (!model.has_head_dim() && model.hidden() % model.heads() != 0) {
    return Wrong("model.decoder.heads",
                 absl::StrCat(model.heads(), " heads do not divide hidden: ", model.hidden(),
                              "; change one of them or give head_dim"));
  }
  const int64_t head_dim = model.has_head_dim() ? model.head_dim() : model.hidden() / model.heads();
  if (head_dim % 2 != 0) {
    return Wrong(model.has_head_dim() ? "model.decoder.head_dim" : "model.decoder.hidden",
                 absl::StrCat("a head of ", head_dim,
                              " elements cannot be rotated (RoPE turns pairs); make it even"));
  }
  const double hidden = static_cast<double>(model.hidden());
  const double attention = 2.0 * hidden * head_dim * (model.heads() + kv_heads);
  const double mlp = 3.0 * hidden * model.ffn();
  const double parameters = model.layers() * (attention + mlp) + 2.0 * hidden * model.vocab();
  if (parameters > kMaxParameters) {
    return Wrong("model.decoder", absl::StrCat("has about ", parameters,
                                               " parameters; the limit is ", kMaxParameters));
  }
  return absl::OkStatus();
}

absl::Status Checker::CheckData() const {
  WEFT_RETURN_IF_ERROR(CheckJobData(job_, origins_));
  const int64_t vocab = job_.model().decoder().vocab();
  if (job_.model().has_decoder() && job_.data(0).has_text() && vocab < kByteVocabulary) {
    return Wrong("model.decoder.vocab",
                 absl::StrCat("is ", vocab, "; tokenizer BYTES needs at least ", kByteVocabulary));
  }
  return absl::OkStatus();
}

absl::Status Checker::CheckMesh() const {
  if (IsAutoMesh(job_)) return AutoMeshRanks(job_).status();
  const absl::StatusOr<Mesh> mesh = Mesh::Parse(job_.mesh());
  if (!mesh.ok()) return Wrong("mesh", std::string(mesh.status().message()));
  int64_t sequence_parts = 1;
  for (const Mesh::Axis& axis : mesh->axes()) {
    if (axis.name == kStageAxis && !job_.model().has_decoder()) {
      return NotBuilt("mesh",
                      "axis 'stage' cuts the layers of a decoder; a graph file has none, and "
                      "training one on several meshes is not built");
    }
    // A graph file annotates the axes that it likes; the decoder knows four.
    if (job_.model().has_decoder() && axis.name != "data" && axis.name != "model" &&
        axis.name != kStageAxis && !IsSequenceAxis(axis.name)) {
      return Wrong("mesh", absl::StrCat("unknown axis '", axis.name,
                                        "'; use data, model, seq (or seq_outer and seq_inner) "
                                        "and stage"));
    }
    if (job_.model().has_decoder() && IsSequenceAxis(axis.name)) sequence_parts *= axis.size;
    if (axis.name == kStageAxis && axis.size > job_.model().decoder().layers()) {
      return Wrong("mesh", absl::StrCat("cuts ", job_.model().decoder().layers(),
                                        " layers into stage:", axis.size,
                                        "; use at most stage:", job_.model().decoder().layers()));
    }
  }
  const bool has_sequence =
      std::any_of(mesh->axes().begin(), mesh->axes().end(),
                  [](const Mesh::Axis& axis) { return IsSequenceAxis(axis.name); });
  if (job_.plan().sequence() != Job::Plan::AUTO && !has_sequence) {
    return Wrong("plan.sequence", "says how attention works over the mesh axis seq, which the mesh "
                                  "does not have; add seq:N to the mesh, or leave it out");
  }
  if (sequence_parts > 1 && job_.data(0).sequence() < sequence_parts) {
    return Wrong("mesh", absl::StrCat("splits a sequence of ", job_.data(0).sequence(),
                                      " tokens over ", sequence_parts,
                                      " ranks; some would have none. Use fewer, or raise "
                                      "data.sequence"));
  }
  const int data_axis = mesh->FindAxis("data");
  if (data_axis < 0) return absl::OkStatus();
  const int64_t rows = MicrobatchRows(job_);
  if (const int size = mesh->axes()[data_axis].size; rows < size && rows > 0) {
    return Wrong("mesh", absl::StrCat("splits a microbatch of ", rows, " rows over data:", size,
                                      "; some ranks would have none. Use at most data:", rows,
                                      ", or raise train.global_batch"));
  }
  return absl::OkStatus();
}

absl::Status Checker::CheckType() const {
  const Job::Train& train = job_.train();
  if (train.dtype() == Job::Train::TF32 && train.device() == Job::Train::CPU) {
    return Wrong("train.dtype",
                 "TF32, but device is CPU, which has no such products; use dtype: F32, or device: "
                 "CUDA");
  }
  if (!train.has_loss_scale()) return absl::OkStatus();
  if (train.dtype() != Job::Train::F16) {
    return Wrong("train.loss_scale", absl::StrCat("is of use in F16 alone, but dtype is ",
                                                  Job::Train::DataType_Name(train.dtype()),
                                                  "; leave it out, or use dtype: F16"));
  }
  const Job::LossScale& scale = train.loss_scale();
  if (scale.fixed() && scale.has_growth_every()) {
    return Wrong("train.loss_scale.growth_every", "contradicts fixed: true; leave one of them out");
  }
  int exponent = 0;
  if (std::frexp(scale.initial(), &exponent) != 0.5) {
    return Wrong("train.loss_scale.initial",
                 absl::StrCat("is ", Print(scale.initial()),
                              "; it must be a power of two, which rounds nothing, such as 65536"));
  }
  return absl::OkStatus();
}

absl::Status Checker::CheckTrain() const {
  const Job::Train& train = job_.train();
  if (train.cuda_graphs() == Job::Train::ON && train.device() == Job::Train::CPU) {
    return Wrong("train.cuda_graphs", "ON, but device is CPU; leave it out, or use device: CUDA");
  }
  if (train.gemm_tuning() == Job::Train::ON && train.device() == Job::Train::CPU) {
    return Wrong("train.gemm_tuning", "ON, but device is CPU; leave it out, or use device: CUDA");
  }
  WEFT_RETURN_IF_ERROR(CheckType());
  if (train.microbatches() > train.global_batch()) {
    return Wrong("train.microbatches",
                 absl::StrCat(train.microbatches(), " microbatches of ", train.global_batch(),
                              " rows leave some empty; use at most ", train.global_batch()));
  }
  if (job_.model().has_graph_file() && train.global_batch() % train.microbatches() != 0) {
    return Wrong("train.microbatches",
                 absl::StrCat(train.microbatches(),
                              " microbatches do not divide global_batch: ", train.global_batch(),
                              "; a graph file has one number of rows, so make them divide"));
  }
  const double widest = std::max({job_.model().decoder().hidden(), job_.model().decoder().ffn(),
                                  job_.model().decoder().vocab(), int64_t{1}});
  const double sequence = static_cast<double>(std::max<int64_t>(1, job_.data(0).sequence()));
  const double activations = static_cast<double>(MicrobatchRows(job_)) * sequence * widest *
                             std::max<int64_t>(1, job_.model().decoder().layers());
  if (activations > kMaxActivations) {
    return Wrong("train.global_batch",
                 absl::StrCat("makes activations of about ", activations,
                              " elements a microbatch; the limit is ", kMaxActivations,
                              ". Use fewer rows, more microbatches or a shorter sequence"));
  }
  const double tokens = static_cast<double>(train.global_batch()) * sequence;
  if (tokens > kMaxTokensPerStep) {
    return Wrong(
        "train.global_batch",
        absl::StrCat("makes ", tokens, " tokens a step; the limit is ", kMaxTokensPerStep));
  }
  const Job::Schedule& schedule = job_.optimizer().schedule();
  if (schedule.has_final_lr_ratio() && schedule.decay() == Job::Schedule::CONSTANT) {
    return Wrong("optimizer.schedule.final_lr_ratio",
                 "contradicts decay: CONSTANT; use COSINE or LINEAR, or drop it");
  }
  return absl::OkStatus();
}

absl::Status Checker::CheckReports() const {
  if (job_.evaluate().every() > 0 && HeldOutShare(job_) == 0) {
    return Wrong("evaluate.every",
                 "there is nothing to evaluate on; set data.held_out, such as 0.05");
  }
  if (job_.evaluate().batches() > 0 && job_.evaluate().every() == 0) {
    return Wrong("evaluate.batches", "is of no use while evaluate.every is 0; set both or neither");
  }
  if (job_.checkpoint().every() > 0 && job_.checkpoint().dir().empty()) {
    return Wrong("checkpoint.every", "there is no place to write to; set checkpoint.dir");
  }
  if (!job_.log().trace_steps().empty() && job_.log().trace().empty()) {
    return Wrong("log.trace_steps", "is of no use while log.trace names no file; set both");
  }
  const absl::StatusOr<TraceSteps> traced = TraceStepsOf(job_, 0);
  if (!traced.ok()) return Wrong("log.trace_steps", std::string(traced.status().message()));
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateJob(const Job& job, const FieldOrigins& origins) {
  return Checker(job, origins).Run();
}

}  // namespace weft

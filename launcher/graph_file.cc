#include "launcher/graph_file.h"

#include "absl/strings/str_cat.h"
#include "graph/graph_text.h"
#include "launcher/job_graph.h"
#include "launcher/mapped_file.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 28;
// Keys of a metrics line besides "loss" (launcher/metrics.h), which outputs must not repeat.
constexpr const char* kMetricKeys[] = {"step",           "grad_norm", "lr",  "tokens",
                                       "tokens_per_s",   "step_ms",   "mfu", "bytes_sent",
                                       "mem_peak_bytes", "eval_loss"};

// One check of one graph against its job.
class Binding {
 public:
  Binding(const Job& job, const Graph& graph) : job_(job), graph_(graph) {}

  absl::Status Check() const {
    WEFT_RETURN_IF_ERROR(CheckMesh());
    WEFT_RETURN_IF_ERROR(CheckUndecided());
    for (const GraphInput& input : graph_.inputs) {
      WEFT_RETURN_IF_ERROR(Annotate(CheckInput(input), absl::StrCat("input '", input.name, "'")));
    }
    for (const Variable& variable : graph_.variables) {
      if (!variable.trainable || !variable.update) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("variable '", variable.name,
                       "' is trainable and has an update; the job's optimizer makes the update, "
                       "drop one of the two"));
    }
    return CheckOutputs();
  }

 private:
  absl::Status CheckMesh() const {
    if (graph_.meshes.size() != 1) {
      return absl::UnimplementedError(absl::StrCat(
          "it has ", graph_.meshes.size(), " meshes; training on several is not built, keep one"));
    }
    WEFT_ASSIGN_OR_RETURN(const Mesh mesh, MeshOf(job_));
    if (graph_.meshes[0] == mesh) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("it lies on mesh \"", graph_.meshes[0].ToString(), "\" but the job's is \"",
                     mesh.ToString(),
                     "\"; drop meshes from the graph, which then takes the job's, or make them "
                     "equal"));
  }

  absl::Status CheckUndecided() const {
    for (const Node& node : graph_.nodes) {
      if (!node.is_reshard() && node.input_layouts.empty()) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("node '", node.name,
                       "': conversions and input_layouts are weft's to decide; drop them "
                       "and annotate values"));
    }
    for (const ValueInfo& value : graph_.values) {
      if (value.layout.empty()) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "value '", value.name, "' has the layout ", ToString(value.layout, graph_.meshes[0]),
          "; layouts are weft's to decide, write it as an annotation"));
    }
    return absl::OkStatus();
  }

  absl::Status Expect(const GraphInput& input, const TensorSpec& spec, Rate rate,
                      std::string_view remedy) const {
    const ValueInfo& info = graph_.info(input.value);
    if (!(info.spec == spec)) {
      return absl::InvalidArgumentError(absl::StrCat("it is ", info.spec.ToString(),
                                                     " but the job feeds ", spec.ToString(), "; ",
                                                     std::string(remedy)));
    }
    if (info.rate != rate) {
      return absl::InvalidArgumentError(
          absl::StrCat("it must be fed once per ", rate == Rate::kStep ? "step" : "microbatch",
                       "; write rate: ", rate == Rate::kStep ? "STEP" : "MICROBATCH"));
    }
    return absl::OkStatus();
  }

  absl::Status CheckInput(const GraphInput& input) const {
    if (input.name == "tokens" || input.name == "targets") {
      return Expect(input, {{MicrobatchRows(job_), job_.data().sequence()}, DType::kI32},
                    Rate::kMicrobatch,
                    "its rows are train.global_batch / train.microbatches, its columns "
                    "data.sequence");
    }
    if (input.name == "loss_scale") {
      return Expect(input, {{}, DType::kF32}, Rate::kStep, "make it a scalar");
    }
    if (input.name == "learning_rate" || input.name == "step") {
      return absl::InvalidArgumentError(
          "the job's optimizer adds an input of this name; rename or drop it");
    }
    return absl::InvalidArgumentError(
        "a job has no data for it; it feeds tokens, targets and loss_scale");
  }

  absl::Status CheckOutputs() const {
    const GraphOutput* loss = nullptr;
    for (const GraphOutput& output : graph_.outputs) {
      const TensorSpec& spec = graph_.spec(output.value);
      if (output.name == "loss") loss = &output;
      for (const char* taken : kMetricKeys) {
        if (output.name != taken) continue;
        return absl::InvalidArgumentError(absl::StrCat(
            "output '", output.name, "' has the name of a metric that weft writes; rename it"));
      }
      if (spec == TensorSpec{{}, DType::kF32}) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("output '", output.name, "' is ", spec.ToString(),
                       "; the loss and metrics of training are scalars f32[], reduce it"));
    }
    if (loss != nullptr) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "no output is named 'loss'; add outputs { name: \"loss\" value: \"...\" }");
  }

  const Job& job_;
  const Graph& graph_;
};

}  // namespace

absl::StatusOr<Graph> ReadGraphFile(const Job& job, const OpRegistry& ops) {
  const std::string& path = job.model().graph_file();
  absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return Annotate(file.status(), "model.graph_file");
  if (file->size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": ", file->size(), " bytes are no graph; the limit is ", kMaxTextBytes));
  }
  WEFT_ASSIGN_OR_RETURN(const Mesh mesh, MeshOf(job));
  const std::string_view text(reinterpret_cast<const char*>(file->data()), file->size());
  WEFT_ASSIGN_OR_RETURN(Graph graph, ParseGraphText(text, ops, path, mesh));
  WEFT_RETURN_IF_ERROR(Annotate(Binding(job, graph).Check(), path));
  return graph;
}

}  // namespace weft

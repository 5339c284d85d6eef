#include "launcher/graph_file.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "graph/graph_text.h"
#include "graph/spec_text.h"
#include "launcher/job_data.h"
#include "launcher/job_graph.h"
#include "launcher/mapped_file.h"
#include "runtime/near_name.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 28;
// Keys of a metrics line besides "loss" (launcher/metrics.h), which outputs must not repeat.
constexpr const char* kMetricKeys[] = {"step",           "grad_norm",  "lr",     "tokens",
                                       "tokens_per_s",   "step_ms",    "mfu",    "bytes_sent",
                                       "mem_peak_bytes", "loss_scale", "skipped"};
// And how those of held-out data begin.
constexpr const char* kHeldOutPrefix = "eval_";

// One check of one graph against its job.
class Binding {
 public:
  Binding(const Job& job, const Graph& graph) : job_(job), graph_(graph) {}

  absl::Status Check() const {
    WEFT_RETURN_IF_ERROR(CheckMesh());
    WEFT_RETURN_IF_ERROR(CheckUndecided());
    WEFT_RETURN_IF_ERROR(CheckBound());
    for (const GraphInput& input : graph_.inputs) {
      WEFT_RETURN_IF_ERROR(Annotate(CheckInput(input), absl::StrCat("input '", input.name, "'")));
    }
    for (const Variable& variable : graph_.variables) {
      if (!variable.trainable || !variable.update) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("variable '", variable.name,
                       "' is trainable and has an update; the job's optimizer "
                       "makes the update, "
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
                     "\"; drop meshes from the graph, which then takes the "
                     "job's, or make them "
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

  absl::Status CheckRate(const GraphInput& input, Rate rate) const {
    if (graph_.info(input.value).rate == rate) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("it must be fed once per ", rate == Rate::kStep ? "step" : "microbatch",
                     "; write rate: ", rate == Rate::kStep ? "STEP" : "MICROBATCH"));
  }

  absl::Status Expect(const GraphInput& input, const TensorSpec& spec, Rate rate,
                      std::string_view remedy) const {
    const ValueInfo& info = graph_.info(input.value);
    if (info.spec == spec) return CheckRate(input, rate);
    return absl::InvalidArgumentError(absl::StrCat("it is ", info.spec.ToString(),
                                                   " but the job feeds ", spec.ToString(), "; ",
                                                   std::string(remedy)));
  }

  // A table's rows; what a file holds is checked when it is opened (launcher/row_table.h).
  absl::Status ExpectRows(const GraphInput& input, const Job::Data& data) const {
    const TensorSpec& spec = graph_.spec(input.value);
    const int64_t rows = MicrobatchRows(job_);
    if (spec.rank() == 0 || spec.shape[0] != rows) {
      return absl::InvalidArgumentError(
          absl::StrCat("it is ", spec.ToString(), " but the job feeds rows, ", rows,
                       " a microbatch; its first dimension must be train.global_batch / "
                       "train.microbatches"));
    }
    const Shape row(spec.shape.begin() + 1, spec.shape.end());
    if (!data.columns().empty() && data.columns_size() != NumElements(row)) {
      return absl::InvalidArgumentError(
          absl::StrCat("a row of it is ", ToString(row), ", ", NumElements(row),
                       " numbers, but data.columns names ", data.columns_size()));
    }
    if (data.has_type()) {
      WEFT_ASSIGN_OR_RETURN(const TensorSpec file, ParseSpec(data.type()));
      if (Shape(file.shape.begin() + 1, file.shape.end()) != row) {
        return absl::InvalidArgumentError(
            absl::StrCat("a row of it is ", ToString(row), " but data.type is ", file.ToString()));
      }
    }
    return CheckRate(input, Rate::kMicrobatch);
  }

  absl::Status CheckInput(const GraphInput& input) const {
    if (input.name == "learning_rate" || input.name == "step") {
      return absl::InvalidArgumentError(
          "the job's optimizer adds an input of this name; rename or drop it");
    }
    for (const Job::Data& data : job_.data()) {
      if (!Feeds(data, input.name)) continue;
      if (!IsStream(data)) return ExpectRows(input, data);
      return Expect(input, {{MicrobatchRows(job_), data.sequence()}, DType::kI32},
                    Rate::kMicrobatch,
                    "its rows are train.global_batch / train.microbatches, its columns "
                    "data.sequence");
    }
    if (input.name == "loss_scale") {
      return Expect(input, {{}, DType::kF32}, Rate::kStep, "make it a scalar");
    }
    return absl::InvalidArgumentError(
        absl::StrCat("the job has no data for it; add data { input: \"", input.name,
                     "\" csv: \"FILE\" } or array, ", "text or tokens"));
  }

  // Every entry that names an input feeds one.
  absl::Status CheckBound() const {
    std::vector<std::string> names;
    for (const GraphInput& input : graph_.inputs) names.push_back(input.name);
    for (int i = 0; i < job_.data_size(); ++i) {
      const Job::Data& data = job_.data(i);
      if (!data.has_input() || std::count(names.begin(), names.end(), data.input()) > 0) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(DataPath(job_, i), ".input: the graph has no input '", data.input(), "'",
                       Suggest(data.input(), names)));
    }
    return absl::OkStatus();
  }

  absl::Status CheckOutputs() const {
    const GraphOutput* loss = nullptr;
    for (const GraphOutput& output : graph_.outputs) {
      const TensorSpec& spec = graph_.spec(output.value);
      if (output.name == "loss") loss = &output;
      for (const char* taken : kMetricKeys) {
        if (output.name != taken && !absl::StartsWith(output.name, kHeldOutPrefix)) continue;
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
        "no output is named 'loss'; add outputs "
        "{ name: \"loss\" value: \"...\" }");
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

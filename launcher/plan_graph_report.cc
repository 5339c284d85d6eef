#include "launcher/plan_graph_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "launcher/plan_blocks.h"
#include "parallel/instantiate_reshard.h"
#include "parallel/reshard_cost.h"
#include "parallel/reshard_step.h"
#include "runtime/status.h"

namespace weft {
namespace {

const char* KindName(LoweredActor::Kind kind) {
  switch (kind) {
    case LoweredActor::Kind::kCompute: return "compute";
    case LoweredActor::Kind::kReshard: return "conversion";
    case LoweredActor::Kind::kFeed: return "feed";
    case LoweredActor::Kind::kFetch: return "fetch";
  }
  return "";
}

class GraphReporter {
 public:
  GraphReporter(const Program& program, PlanReport& report)
      : program_(program), graph_(program.graph), report_(report) {}

  absl::StatusOr<std::vector<StageRows>> Run() {
    places_ = FindPlaces(graph_);
    report_.blocks = places_.blocks;
    rows_.assign(graph_.values.size(), -1);
    for (const GraphInput& input : graph_.inputs) AddValue(input.value, "input", -1);
    for (const Variable& variable : graph_.variables) AddValue(variable.value, "variable", -1);
    for (size_t n = 0; n < graph_.nodes.size(); ++n) AddOp(static_cast<int>(n));
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (!graph_.nodes[n].is_reshard()) continue;
      WEFT_RETURN_IF_ERROR(Annotate(AddConversion(static_cast<int>(n)),
                                    absl::StrCat("conversion '", graph_.nodes[n].name, "'")));
    }
    return AddStages();
  }

 private:
  void AddValue(Value v, const std::string& made_by, int op) {
    const ValueInfo& info = graph_.info(v);
    const PlanPlace& place = places_.values[v.id];
    PlanReport::Value row;
    row.name = info.name;
    row.made_by = made_by;
    row.type = info.spec.ToString();
    row.layout = ToString(info.layout, graph_.mesh(v));
    row.mesh = info.mesh;
    row.bytes = info.spec.bytes();
    row.op = op;
    row.block = place.block;
    row.part = place.part;
    row.microbatch = info.rate == Rate::kMicrobatch;
    row.annotated = info.annotation.has_value();
    rows_[v.id] = static_cast<int>(report_.values.size());
    report_.values.push_back(std::move(row));
  }

  int RowOf(Value v) const { return v ? rows_[v.id] : -1; }

  void AddOp(int n) {
    const Node& node = graph_.nodes[n];
    PlanReport::Op row;
    row.name = node.name;
    row.kind = node.is_reshard() ? "conversion" : node.op->name;
    row.block = places_.nodes[n].block;
    row.part = places_.nodes[n].part;
    for (Value v : node.inputs) row.inputs.push_back(RowOf(v));
    for (Value v : node.outputs) {
      AddValue(v, row.kind, n);
      row.outputs.push_back(RowOf(v));
      row.microbatch |= graph_.info(v).rate == Rate::kMicrobatch;
    }
    report_.ops.push_back(std::move(row));
  }

  // The result is the user's word where an annotation was not what the op makes.
  std::string ReasonOf(const PlanReport::Conversion& row, const PlanReport::Value& from,
                       const PlanReport::Value& to) const {
    if (row.asked) return absl::StrCat("`", to.name, "` is annotated as ", row.to_layout);
    const std::string made = from.op < 0                    ? "lies"
                             : from.made_by == "conversion" ? "was converted to lie"
                                                            : "is made";
    return absl::StrCat("`", row.consumer, "` takes it as ", row.to_layout, ", it ", made, " as ",
                        row.from_layout);
  }

  absl::Status AddConversion(int n) {
    const Node& node = graph_.nodes[n];
    WEFT_ASSIGN_OR_RETURN(const ReshardStep step, StepOf(graph_, node));
    const TensorSpec& spec = graph_.spec(node.inputs[0]);
    PlanReport::Conversion row;
    row.op = n;
    row.from = RowOf(node.inputs[0]);
    row.to = RowOf(node.outputs[0]);
    const PlanReport::Value& from = report_.values[row.from];
    const PlanReport::Value& to = report_.values[row.to];
    row.from_layout = from.layout;
    row.to_layout = to.layout;
    row.how = step.ToString();
    row.asked = to.annotated || node.reason == "annotation";
    row.consumer = row.asked ? "annotation" : node.reason;
    row.reason = ReasonOf(row, from, to);
    row.firings = to.microbatch ? program_.stages[0].lowered.microbatches : 1;
    Price price = PriceOf(step, spec);
    row.bytes = price.bytes;
    row.seconds = report_.times ? RoundedSeconds(price.seconds) : 0;
    report_.bytes_sent += row.bytes * row.firings;
    report_.conversions.push_back(std::move(row));
    return absl::OkStatus();
  }

  struct Price {
    int64_t bytes = 0;
    double seconds = 0;
  };
  // Equal conversions of equal tensors, one a layer, are looked at once.
  Price PriceOf(const ReshardStep& step, const TensorSpec& spec) {
    const std::string key = absl::StrCat(spec.ToString(), ToString(step.from, step.from_mesh),
                                         step.from_mesh.ToString(), ToString(step.to, step.to_mesh),
                                         step.to_mesh.ToString());
    const auto [it, is_new] = prices_.try_emplace(key);
    if (is_new) {
      it->second.bytes = TotalBytesSent(step, spec);
      if (report_.times) it->second.seconds = StepSeconds(step, spec, program_.cost);
    }
    return it->second;
  }

  // The part that most of the ops belong to.
  PlanPart MostlyOf(const std::vector<int>& ops) const {
    std::array<int, 3> count = {};
    for (int op : ops) ++count[static_cast<int>(report_.ops[op].part)];
    return static_cast<PlanPart>(std::max_element(count.begin(), count.end()) - count.begin());
  }

  // A conversion between two stages is an actor of both, of one depth.
  std::vector<StageRows> AddStages() {
    std::map<int, const LoweredActor*> actors;
    for (const StageProgram& stage : program_.stages) {
      report_.stages.push_back({stage.meshes, stage.ranks});
      for (const LoweredActor& actor : stage.lowered.actors) {
        actors.try_emplace(actor.depth, &actor);
      }
    }
    std::map<int, int> row_of;  // by depth
    for (const auto& [depth, actor] : actors) {
      row_of[depth] = static_cast<int>(report_.actors.size());
      AddActor(*actor);
    }
    std::vector<StageRows> stages;
    for (const StageProgram& stage : program_.stages) {
      StageRows& rows = stages.emplace_back();
      rows.stage = &stage;
      for (const LoweredActor& actor : stage.lowered.actors) {
        rows.actors.push_back(row_of.at(actor.depth));
        report_.actors[rows.actors.back()].stages.push_back(static_cast<int>(stages.size()) - 1);
      }
    }
    return stages;
  }

  void AddActor(const LoweredActor& actor) {
    PlanReport::Actor row;
    row.name = actor.name;
    row.stream = kStreamNames[static_cast<int>(actor.stream)];
    row.kind = KindName(actor.kind);
    row.firings = actor.firings;
    row.kernels = static_cast<int>(actor.calls.size());
    const int id = static_cast<int>(report_.actors.size());
    const auto run = [&](int node) {
      if (node < 0) return;
      row.ops.push_back(node);
      report_.ops[node].actor = id;
    };
    for (const LoweredCall& call : actor.calls) run(call.node);
    run(actor.node);
    if (!row.ops.empty()) {
      row.block = report_.ops[row.ops.front()].block;
      row.part = MostlyOf(row.ops);
    } else if (actor.kind == LoweredActor::Kind::kFetch) {
      row.part = PlanPart::kOptimizer;
    }
    if (report_.times) row.seconds = static_cast<double>(actor.ticks) / kTicksPerSecond;
    report_.actors.push_back(std::move(row));
  }

  const Program& program_;
  const Graph& graph_;
  PlanReport& report_;
  PlanPlaces places_;
  std::vector<int> rows_;  // by value: its row
  std::map<std::string, Price> prices_;
};

}  // namespace

double RoundedSeconds(double seconds) { return std::round(seconds * 1e9) / 1e9; }

absl::StatusOr<std::vector<StageRows>> ReportGraph(const Program& program, PlanReport& report) {
  return GraphReporter(program, report).Run();
}

}  // namespace weft

#include "launcher/plan_output.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "launcher/cluster.h"
#include "launcher/job_graph.h"
#include "launcher/plan_dot.h"
#include "launcher/plan_html.h"
#include "launcher/plan_json.h"
#include "launcher/plan_text.h"
#include "runtime/status.h"

namespace weft {

absl::StatusOr<PlanFormat> ParsePlanFormat(const std::string& name) {
  if (name == "text") return PlanFormat::kText;
  if (name == "json") return PlanFormat::kJson;
  if (name == "dot") return PlanFormat::kDot;
  if (name == "html") return PlanFormat::kHtml;
  return absl::InvalidArgumentError(
      absl::StrCat("no plan format '", name, "'; there are text, json, dot and html"));
}

absl::StatusOr<PlanReport> ReportPlan(const Job& job, const OpRegistry& ops,
                                      const PlanReportOptions& options) {
  WEFT_ASSIGN_OR_RETURN(Graph graph, TrainGraph(job, ops));
  CompileOptions compile = CompileOptionsOf(job);
  LinkTable links = [link = Link{compile.cost.link_latency, compile.cost.link_bytes_per_second}](
                        int, int) { return link; };
  if (options.cluster != nullptr) {
    WEFT_ASSIGN_OR_RETURN(const Mesh mesh, MeshOf(job));
    compile.cost = CostModelOf(*options.cluster, mesh.size());
    links = LinksOf(*options.cluster, mesh);
  }
  const absl::StatusOr<Program> program = Compile(std::move(graph), ops, compile);
  if (!program.ok()) return Annotate(program.status(), ModelName(job));
  return MakePlanReport(job, *program, std::move(links), options);
}

std::string FormatPlan(const PlanReport& report, PlanFormat format) {
  switch (format) {
    case PlanFormat::kText: return PlanText(report);
    case PlanFormat::kJson: return PlanJsonText(report);
    case PlanFormat::kDot: return PlanDot(report);
    case PlanFormat::kHtml: return PlanHtml(report);
  }
  return "";
}

}  // namespace weft

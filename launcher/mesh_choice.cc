#include "launcher/mesh_choice.h"

#include <algorithm>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "launcher/cluster.h"
#include "launcher/job.h"
#include "launcher/job_graph.h"
#include "launcher/text_table.h"
#include "parallel/compile.h"
#include "runtime/human_units.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr absl::string_view kAuto = "AUTO";
constexpr int kMostRanks = 1 << 16;

std::string MeshText(int data, int model) {
  if (model == 1) return absl::StrCat("data:", data);
  if (data == 1) return absl::StrCat("model:", model);
  return absl::StrCat("data:", data, ",model:", model);
}

absl::StatusOr<double> StepSeconds(const Job& job, const OpRegistry& ops,
                                   const FieldOrigins& origins, const CostModel& cost) {
  WEFT_RETURN_IF_ERROR(ValidateJob(job, origins));
  WEFT_ASSIGN_OR_RETURN(Graph graph, TrainGraph(job, ops));
  CompileOptions options = CompileOptionsOf(job);
  options.cost = cost;
  WEFT_ASSIGN_OR_RETURN(const Program program, Compile(std::move(graph), ops, options));
  if (program.memory_bytes > 0) {
    const int first = program.graph.meshes[0].ranks()[0];
    WEFT_RETURN_IF_ERROR(InstantiatePlan(program, first).status());
  }
  return static_cast<double>(program.stages[0].schedule.ticks) / kTicksPerSecond;
}

}  // namespace

bool IsAutoMesh(const Job& job) {
  absl::string_view text = job.mesh();
  return absl::ConsumePrefix(&text, kAuto) && (text.empty() || text[0] == ':');
}

absl::StatusOr<int> AutoMeshRanks(const Job& job) {
  absl::string_view text = job.mesh();
  int ranks = 0;
  if (absl::ConsumePrefix(&text, kAuto) && absl::ConsumePrefix(&text, ":") &&
      absl::SimpleAtoi(text, &ranks) && ranks >= 1 && ranks <= kMostRanks) {
    return ranks;
  }
  return absl::InvalidArgumentError(absl::StrCat("mesh \"", job.mesh(),
                                                 "\" must say how many ranks there are, from 1 to ",
                                                 kMostRanks, ", such as \"AUTO:8\""));
}

absl::StatusOr<MeshChoice> ChooseMesh(const OpRegistry& ops, const FieldOrigins& origins,
                                      const Cluster* cluster, Job* job) {
  MeshChoice choice;
  if (!IsAutoMesh(*job)) return choice;
  choice.asked = job->mesh();
  WEFT_ASSIGN_OR_RETURN(const int ranks, AutoMeshRanks(*job));
  const CostModel cost =
      cluster != nullptr ? CostModelOf(*cluster, ranks) : CompileOptionsOf(*job).cost;
  // Where the job leaves open how states lie, both ways are tried.
  const bool open = job->plan().shard_states() == Job::Plan::WHEN_SHORT;
  std::optional<absl::StatusCode> refused;
  for (int model = 1; model <= ranks; ++model) {
    if (ranks % model != 0) continue;
    const int data = ranks / model;
    const bool may_shard = data > 1 && open;
    for (const bool shards : {true, false}) {
      if (shards && !may_shard) continue;
      const bool always = data > 1 && job->plan().shard_states() == Job::Plan::ALWAYS;
      Job candidate = *job;
      candidate.set_mesh(MeshText(data, model));
      if (may_shard) {
        candidate.mutable_plan()->set_shard_states(shards ? Job::Plan::ALWAYS : Job::Plan::NEVER);
      }
      MeshAlternative row{.mesh = candidate.mesh(), .shards_states = shards || always};
      const absl::StatusOr<double> seconds = StepSeconds(candidate, ops, origins, cost);
      if (seconds.ok()) {
        row.step_seconds = *seconds;
      } else {
        row.refusal = std::string(seconds.status().message());
        if (!refused) refused = seconds.status().code();
      }
      choice.alternatives.push_back(std::move(row));
    }
  }
  std::stable_sort(choice.alternatives.begin(), choice.alternatives.end(),
                   [](const MeshAlternative& a, const MeshAlternative& b) {
                     if (a.refusal.empty() != b.refusal.empty()) return a.refusal.empty();
                     return a.step_seconds < b.step_seconds;
                   });
  const MeshAlternative& best = choice.alternatives.front();
  if (!best.refusal.empty()) {
    std::string text = absl::StrCat(WhereWritten(origins, "mesh"), ": \"", choice.asked,
                                    "\": no mesh of so many ranks is possible:");
    for (const MeshAlternative& row : choice.alternatives) {
      absl::StrAppend(&text, "\n  ", row.mesh, ": ", row.refusal);
    }
    return absl::Status(*refused, text);
  }
  job->set_mesh(best.mesh);
  if (open) {
    job->mutable_plan()->set_shard_states(best.shards_states ? Job::Plan::ALWAYS
                                                             : Job::Plan::NEVER);
  }
  return choice;
}

std::string MeshChoiceText(const MeshChoice& choice) {
  if (choice.alternatives.empty()) return "";
  TextTable table({"mesh", "optimizer states", ">predicted step", "why not"});
  for (const MeshAlternative& row : choice.alternatives) {
    const bool possible = row.refusal.empty();
    table.Add({row.mesh, row.shards_states ? "split over data" : "as parameters",
               possible ? HumanSeconds(row.step_seconds) : "-", row.refusal});
  }
  return absl::StrCat("mesh ", choice.asked, ": {", choice.alternatives.front().mesh,
                      "} has the shortest predicted step\n", table.Text(2), "\n");
}

}  // namespace weft

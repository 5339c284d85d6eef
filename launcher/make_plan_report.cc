#include "launcher/make_plan_report.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "actors/simulation.h"
#include "launcher/job_graph.h"
#include "launcher/plan_graph_report.h"
#include "launcher/plan_rank_report.h"
#include "launcher/rank_twins.h"
#include "launcher/step_times.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Enough for the start to weigh little in the mean.
constexpr int kSimulatedSteps = 4;
constexpr size_t kLongestWaits = 10;

class ReportMaker {
 public:
  ReportMaker(const Job& job, const Program& program, LinkTable links,
              const PlanReportOptions& options)
      : job_(job), program_(program), options_(options), links_(std::move(links)) {}

  absl::StatusOr<PlanReport> Run() {
    ReportJob();
    WEFT_ASSIGN_OR_RETURN(stages_, ReportGraph(program_, report_));
    FoldBlocks(report_);
    WEFT_RETURN_IF_ERROR(LookAtRanks());
    ChooseRanks();
    if (options_.times) WEFT_RETURN_IF_ERROR(Predict());
    for (int rank : full_) {
      WEFT_ASSIGN_OR_RETURN(const Plan plan, PlanOf(rank));
      report_.ranks.push_back(
          ReportRank(program_, RowsOf(rank), plan, report_.values, TimelineOf(rank)));
    }
    return std::move(report_);
  }

 private:
  void ReportJob() {
    const Graph& graph = program_.graph;
    report_.job.name = job_.name();
    report_.job.microbatches = job_.train().microbatches();
    report_.job.microbatch_rows = MicrobatchRows(job_);
    for (const Variable& variable : graph.variables) {
      if (variable.trainable) {
        report_.job.parameters += NumElements(graph.spec(variable.value).shape);
      }
    }
    const CostModel& cost = program_.cost;
    report_.machine = {cost.flops_per_second, cost.memory_bytes_per_second,
                       cost.link_bytes_per_second, cost.link_latency, cost.groups};
    report_.layouts.proof = program_.layouts.Text();
    if (options_.times) report_.layouts.seconds = RoundedSeconds(program_.layouts.seconds);
    report_.meshes = graph.meshes;
    report_.times = options_.times;
    report_.num_ranks = WorldSize(graph);
  }

  int StageOf(int rank) const {
    return static_cast<int>(program_.StageOf(rank) - program_.stages.data());
  }
  const StageRows& RowsOf(int rank) const { return stages_[StageOf(rank)]; }

  // Of a rank that is the first of its kind; kept from before unless there were too many.
  absl::StatusOr<Plan> PlanOf(int rank) const {
    const auto kept = plans_.find(rank);
    if (kept != plans_.end()) return kept->second;
    return InstantiatePlan(program_, rank);
  }

  absl::Status LookAtRanks() {
    WEFT_ASSIGN_OR_RETURN(twins_, FindTwins(program_, links_));
    std::vector<size_t> class_of(twins_.size());
    for (int rank = 0; rank < report_.num_ranks; ++rank) {
      if (twins_[rank] == rank) {
        WEFT_ASSIGN_OR_RETURN(Plan plan, InstantiatePlan(program_, rank));
        class_of[rank] = report_.rank_classes.size();
        report_.rank_classes.push_back({{},
                                        StageOf(rank),
                                        plan.arena_bytes(),
                                        VariableBytes(plan),
                                        plan.bytes_sent_per_step()});
        if (plans_.size() < options_.most_simulated_kinds) plans_[rank] = std::move(plan);
      }
      report_.rank_classes[class_of[twins_[rank]]].ranks.push_back(rank);
    }
    return absl::OkStatus();
  }

  // The first of each class; the first of each stage before others.
  void ChooseRanks() {
    std::vector<int> others;
    std::set<int> stages;
    for (const PlanReport::RankClass& one : report_.rank_classes) {
      (stages.insert(one.stage).second ? full_ : others).push_back(one.ranks[0]);
    }
    full_.insert(full_.end(), others.begin(), others.end());
    if (full_.size() > options_.most_full_ranks) {
      report_.left_out.push_back(absl::StrCat("channels, stream lists, memory and timelines of ",
                                              full_.size() - options_.most_full_ranks, " of ",
                                              full_.size(), " kinds of ranks"));
      full_.resize(options_.most_full_ranks);
    }
    std::sort(full_.begin(), full_.end());
  }

  absl::Status Predict() {
    if (report_.rank_classes.size() > options_.most_simulated_kinds) {
      report_.left_out.push_back(absl::StrCat(
          "a prediction of so many ranks together (ask weft simulate); timelines are those of the "
          "virtual step that orders the plan, the same for all ranks of a stage"));
      std::set<int> stages;
      for (int rank : full_) {
        if (!stages.insert(StageOf(rank)).second) continue;
        report_.timelines.push_back({rank, VirtualTimeline(RowsOf(rank))});
      }
      return absl::OkStatus();
    }
    WEFT_ASSIGN_OR_RETURN(const Simulation simulation,
                          SimulatePlans(
                              report_.num_ranks, [this](int rank) { return PlanOf(rank); }, links_,
                              kSimulatedSteps, twins_, full_));
    ReportPrediction(simulation);
    for (int rank : full_) report_.timelines.push_back({rank, Timeline(simulation, rank)});
    return absl::OkStatus();
  }

  void ReportPrediction(const Simulation& simulation) {
    PlanReport::Prediction& prediction = report_.prediction;
    prediction.known = true;
    prediction.step_seconds = RoundedSeconds(simulation.step_seconds);
    for (size_t s = 0; s < simulation.streams.size(); ++s) {
      double busiest = 0;
      for (const Simulation::Rank& rank : simulation.ranks) {
        busiest = std::max(busiest, rank.busy[s]);
      }
      prediction.busy.emplace_back(simulation.streams[s], RoundedSeconds(busiest));
    }
    for (size_t r = 0; r < simulation.ranks.size(); ++r) {
      const double exposed = RoundedSeconds(simulation.ranks[r].exposed_communication);
      if (exposed <= prediction.exposed_seconds) continue;
      prediction.exposed_seconds = exposed;
      prediction.exposed_rank = static_cast<int>(r);
    }
    for (const Simulation::Wait& wait : simulation.waits) {
      if (prediction.waits.size() == kLongestWaits) break;
      prediction.waits.push_back({RoundedSeconds(wait.seconds), wait.rank, wait.actor, wait.cause});
    }
  }

  std::vector<PlanReport::Stream> Timeline(const Simulation& simulation, int rank) const {
    const std::vector<int>& actors = RowsOf(rank).actors;
    std::vector<PlanReport::Stream> streams;
    for (size_t s = 0; s < simulation.streams.size(); ++s) {
      PlanReport::Stream& stream = streams.emplace_back();
      stream.name = simulation.streams[s];
      for (const Simulation::Firing& firing : simulation.ranks[rank].first_step[s]) {
        const int actor = actors[firing.actor];
        const bool many = report_.actors[actor].firings > 1;
        stream.timeline.push_back({actor, many ? firing.index : -1, RoundedSeconds(firing.begin),
                                   RoundedSeconds(firing.end)});
      }
    }
    return streams;
  }

  // The rank's, or one of its stage where the virtual step is all there is.
  std::vector<PlanReport::Stream> TimelineOf(int rank) const {
    for (const PlanReport::Timeline& timeline : report_.timelines) {
      if (timeline.rank == rank) return timeline.streams;
    }
    for (const PlanReport::Timeline& timeline : report_.timelines) {
      if (StageOf(timeline.rank) == StageOf(rank)) return timeline.streams;
    }
    return {};
  }

  const Job& job_;
  const Program& program_;
  const PlanReportOptions& options_;
  const LinkTable links_;
  PlanReport report_;
  std::vector<StageRows> stages_;
  std::vector<int> twins_;     // by rank
  std::map<int, Plan> plans_;  // of the first ranks of their kinds
  std::vector<int> full_;
};

// What must be equal for two blocks to be one.
std::string OpSignature(const PlanReport& report, const PlanReport::Op& op) {
  std::string text = absl::StrCat(op.kind, "/", static_cast<int>(op.part), "/", op.microbatch);
  const auto add = [&](const std::vector<int>& values) {
    for (int v : values) {
      if (v < 0) {
        absl::StrAppend(&text, " -");
        continue;
      }
      const PlanReport::Value& value = report.values[v];
      absl::StrAppend(&text, " ", value.type, value.layout, "@", value.mesh);
    }
  };
  add(op.inputs);
  absl::StrAppend(&text, " ->");
  add(op.outputs);
  return text;
}

}  // namespace

void FoldBlocks(PlanReport& report) {
  std::vector<std::string> signatures(report.blocks.size());
  for (const PlanReport::Op& op : report.ops) {
    absl::StrAppend(&signatures[op.block], OpSignature(report, op), "\n");
  }
  std::map<std::string_view, int> first;
  for (size_t b = 0; b < signatures.size(); ++b) {
    const auto [it, is_new] = first.try_emplace(signatures[b], static_cast<int>(b));
    report.blocks[b].same_as = is_new || signatures[b].empty() ? -1 : it->second;
  }
}

absl::StatusOr<PlanReport> MakePlanReport(const Job& job, const Program& program, LinkTable links,
                                          const PlanReportOptions& options) {
  return ReportMaker(job, program, std::move(links), options).Run();
}

}  // namespace weft

#include "launcher/plan_text.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "actors/simulation.h"
#include "launcher/cluster.h"
#include "launcher/job_graph.h"
#include "launcher/memory_holders.h"
#include "launcher/rank_twins.h"
#include "launcher/text_table.h"
#include "parallel/compile.h"
#include "runtime/human_units.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Enough for the start to weigh little in the mean.
constexpr int kForecastSteps = 4;
// A simulation holds the plans of all kinds of ranks; for more it is left to `weft simulate`.
constexpr size_t kMostForecastPlans = 64;

// What the text says of each rank; its plan may be far larger.
struct RankFigures {
  int rank = 0;
  int64_t arena_bytes = 0, variable_bytes = 0, bytes_sent = 0;

  bool needs_as(const RankFigures& other) const {
    return arena_bytes == other.arena_bytes && variable_bytes == other.variable_bytes &&
           bytes_sent == other.bytes_sent;
  }
};

std::string Count(int64_t count, const char* one) {
  return absl::StrCat(HumanCount(count), " ", one, count == 1 ? "" : "s");
}

// "853,120 B (833 KiB)": exact, then readable.
std::string ExactBytes(int64_t bytes) {
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  return absl::StrCat(HumanCount(bytes), " B (", HumanBytes(bytes), ")");
}

class PlanWriter {
 public:
  PlanWriter(const Job& job, const Program& program, LinkTable links,
             const PlanTextOptions& options)
      : job_(job),
        program_(program),
        graph_(program.graph),
        options_(options),
        links_(std::move(links)) {}

  absl::StatusOr<std::string> Write() {
    WEFT_ASSIGN_OR_RETURN(twins_, FindTwins(program_, links_));
    for (int rank = 0; rank < WorldSize(graph_); ++rank) {
      if (twins_[rank] != rank) {  // a lower rank needs the same
        ranks_.push_back(ranks_[twins_[rank]]);
        ranks_.back().rank = rank;
        continue;
      }
      WEFT_ASSIGN_OR_RETURN(Plan plan, InstantiatePlan(program_, rank));
      ranks_.push_back({rank, plan.arena_bytes(), VariableBytes(plan), plan.bytes_sent_per_step()});
      if (rank == 0) plan_ = plan;
      ++kinds_;
      if (kinds_ <= kMostForecastPlans) plans_[rank] = std::move(plan);
    }
    WEFT_ASSIGN_OR_RETURN(const std::string header, Header());
    return absl::StrCat(header, "\n", Layouts(), "\n", Conversions(), "\n", Memory(), "\n",
                        Channels(), "\n", Streams());
  }

 private:
  absl::StatusOr<std::string> Header() const {
    const Mesh& mesh = graph_.meshes[0];
    int64_t parameters = 0, sent = 0;
    for (const Variable& variable : graph_.variables) {
      if (variable.trainable) parameters += NumElements(graph_.spec(variable.value).shape);
    }
    for (const RankFigures& rank : ranks_) sent += rank.bytes_sent;
    std::string text = absl::StrCat(
        "job ", job_.name(), ": mesh {", mesh.ToString(), "}, ", Count(mesh.size(), "rank"), ", ",
        Count(parameters, "parameter"), ", ", Count(graph_.nodes.size(), "op"), " in ",
        Count(Actors(), "actor"), ", ", HumanCount(job_.train().microbatches()),
        job_.train().microbatches() == 1 ? " microbatch" : " microbatches");
    absl::StrAppend(&text, " of ", Count(MicrobatchRows(job_), "row"), "\n");
    absl::StrAppend(&text, "predicted: ", ExactBytes(sent), " sent a step by all ranks");
    if (options_.times) {
      WEFT_ASSIGN_OR_RETURN(const std::string times, Times());
      absl::StrAppend(&text, ", ", times);
    }
    return text + "\n";
  }

  // Over all stages; a conversion between two is one.
  size_t Actors() const {
    std::set<int> depths;
    for (const StageProgram& stage : program_.stages) {
      for (const LoweredActor& actor : stage.lowered.actors) depths.insert(actor.depth);
    }
    return depths.size();
  }

  absl::StatusOr<std::string> Times() const {
    if (kinds_ > kMostForecastPlans) {
      return absl::StrCat("step time of so many ranks: ask weft simulate\n", Machine());
    }
    WEFT_ASSIGN_OR_RETURN(const Simulation simulation,
                          SimulatePlans(
                              static_cast<int>(ranks_.size()),
                              [this](int rank) -> absl::StatusOr<Plan> { return plans_.at(rank); },
                              links_, kForecastSteps, twins_));
    std::string text = absl::StrCat(HumanSeconds(simulation.step_seconds), " a step (");
    for (size_t s = 0; s < simulation.streams.size(); ++s) {
      double busiest = 0;
      for (const Simulation::Rank& rank : simulation.ranks) {
        busiest = std::max(busiest, rank.busy[s]);
      }
      absl::StrAppend(&text, s > 0 ? ", " : "", simulation.streams[s], " ", HumanSeconds(busiest));
    }
    return absl::StrCat(text, ")\n", Machine());
  }

  std::string Machine() const {
    const CostModel& cost = program_.cost;
    std::string text = absl::StrFormat(
        "modelled machine: %.6g GFLOP/s and %.4g GB/s of memory a rank, "
        "links of %.4g GB/s and %s",
        cost.flops_per_second / 1e9, cost.memory_bytes_per_second / 1e9,
        cost.link_bytes_per_second / 1e9, HumanSeconds(cost.link_latency));
    for (const CostModel::Group& group : cost.groups) {
      absl::StrAppend(&text, "\n  measured along ", group.axis.empty() ? "any axis" : group.axis,
                      " of ", group.size, ": ",
                      absl::StrFormat("%.3g GB/s and ", group.link.bytes_per_second / 1e9),
                      HumanSeconds(group.link.latency));
    }
    return text;
  }

  std::string Layouts() const {
    TextTable table({"made by", "value", "type", "layout"});
    const auto row = [&](const std::string& what, Value v) {
      table.Add({what, graph_.info(v).name, graph_.spec(v).ToString(),
                 ToString(graph_.info(v).layout, graph_.mesh(v))});
    };
    for (const GraphInput& input : graph_.inputs) row("input", input.value);
    for (const Variable& variable : graph_.variables) row("variable", variable.value);
    for (const Node& node : graph_.nodes) {
      for (Value v : node.outputs) row(node.is_reshard() ? "conversion" : node.op->name, v);
    }
    return absl::StrCat("layouts, ", program_.layouts.Text(), " for the modelled machine\n",
                        table.Text(2));
  }

  std::string Conversions() const {
    const int microbatches = static_cast<int>(job_.train().microbatches());
    std::vector<std::string> headings = {"value", "from", "to", "how", ">bytes", ">a step"};
    if (options_.times) headings.push_back(">time");
    headings.push_back("for");
    TextTable table(std::move(headings));
    int64_t total = 0;
    double seconds = 0;
    for (const Conversion& c : program_.conversions) {
      const int times = c.microbatch ? microbatches : 1;
      total += c.bytes * times;
      seconds += c.seconds * times;
      std::vector<std::string> cells = {
          c.value, c.from, c.to, c.how, HumanBytes(c.bytes), absl::StrCat(times, "x")};
      if (options_.times) cells.push_back(HumanSeconds(c.seconds));
      cells.push_back(c.consumer);
      table.Add(std::move(cells));
    }
    std::string text = absl::StrCat("conversions: ", program_.conversions.size());
    if (program_.conversions.empty()) return text + "\n";
    absl::StrAppend(&text, ", ", HumanBytes(total), " a step over all ranks");
    if (options_.times) absl::StrAppend(&text, ", ", HumanSeconds(seconds));
    return absl::StrCat(text, "\n", table.Text(2));
  }

  // One row for each run of ranks that need the same.
  std::string Memory() const {
    TextTable ranks({"ranks", ">arena", ">variables", ">together", ">sends a step"});
    for (size_t first = 0, next = 0; first < ranks_.size(); first = next) {
      const RankFigures& rank = ranks_[first];
      next = first + 1;
      while (next < ranks_.size() && ranks_[next].needs_as(rank)) ++next;
      std::string range = absl::StrCat(rank.rank);
      if (next > first + 1) absl::StrAppend(&range, "-", ranks_[next - 1].rank);
      ranks.Add({range, HumanBytes(rank.arena_bytes), HumanBytes(rank.variable_bytes),
                 HumanBytes(rank.arena_bytes + rank.variable_bytes), ExactBytes(rank.bytes_sent)});
    }
    const std::vector<MemoryHolder> holders = MemoryHolders(plan_);
    TextTable table({">bytes", ">slots", "value", "part", "written by", "last read by"});
    const size_t shown = std::min(options_.holders, holders.size());
    for (size_t i = 0; i < shown; ++i) {
      const MemoryHolder& h = holders[i];
      table.Add({HumanBytes(h.bytes), absl::StrCat(h.slots), h.name, h.part, h.from, h.until});
    }
    return absl::StrCat("memory\n", ranks.Text(2), "the ", shown, " largest holders of ",
                        holders.size(), " on rank ", plan_.rank(),
                        " (values whose lives do not overlap share memory)\n", table.Text(2));
  }

  std::string Channels() const {
    const Plan& plan = plan_;
    TextTable table({"channel", ">slots", ">writes", ">reads", ">full at start", "from", "to"});
    for (const ChannelDef& channel : plan.channels()) {
      std::vector<std::string> reads, readers;
      for (const ConsumerDef& consumer : channel.consumers()) {
        reads.push_back(absl::StrCat(consumer.reads_per_slot()));
        readers.push_back(plan.actors(consumer.actor()).name());
      }
      table.Add({channel.name(), absl::StrCat(channel.slots()),
                 absl::StrCat(channel.writes_per_slot()), absl::StrJoin(reads, ","),
                 absl::StrCat(channel.initial()), plan.actors(channel.producer()).name(),
                 absl::StrJoin(readers, ", ")});
    }
    return absl::StrCat("channels of rank ", plan.rank(),
                        " (writes and reads: firings for one slot)\n", table.Text(2));
  }

  std::string Streams() const {
    const Plan& plan = plan_;
    std::string text = absl::StrCat("streams of rank ", plan.rank(), ", in firing order\n");
    for (const StreamDef& stream : plan.streams()) {
      absl::StrAppend(&text, "  ", stream.name(), ": ", Count(stream.order_size(), "firing"), "\n");
      const bool computes = std::any_of(stream.order().begin(), stream.order().end(),
                                        [&](int a) { return plan.actors(a).has_compute(); });
      std::vector<std::string> headings = {">#", "actor"};
      if (computes) headings.push_back(">kernels");
      if (options_.times) headings.push_back(">time");
      TextTable table(std::move(headings));
      int number = 0;
      for (int a : stream.order()) {
        const ActorDef& actor = plan.actors(a);
        std::vector<std::string> cells = {absl::StrCat(++number), actor.name()};
        if (computes) cells.push_back(absl::StrCat(actor.compute().calls_size()));
        if (options_.times) cells.push_back(HumanSeconds(actor.seconds()));
        table.Add(std::move(cells));
      }
      absl::StrAppend(&text, table.Text(4));
    }
    return text;
  }

  const Job& job_;
  const Program& program_;
  const Graph& graph_;
  const PlanTextOptions& options_;
  LinkTable links_;
  std::vector<int> twins_;  // by rank
  std::vector<RankFigures> ranks_;
  std::map<int, Plan> plans_;  // of ranks without a lower twin
  size_t kinds_ = 0;           // how many ranks that are
  Plan plan_;                  // of the first rank
};

}  // namespace

absl::StatusOr<std::string> PlanText(const Job& job, const OpRegistry& ops,
                                     const PlanTextOptions& options) {
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
  return PlanWriter(job, *program, std::move(links), options).Write();
}

}  // namespace weft

// What a plan's report says agrees with itself and with the plans, in every form it is written in.
#include "launcher/plan_report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "kernels/all_ops.h"
#include "launcher/job.h"
#include "launcher/job_graph.h"
#include "launcher/make_plan_report.h"
#include "launcher/plan_dot.h"
#include "launcher/plan_html.h"
#include "launcher/plan_json.h"
#include "launcher/plan_output.h"
#include "launcher/plan_text.h"

namespace weft {
namespace {

using nlohmann::json;

Job TinyJob(const std::string& mesh, std::vector<std::string> sets = {}) {
  sets.push_back("data.sequence=32");
  absl::StatusOr<Job> job =
      LoadJob(WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt", {.sets = std::move(sets), .mesh = mesh});
  EXPECT_TRUE(job.ok()) << job.status();
  return *std::move(job);
}

PlanReport ReportTiny(const std::string& mesh, std::vector<std::string> sets = {},
                      const PlanReportOptions& options = {}) {
  OpRegistry ops;
  DefineAllOps(ops);
  absl::StatusOr<PlanReport> report = ReportPlan(TinyJob(mesh, std::move(sets)), ops, options);
  EXPECT_TRUE(report.ok()) << report.status();
  return *std::move(report);
}

// The type of every element of `list`'s objects by key, as JSON names them.
void ExpectFields(const json& list,
                  const std::vector<std::pair<const char*, const char*>>& fields) {
  ASSERT_TRUE(list.is_array());
  ASSERT_FALSE(list.empty());
  for (const json& row : list) {
    ASSERT_EQ(row.size(), fields.size()) << row;
    for (const auto& [key, type] : fields) {
      ASSERT_TRUE(row.contains(key)) << key << " of " << row;
      EXPECT_EQ(std::string(row.at(key).type_name()), type) << key << " of " << row;
    }
  }
}

void ExpectReference(const json& index, const json& list) {
  EXPECT_GE(index.get<int>(), -1);
  EXPECT_LT(index.get<int>(), static_cast<int>(list.size()));
}

class PlanReportTest : public ::testing::TestWithParam<const char*> {};

TEST_P(PlanReportTest, JsonHasTheDocumentedFields) {
  const json plan = json::parse(PlanJsonText(ReportTiny(GetParam())));
  EXPECT_EQ(plan.at("schema"), "weft.plan");
  EXPECT_EQ(plan.at("version"), kPlanJsonVersion);
  const char *text = "string", *number = "number", *list = "array", *flag = "boolean";
  ExpectFields(plan.at("meshes"), {{"text", text}, {"axes", list}, {"ranks", list}});
  ExpectFields(plan.at("blocks"), {{"name", text}, {"same_as", number}});
  ExpectFields(plan.at("values"), {{"name", text},
                                   {"made_by", text},
                                   {"type", text},
                                   {"layout", text},
                                   {"mesh", number},
                                   {"bytes", number},
                                   {"op", number},
                                   {"block", number},
                                   {"part", text},
                                   {"rate", text},
                                   {"annotated", flag}});
  ExpectFields(plan.at("ops"), {{"name", text},
                                {"kind", text},
                                {"inputs", list},
                                {"outputs", list},
                                {"block", number},
                                {"part", text},
                                {"rate", text},
                                {"actor", number}});
  ExpectFields(plan.at("conversions"), {{"op", number},
                                        {"from", number},
                                        {"to", number},
                                        {"from_layout", text},
                                        {"to_layout", text},
                                        {"how", text},
                                        {"consumer", text},
                                        {"reason", text},
                                        {"asked", flag},
                                        {"bytes", number},
                                        {"firings", number},
                                        {"seconds", number}});
  ExpectFields(plan.at("stages"), {{"meshes", list}, {"ranks", list}});
  ExpectFields(plan.at("actors"), {{"name", text},
                                   {"stages", list},
                                   {"stream", text},
                                   {"kind", text},
                                   {"firings", number},
                                   {"kernels", number},
                                   {"ops", list},
                                   {"block", number},
                                   {"part", text},
                                   {"seconds", number}});
  ExpectFields(plan.at("rank_classes"), {{"ranks", list},
                                         {"stage", number},
                                         {"arena_bytes", number},
                                         {"variable_bytes", number},
                                         {"bytes_sent", number}});
  ExpectFields(plan.at("ranks"), {{"rank", number},
                                  {"stage", number},
                                  {"channels", list},
                                  {"streams", list},
                                  {"memory", "object"}});
  ExpectFields(plan.at("timelines"), {{"rank", number}, {"streams", list}});
  const json& rank = plan.at("ranks")[0];
  ExpectFields(rank.at("channels"), {{"name", text},
                                     {"slots", number},
                                     {"writes_per_slot", number},
                                     {"initial", number},
                                     {"writer", number},
                                     {"readers", list},
                                     {"bytes", number}});
  ExpectFields(rank.at("memory").at("holders"), {{"name", text},
                                                 {"bytes", number},
                                                 {"slots", number},
                                                 {"part", text},
                                                 {"category", text},
                                                 {"from", text},
                                                 {"until", text},
                                                 {"lifetimes", list}});
  for (const char* key : {"job", "machine", "layouts", "prediction"})
    EXPECT_TRUE(plan.at(key).is_object());
}

TEST_P(PlanReportTest, ReferencesHold) {
  const json plan = json::parse(PlanJsonText(ReportTiny(GetParam())));
  const json &values = plan.at("values"), &ops = plan.at("ops"), &actors = plan.at("actors");
  for (size_t v = 0; v < values.size(); ++v) {
    ExpectReference(values[v].at("op"), ops);
    ExpectReference(values[v].at("block"), plan.at("blocks"));
    if (values[v].at("op") == -1) continue;
    const json& made = ops[values[v].at("op").get<size_t>()].at("outputs");
    EXPECT_NE(std::find(made.begin(), made.end(), json(v)), made.end()) << values[v];
  }
  std::set<int> converting;
  for (const json& c : plan.at("conversions")) {
    const json& op = ops[c.at("op").get<size_t>()];
    EXPECT_EQ(op.at("kind"), "conversion");
    EXPECT_EQ(op.at("inputs"), json::array({c.at("from")}));
    EXPECT_EQ(op.at("outputs"), json::array({c.at("to")}));
    EXPECT_EQ(values[c.at("to").get<size_t>()].at("layout"), c.at("to_layout"));
    converting.insert(c.at("op").get<int>());
  }
  for (size_t o = 0; o < ops.size(); ++o) {
    EXPECT_EQ(ops[o].at("kind") == "conversion", converting.count(static_cast<int>(o)) == 1);
    for (const json& v : ops[o].at("inputs")) ExpectReference(v, values);
    ExpectReference(ops[o].at("actor"), actors);
    if (ops[o].at("actor") == -1) {  // the kernel before it adds in place
      EXPECT_EQ(ops[o].at("kind"), "accumulate");
      continue;
    }
    const json& run = actors[ops[o].at("actor").get<size_t>()].at("ops");
    EXPECT_NE(std::find(run.begin(), run.end(), json(o)), run.end()) << ops[o];
  }
}

TEST_P(PlanReportTest, BytesOfConversionsAreThoseOfThePlans) {
  const PlanReport report = ReportTiny(GetParam(), {"train.microbatches=2"});
  int64_t sent = 0, ranks = 0;
  for (const PlanReport::Conversion& c : report.conversions) sent += c.bytes * c.firings;
  EXPECT_EQ(sent, report.bytes_sent);
  for (const PlanReport::RankClass& one : report.rank_classes) {
    sent -= one.bytes_sent * static_cast<int64_t>(one.ranks.size());
    ranks += static_cast<int64_t>(one.ranks.size());
  }
  EXPECT_EQ(sent, 0);
  EXPECT_EQ(ranks, report.num_ranks);
}

TEST_P(PlanReportTest, TimelinesAreTheStreamListsInTime) {
  const PlanReport report = ReportTiny(GetParam(), {"train.microbatches=2"});
  ASSERT_EQ(report.timelines.size(), report.rank_classes.size());
  ASSERT_EQ(report.ranks.size(), report.rank_classes.size());
  for (size_t r = 0; r < report.timelines.size(); ++r) {
    const PlanReport::Timeline& timeline = report.timelines[r];
    EXPECT_EQ(timeline.rank, report.ranks[r].rank);
    for (size_t s = 0; s < timeline.streams.size(); ++s) {
      std::vector<int> fired;
      double last = 0;
      for (const PlanReport::Firing& firing : timeline.streams[s].timeline) {
        EXPECT_GE(firing.begin, last);
        EXPECT_GE(firing.end, firing.begin);
        EXPECT_EQ(firing.microbatch >= 0, report.actors[firing.actor].firings > 1);
        last = firing.end;
        fired.push_back(firing.actor);
      }
      EXPECT_EQ(fired, report.ranks[r].streams[s].order);
      EXPECT_LE(last, report.prediction.step_seconds * 1.5);
    }
  }
  EXPECT_GE(report.prediction.step_seconds, report.prediction.exposed_seconds);
}

// In bf16 parts lie within what is gathered from them, and are not counted twice.
TEST_P(PlanReportTest, MemoryOverTimePeaksAtTheLowerBound) {
  const PlanReport report = ReportTiny(GetParam());
  const PlanReport mixed = ReportTiny(GetParam(), {"train.dtype=BF16"});
  std::vector<PlanReport::Rank> ranks = report.ranks;
  ranks.insert(ranks.end(), mixed.ranks.begin(), mixed.ranks.end());
  for (const PlanReport::Rank& rank : ranks) {
    const PlanReport::Memory& memory = rank.memory;
    int64_t peak = 0;
    double last = 0;
    for (const PlanReport::MemoryPoint& point : memory.curve) {
      peak = std::max(peak, std::accumulate(point.bytes.begin(), point.bytes.end(), int64_t{0}));
      EXPECT_GE(point.seconds, last);
      last = point.seconds;
    }
    EXPECT_EQ(peak - memory.variable_bytes, memory.lower_bound_bytes);
    EXPECT_LE(memory.lower_bound_bytes, memory.arena_bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(Meshes, PlanReportTest,
                         ::testing::Values("model:2", "data:3", "data:2,model:2", "data:2,stage:2"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase_if(name, [](char c) { return c == ':' || c == ','; });
                           return name;
                         });

TEST(PlanReportBlocksTest, LayersFoldAndPartsAreTold) {
  const PlanReport report = ReportTiny("data:2");
  std::vector<std::string> names;
  for (const PlanReport::Block& block : report.blocks) names.push_back(block.name);
  EXPECT_EQ(names, (std::vector<std::string>{"before the layers", "layers.0", "layers.1",
                                             "layers.2", "layers.3", "after the layers"}));
  EXPECT_EQ(report.blocks[1].same_as, -1);
  EXPECT_EQ(report.blocks[2].same_as, 1);
  const auto place_of = [&](const std::string& name) -> std::pair<std::string, std::string> {
    for (const PlanReport::Op& op : report.ops) {
      if (op.name == name) return {report.blocks[op.block].name, Name(op.part)};
    }
    return {"no op", name};
  };
  using Place = std::pair<std::string, std::string>;
  EXPECT_EQ(place_of("embed"), Place("before the layers", "forward"));
  EXPECT_EQ(place_of("layers.2.mlp.output"), Place("layers.2", "forward"));
  EXPECT_EQ(place_of("grad.layers.2.mlp.up"), Place("layers.2", "backward"));
  EXPECT_EQ(place_of("token_loss"), Place("after the layers", "forward"));
  EXPECT_EQ(place_of("grad.embedding"), Place("before the layers", "backward"));
  EXPECT_EQ(place_of("grad.head"), Place("after the layers", "backward"));
  EXPECT_EQ(place_of("clip.scale"), Place("after the layers", "optimizer"));
}

// Uneven rows make kinds of ranks; what is not said of all of them is named.
TEST(PlanReportRanksTest, OneOfEachKindStandsForOthers) {
  const PlanReport even = ReportTiny("data:4", {"plan.shard_states=NEVER"});
  EXPECT_EQ(even.num_ranks, 4);
  ASSERT_EQ(even.rank_classes.size(), 1u);
  EXPECT_EQ(even.rank_classes[0].ranks, (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(even.timelines.size(), 1u);
  EXPECT_TRUE(even.left_out.empty());
  const PlanReport whole = ReportTiny("data:3,model:2");
  ASSERT_GT(whole.rank_classes.size(), 1u);
  EXPECT_EQ(whole.ranks.size(), whole.rank_classes.size());
  EXPECT_EQ(PlanText(whole).find("weft simulate"), std::string::npos);
  const PlanReport cut = ReportTiny("data:3,model:2", {}, {.most_full_ranks = 1});
  EXPECT_EQ(cut.rank_classes.size(), whole.rank_classes.size());
  EXPECT_EQ(cut.ranks.size(), 1u);
  EXPECT_EQ(cut.timelines.size(), 1u);
  ASSERT_EQ(cut.left_out.size(), 1u);
  EXPECT_EQ(cut.prediction.step_seconds, whole.prediction.step_seconds);
}

TEST(PlanReportRanksTest, WithoutAPredictionTimelinesAreVirtual) {
  const PlanReport report = ReportTiny("data:2,stage:2", {}, {.most_simulated_kinds = 1});
  EXPECT_FALSE(report.prediction.known);
  EXPECT_EQ(report.left_out.size(), 1u);
  ASSERT_EQ(report.timelines.size(), 2u);  // one of each stage
  for (size_t r = 0; r < 2; ++r) {
    ASSERT_EQ(report.timelines[r].rank, report.ranks[r].rank);
    for (size_t s = 0; s < report.ranks[r].streams.size(); ++s) {
      const PlanReport::Stream& stream = report.timelines[r].streams[s];
      std::vector<int> fired;
      for (const PlanReport::Firing& firing : stream.timeline) fired.push_back(firing.actor);
      EXPECT_EQ(fired, report.ranks[r].streams[s].order);
      EXPECT_EQ(stream.name, report.ranks[r].streams[s].name);
    }
    EXPECT_FALSE(report.ranks[r].memory.curve.empty());
  }
  EXPECT_NE(PlanText(report).find("weft simulate"), std::string::npos);
}

// Every stage is there, its ranks run its own actors alone, and what goes between two is one actor
// of both, as is what all ranks do.
TEST(PlanReportStagesTest, ActorsKnowTheirStages) {
  const PlanReport report =
      ReportTiny("stage:2,data:2", {"train.microbatches=4", "model.decoder.layers=8",
                                    "plan.shard_states=NEVER"});
  ASSERT_EQ(report.stages.size(), 2u);
  EXPECT_EQ(report.stages[0].ranks, (std::vector<int>{0, 1}));
  EXPECT_EQ(report.stages[1].ranks, (std::vector<int>{2, 3}));
  ASSERT_EQ(report.ranks.size(), 4u);  // in a sum one rank's own part comes first
  std::vector<std::set<int>> fired(2);
  for (const PlanReport::Rank& rank : report.ranks) {
    for (const PlanReport::Stream& stream : rank.streams) {
      for (int a : stream.order) {
        EXPECT_EQ(report.actors[a].stream, stream.name);
        fired[rank.stage].insert(a);
      }
    }
    for (const PlanReport::Channel& channel : rank.channels) {
      EXPECT_TRUE(fired[rank.stage].count(channel.writer)) << channel.name;
      for (const PlanReport::Channel::Reader& reader : channel.readers) {
        EXPECT_TRUE(fired[rank.stage].count(reader.actor)) << channel.name;
      }
    }
  }
  int between = 0;
  for (size_t a = 0; a < report.actors.size(); ++a) {
    const PlanReport::Actor& actor = report.actors[a];
    std::vector<int> stages;
    for (int s = 0; s < 2; ++s) {
      if (fired[s].count(static_cast<int>(a))) stages.push_back(s);
    }
    EXPECT_EQ(actor.stages, stages) << actor.name;
    for (int op : actor.ops) {
      std::set<int> meshes;
      for (int v : report.ops[op].inputs) {
        if (v >= 0) meshes.insert(report.values[v].mesh);
      }
      for (int v : report.ops[op].outputs) meshes.insert(report.values[v].mesh);
      const bool common = meshes.count(0) > 0;  // the mesh of all ranks
      if (actor.kind == "conversion") between += !common && meshes.size() > 1;
      if (!common) EXPECT_EQ(stages.size(), meshes.size()) << actor.name;
    }
  }
  EXPECT_GE(between, 2);  // forward and back
  int copies = 0;
  std::vector<std::set<int>> meshes(report.blocks.size());
  for (const PlanReport::Value& value : report.values) meshes[value.block].insert(value.mesh);
  for (size_t b = 0; b < report.blocks.size(); ++b) {
    if (report.blocks[b].same_as < 0) continue;
    ++copies;
    EXPECT_EQ(meshes[b], meshes[report.blocks[b].same_as]) << report.blocks[b].name;
  }
  EXPECT_GE(copies, 2);  // layers within a stage that are alike
}

TEST(PlanReportFormsTest, AllFormsNameTheSameConversions) {
  const PlanReport report = ReportTiny("data:2,model:2", {"plan.shard_states=NEVER"});
  const std::string text = PlanText(report), dot = PlanDot(report), page = PlanHtml(report);
  const std::string begin = "<script id=\"report\" type=\"application/json\">";
  const size_t at = page.find(begin) + begin.size();
  const json embedded = json::parse(page.substr(at, page.find("</script>", at) - at));
  EXPECT_EQ(embedded, json::parse(PlanJsonText(report)));  // small enough to be whole
  int drawn = 0;
  for (const PlanReport::Conversion& c : report.conversions) {
    EXPECT_NE(text.find(report.values[c.from].name), std::string::npos);
    drawn += report.blocks[report.ops[c.op].block].same_as < 0;
  }
  int octagons = 0;
  for (size_t i = dot.find("octagon"); i != std::string::npos; i = dot.find("octagon", i + 1)) {
    ++octagons;
  }
  EXPECT_EQ(octagons, drawn);
  EXPECT_GT(octagons, 0);
}

TEST(PlanReportFormsTest, ALargePageSaysWhatItLeavesOut) {
  PlanReport report = ReportTiny("data:2");
  ASSERT_TRUE(report.left_out.empty());
  std::vector<PlanReport::Firing>& firings = report.timelines[0].streams[0].timeline;
  while (firings.size() < 100'000) firings.push_back(firings.back());
  std::vector<PlanReport::Holder>& holders = report.ranks[0].memory.holders;
  while (holders.size() < 100'000) holders.push_back(holders.back());
  const PlanReport cut = CutForPage(report);
  EXPECT_LT(cut.timelines[0].streams[0].timeline.size(), 10'000u);
  EXPECT_EQ(cut.left_out.size(), 2u);
  EXPECT_LT(PlanHtml(report).size(), 2'000'000u);
}

// A name of the user's must not end the page's script.
TEST(PlanReportFormsTest, NamesAreEscaped) {
  PlanReport report = ReportTiny("data:1");
  report.job.name = "a</script><b>\"\\";
  const std::string page = PlanHtml(report);
  EXPECT_EQ(page.find("a</script>"), std::string::npos);
  EXPECT_EQ(page.find("<b>\"\\"), std::string::npos);
  EXPECT_NE(PlanDot(report).find("digraph \"a</script><b>\\\"\\\\\""), std::string::npos);
}

}  // namespace
}  // namespace weft

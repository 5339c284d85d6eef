// Jobs whose model is graph text: a decoder written as text trains as the decoder does, on any
// mesh; mutated text is an error or a plan.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "graph/decoder.h"
#include "graph/graph_text.h"
#include "kernels/all_ops.h"
#include "launcher/job.h"
#include "launcher/job_graph.h"
#include "launcher/plan_output.h"
#include "launcher/ranks.h"
#include "launcher/train.h"
#include "nlohmann/json.hpp"

namespace weft {
namespace {

std::string TempPath(const char* name) {
  return (std::filesystem::temp_directory_path() / absl::StrCat("weft_", ::getpid(), name))
      .string();
}

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  std::stringstream contents;
  contents << file.rdbuf();
  return contents.str();
}

void ExpectNear(const std::vector<double>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5 * want[i]) << i;
}

class GraphFile : public ::testing::Test {
 protected:
  GraphFile() {
    DefineAllOps(ops_);
    FillCpuKernels(ops_, kernels_);
  }
  ~GraphFile() override { std::filesystem::remove(path_); }

  // A valid job from a file of examples/jobs.
  static Job Load(const char* name, std::vector<std::string> sets, const std::string& mesh) {
    const absl::StatusOr<Job> job = LoadJob(absl::StrCat(WEFT_SOURCE_DIR "/examples/jobs/", name),
                                            {.sets = std::move(sets), .mesh = mesh});
    EXPECT_TRUE(job.ok()) << job.status();
    return job.ok() ? *job : Job();
  }

  std::vector<double> Losses(Job job, int ranks, const char* key = "loss") {
    const std::string metrics = TempPath(".jsonl");
    job.mutable_log()->set_metrics(metrics);
    absl::StatusOr<Ranks> group = Ranks::Start(ranks);
    EXPECT_TRUE(group.ok()) << group.status();
    TrainOptions options;
    options.progress = false;
    const absl::Status status = group->Run(
        [&](Transport& transport) { return TrainRank(job, ops_, kernels_, transport, options); });
    EXPECT_TRUE(status.ok()) << status;
    std::vector<double> losses;
    std::istringstream lines(ReadText(metrics));
    for (std::string line; std::getline(lines, line);) {
      const nlohmann::json row = nlohmann::json::parse(line);
      if (row.contains(key)) losses.push_back(row[key].get<double>());
      EXPECT_GT(row["mfu"].get<double>(), 0) << line;
    }
    std::filesystem::remove(metrics);
    return losses;
  }

  OpRegistry ops_;
  KernelTable kernels_;
  const std::string path_ = TempPath("_graph.pbtxt");
};

TEST_F(GraphFile, ADecoderAsTextTrainsAsTheDecoder) {
  const std::vector<std::string> sets = {
      "model.decoder.layers=1",        "data.sequence=16", "train.steps=3",
      "train.microbatches=2",          "checkpoint.dir=",  "data.held_out=0.1",
      "evaluate={every: 2 batches: 2}"};
  for (const char* mesh : {"data:1", "data:2,model:2"}) {
    const int ranks = *mesh == 'd' && mesh[5] == '1' ? 1 : 4;
    Job job = Load("tiny.pbtxt", sets, mesh);
    GraphBuilder g(ops_, *MeshOf(job), static_cast<int64_t>(job.train().seed()));
    const Value loss = BuildDecoderLoss(g, DecoderOf(job), 8, 16, DType::kF32);
    g.Output("loss", loss);
    g.Output("twice", g.Op("add", {loss, loss}));
    absl::StatusOr<Graph> graph = g.Build();
    ASSERT_TRUE(graph.ok()) << graph.status();
    std::ofstream(path_) << GraphText(*graph);
    const std::vector<double> decoder = Losses(job, ranks);
    const std::vector<double> decoder_held_out = Losses(job, ranks, "eval_loss");
    job.mutable_model()->set_graph_file(path_);
    // The further output may change how sums are shared out, so bits may differ.
    ExpectNear(Losses(job, ranks), decoder);
    ExpectNear(Losses(job, ranks, "eval_loss"), decoder_held_out);
    EXPECT_EQ(decoder_held_out.size(), 2u);
    const std::vector<double> twice = Losses(job, ranks, "twice");
    ASSERT_EQ(twice.size(), 3u);
    for (int i = 0; i < 3; ++i) EXPECT_NEAR(twice[i], 2 * decoder[i], 1e-5);
  }
}

TEST_F(GraphFile, TheExampleLearnsTheSameOnEveryMesh) {
  const std::string graph =
      absl::StrCat("model.graph_file=", WEFT_SOURCE_DIR "/examples/jobs/bigram_graph.pbtxt");
  const std::vector<std::string> sets = {graph, "train.steps=20", "evaluate.every=0"};
  const std::vector<double> one = Losses(Load("bigram.pbtxt", sets, "data:1"), 1);
  const std::vector<double> three = Losses(Load("bigram.pbtxt", sets, "data:3"), 3);
  ASSERT_EQ(one.size(), 20u);
  ASSERT_EQ(three.size(), 20u);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(three[i], one[i], 1e-4 * one[i]);
  EXPECT_LT(one.back(), one.front() - 0.5);
}

// Rows of numbers: the batch is the same however it is cut into microbatches and over ranks.
TEST_F(GraphFile, RowsOfNumbersTrainTheSameOnEveryMesh) {
  const std::string csv = TempPath("_rows.csv");
  std::ofstream rows(csv);
  rows << "a,b,y\n";
  for (int r = 0; r < 37; ++r) {
    const double a = std::sin(r), b = std::cos(3 * r);
    rows << a << "," << b << "," << 2 * a - b + 0.5 << "\n";
  }
  rows.close();
  const auto losses = [&](const std::string& mesh, int ranks, int microbatches, const char* key) {
    absl::StatusOr<Job> job = ParseJob(
        absl::StrCat(
            "model { graph_file: '", path_, "' } data { input: 'x' csv: '", csv,
            "' columns: 'a' columns: 'b' held_out: 0.25 } data { input: 'y' csv: '", csv,
            "' columns: 'y' } train { steps: 30 global_batch: 8 microbatches: ", microbatches,
            " } optimizer { adamw { lr: 0.1 } } evaluate { every: 15 } ", "mesh: '", mesh, "'"),
        "job");
    EXPECT_TRUE(job.ok()) << job.status();
    GraphBuilder g(ops_, *MeshOf(*job), 1);
    const int64_t batch = 8 / microbatches;
    const Value x = g.Input("x", {{batch, 2}, DType::kF32});
    const Value y = g.Input("y", {{batch, 1}, DType::kF32});
    const Value scale = g.Input("loss_scale", {{}, DType::kF32}, Rate::kStep);
    const Value w = g.Parameter("w", {{2, 1}, DType::kF32}, Normal(0.5));
    const Value bias = g.Parameter("bias", {{1}, DType::kF32}, Constant(0.0));
    const Value fit = g.Op("add", {g.Op("einsum", {x, w}, {{"equation", "bi,io->bo"}}), bias});
    const Value squares = g.Op("square", {g.Op("sub", {fit, y})});
    const Attrs all = {{"axes", std::vector<int64_t>{0, 1}}};
    g.Output("loss", g.Op("mul", {g.Op("reduce_sum", {squares}, all), scale}));
    g.Output("sum", g.Op("reduce_sum", {squares}, all));
    absl::StatusOr<Graph> graph = g.Build();
    EXPECT_TRUE(graph.ok()) << graph.status();
    std::ofstream(path_) << GraphText(*graph);
    return Losses(*job, ranks, key);
  };
  const auto near = [](const std::vector<double>& got, const std::vector<double>& want) {
    ASSERT_EQ(got.size(), want.size());
    // Rounding, while the loss falls a hundredfold.
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-4 * want[i]) << i;
  };
  const std::vector<double> one = losses("data:1", 1, 1, "loss");
  ASSERT_EQ(one.size(), 30u);
  EXPECT_LT(one.back(), one.front() / 10);
  near(losses("data:3", 3, 1, "loss"), one);
  near(losses("data:1", 1, 4, "loss"), one);
  near(losses("data:2", 2, 2, "loss"), one);
  const std::vector<double> held_out = losses("data:1", 1, 1, "eval_loss");
  ASSERT_EQ(held_out.size(), 2u);
  near(losses("data:2", 2, 2, "eval_loss"), held_out);
  const std::vector<double> sum = losses("data:1", 1, 1, "eval_sum");
  ASSERT_EQ(sum.size(), 2u);
  for (int i = 0; i < 2; ++i) EXPECT_NEAR(sum[i], 8 * held_out[i], 1e-5 * sum[i]);
  std::filesystem::remove(csv);
}

// Whatever the text, an error that names the file or a plan comes out.
TEST_F(GraphFile, MutatedTextIsAnErrorOrAPlan) {
  const std::string good = ReadText(WEFT_SOURCE_DIR "/examples/jobs/bigram_graph.pbtxt");
  Job job = Load("bigram.pbtxt", {absl::StrCat("model.graph_file=", path_)}, "data:2");
  const std::vector<std::string> words = {"256",      "32",     "16",   "64",      "f32",
                                          "S(0)",     "P(sum)", "B",    "\"lse\"", "\"sum\"",
                                          "\"head\"", "hidden", "STEP", "true",    "loss"};
  std::mt19937 random(11);
  int plans = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string text = good;
    const size_t at = random() % text.size();
    switch (round % 4) {
      case 0: text[at] ^= static_cast<char>(1 << (random() % 8)); break;
      case 1: text.erase(at, 1 + random() % 30); break;
      case 2: text.insert(at, good.substr(random() % good.size(), 1 + random() % 200)); break;
      default: {  // one word for another: mostly well-formed
        const std::string& word = words[random() % words.size()];
        const size_t found = text.find(word, at);
        if (found != std::string::npos) {
          text.replace(found, word.size(), words[random() % words.size()]);
        }
      }
    }
    std::ofstream(path_, std::ios::trunc) << text;
    const absl::StatusOr<PlanReport> plan = ReportPlan(job, ops_);
    if (plan.ok()) {
      ++plans;
    } else {
      EXPECT_NE(plan.status().message().find(path_), absl::string_view::npos) << plan.status();
      EXPECT_NE(plan.status().code(), absl::StatusCode::kInternal) << plan.status() << "\n" << text;
    }
  }
  EXPECT_GT(plans, 50);
}

}  // namespace
}  // namespace weft

// Random graphs on random meshes train to the same parameters as on one rank. A failure is made
// smaller and printed as a graph.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "graph/graph_text.h"
#include "kernels/all_ops.h"
#include "tests/system/mesh_run.h"
#include "tests/system/random_recipe.h"
#include "tests/system/shrink_recipe.h"

namespace weft::testing {
namespace {

// Of the tensor's largest value: orders of summation differ between meshes.
constexpr double kTolerance = 1e-5;
// Below these, that value says nothing of the summands: a loss is a sum of terms of about 1, of
// both signs, and may come to nearly nothing.
constexpr double kLeastOfVariables = 1e-3;
constexpr double kLeastOfOutputs = 0.1;

class RandomGraph : public ::testing::Test {
 protected:
  RandomGraph() {
    DefineAllOps(ops_);
    FillCpuKernels(ops_, kernels_);
  }

  absl::StatusOr<MeshRun> Train(const GraphRecipe& recipe, bool whole) {
    absl::StatusOr<Graph> graph = BuildRecipe(recipe, ops_, whole);
    if (!graph.ok()) return graph.status();
    const Graph copy = *graph;
    MeshRunOptions options{.steps = 2, .microbatches = recipe.microbatches, .seed = recipe.seed};
    options.input = [&](std::string_view name, int64_t step, int64_t microbatch) {
      return RecipeInput(copy, recipe, name, step, microbatch);
    };
    return RunOnMesh(*std::move(graph), ops_, kernels_, options);
  }

  static std::string Difference(const HostTensor& got, const HostTensor& want, double least) {
    double scale = 0, most = 0;
    for (size_t i = 0; i < want.values.size(); ++i) {
      if (!std::isfinite(want.values[i])) return "is not finite on one rank";
      scale = std::max(scale, std::abs(want.values[i]));
      const double off = std::abs(got.values[i] - want.values[i]);
      most = std::isnan(off) ? HUGE_VAL : std::max(most, off);
    }
    if (most <= kTolerance * std::max(scale, least)) return "";
    return absl::StrCat("is off by ", most, " of ", scale);
  }

  // What is wrong with the recipe on its mesh; empty: nothing.
  std::string Failure(const GraphRecipe& recipe) {
    const absl::StatusOr<MeshRun> one = Train(recipe, true);
    if (!one.ok()) return absl::StrCat("on one rank: ", one.status().ToString());
    const absl::StatusOr<MeshRun> mesh = Train(recipe, false);
    if (!mesh.ok()) return mesh.status().ToString();
    if (mesh->bytes_sent != mesh->bytes_predicted) {
      return absl::StrCat(absl::StrJoin(mesh->bytes_sent, ","), " bytes sent by the ranks, ",
                          absl::StrJoin(mesh->bytes_predicted, ","), " predicted");
    }
    for (const auto& [name, want] : one->variables) {
      const std::string off = Difference(mesh->variables.at(name), want, kLeastOfVariables);
      if (!off.empty()) return absl::StrCat("variable '", name, "' ", off);
    }
    for (const auto& [name, want] : one->outputs) {
      for (size_t i = 0; i < want.size(); ++i) {
        const std::string off = Difference(mesh->outputs.at(name)[i], want[i], kLeastOfOutputs);
        if (!off.empty()) return absl::StrCat("output '", name, "' ", off);
      }
    }
    return "";
  }

  bool Builds(const GraphRecipe& recipe) {
    return BuildRecipe(recipe, ops_, true).ok() && BuildRecipe(recipe, ops_, false).ok();
  }

  // What a failure says of itself: how the recipe fails, how it still fails when it is made
  // smaller, and the smaller graph as text. A graph that cannot be built is another failure than
  // one that is built and goes wrong: a recipe without parameters never trains.
  std::string ShrunkReport(const GraphRecipe& recipe,
                           const std::function<std::string(const GraphRecipe&)>& failure) {
    const bool builds = Builds(recipe);
    const auto fails = [&](const GraphRecipe& r) {
      return Builds(r) == builds && !failure(r).empty();
    };
    const GraphRecipe small = Shrink(recipe, fails, 400);
    return absl::StrCat(failure(recipe), "\nshrunk: ", failure(small), "\n", Describe(small, ops_));
  }

  // Trains the recipes of seeds [first, first + count), or this build's share of them.
  void TrainSeeds(uint64_t first, int count) {
    int trained = 0, ops = 0, annotations = 0, failed = 0;
    for (uint64_t seed = first; seed < first + count; seed += WEFT_TEST_SHARE) {
      ++trained;
      const GraphRecipe recipe = RandomRecipe(seed, ops_);
      ops += recipe.ops();
      EXPECT_GE(recipe.ops(), 5) << seed;
      EXPECT_LE(recipe.ops(), 30 + 3) << seed;
      for (const ValueRecipe& value : recipe.values) annotations += !value.layout.empty();
      const std::string failure = Failure(recipe);
      if (failure.empty()) continue;
      // One printed graph says more than many.
      if (++failed > 3) {
        ADD_FAILURE() << "seed " << seed << ": " << failure;
        continue;
      }
      ADD_FAILURE() << ShrunkReport(recipe, [this](const GraphRecipe& r) { return Failure(r); });
    }
    std::printf("random graphs: %d of %d to %d ops trained, %d annotations, %d failed\n", trained,
                5, 30, annotations, failed);
  }

  OpRegistry ops_;
  KernelTable kernels_;
};

// In parts, so that tests run beside each other.
constexpr int kPart = 125;
TEST_F(RandomGraph, TrainsAsOnOneRank1) { TrainSeeds(0 * kPart, kPart); }
TEST_F(RandomGraph, TrainsAsOnOneRank2) { TrainSeeds(1 * kPart, kPart); }
TEST_F(RandomGraph, TrainsAsOnOneRank3) { TrainSeeds(2 * kPart, kPart); }
TEST_F(RandomGraph, TrainsAsOnOneRank4) { TrainSeeds(3 * kPart, kPart); }

TEST_F(RandomGraph, TheSameSeedIsTheSameGraph) {
  for (uint64_t seed : {1, 17}) {
    EXPECT_EQ(Describe(RandomRecipe(seed, ops_), ops_), Describe(RandomRecipe(seed, ops_), ops_));
  }
}

// A made-up defect: a softmax whose operand a user has split on an axis of more than one rank.
std::string SplitSoftmax(const GraphRecipe& recipe) {
  for (const ValueRecipe& value : recipe.values) {
    if (value.op != "softmax") continue;
    const std::vector<Sbp>& layout = recipe.values[value.operands[0]].layout;
    for (size_t a = 0; a < layout.size(); ++a) {
      if (layout[a].is_split() && recipe.mesh[a] > 1) return "a split softmax";
    }
  }
  return "";
}

TEST_F(RandomGraph, AFailureShrinksToWhatFails) {
  const auto fails = [](const GraphRecipe& recipe) { return !SplitSoftmax(recipe).empty(); };
  int shrunk = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const GraphRecipe recipe = RandomRecipe(seed, ops_);
    if (!fails(recipe)) continue;
    ++shrunk;
    const GraphRecipe small = Shrink(recipe, fails);
    EXPECT_TRUE(fails(small));
    EXPECT_EQ(small.ops(), 1) << Describe(small, ops_);
    EXPECT_EQ(small.ranks(), 2);
    EXPECT_EQ(small.values.size(), 2u);
  }
  EXPECT_GT(shrunk, 0);
}

// What is printed ends with a graph file that still trains and still fails.
TEST_F(RandomGraph, AFailurePrintsAGraphThatCanBeRead) {
  int reports = 0;
  for (uint64_t seed = 0; seed < 200 && reports < 5; ++seed) {
    const GraphRecipe recipe = RandomRecipe(seed, ops_);
    if (SplitSoftmax(recipe).empty()) continue;
    ++reports;
    const std::string report = ShrunkReport(recipe, SplitSoftmax);
    SCOPED_TRACE(report);
    EXPECT_THAT(report, ::testing::StartsWith("a split softmax\nshrunk: a split softmax\nseed "));
    EXPECT_THAT(report, ::testing::HasSubstr("mesh \"x:2\", 1 microbatches"));
    const size_t heading = report.find("\nseed ");
    ASSERT_NE(heading, std::string::npos);
    const std::string text = report.substr(report.find('\n', heading + 1) + 1);
    const absl::StatusOr<Graph> read = ParseGraphText(text, ops_);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(GraphText(*read), text);
    EXPECT_FALSE(read->variables.empty());
    const auto softmax = std::find_if(read->nodes.begin(), read->nodes.end(),
                                      [](const Node& n) { return n.op->name == "softmax"; });
    ASSERT_NE(softmax, read->nodes.end());
    const std::optional<Layout>& asked = read->info(softmax->inputs[0]).annotation;
    ASSERT_TRUE(asked.has_value());
    EXPECT_TRUE((*asked)[0].is_split());
  }
  EXPECT_EQ(reports, 5);
}

}  // namespace
}  // namespace weft::testing

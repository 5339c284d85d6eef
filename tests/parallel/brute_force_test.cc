// Layout search against all there is: random graphs on meshes of two axes, every choice of every op
// tried (up to 6 ops), or all but those that a lower bound proves dearer (up to 12).
#include <algorithm>
#include <cstdio>
#include <random>

#include "absl/strings/str_cat.h"
#include "graph/graph_builder.h"
#include "gtest/gtest.h"
#include "parallel/infer_layouts.h"
#include "tests/parallel/layout_enumeration.h"
#include "tests/parallel/toy_ops.h"

namespace weft {
namespace {

// The search prefers later conversions among equals (by 1e-6 of their time).
constexpr double kTolerance = 1e-5;

class BruteForceTest : public testing::Test {
 protected:
  int Below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }

  std::string RandomLayout(const Mesh& mesh) {
    std::string text;
    for (const Mesh::Axis& axis : mesh.axes()) {
      const char* sbp[] = {"B", "S(0)", "S(1)"};
      absl::StrAppend(&text, text.empty() ? "" : ", ", axis.name, ":", sbp[Below(3)]);
    }
    return absl::StrCat("[", text, "]");
  }

  // `ops` random ops on square tensors, some of them annotated, with one update and one output.
  Graph Draw(int ops) {
    const char* meshes[] = {"x:2,y:2", "x:2,y:3", "data:2,model:2", "data:2,y:2"};
    const Mesh mesh = *Mesh::Parse(meshes[Below(4)]);
    const int64_t sizes[] = {32, 128, 512, 2048};
    const int64_t size = sizes[Below(4)];
    const TensorSpec spec{{size, size}, DType::kF32};
    cost_ = CostModel();
    cost_.link_bytes_per_second *= Below(3) == 0 ? 10 : 1;
    cost_.link_latency *= Below(3) == 0 ? 0.01 : 1;
    GraphBuilder g(ops_, mesh);
    std::vector<Value> values;
    values.push_back(g.Input("x", spec));
    values.push_back(g.Input("s", spec, Rate::kStep));
    const Value w = g.Parameter("w", spec, Constant(0));
    values.push_back(w);
    for (Value v : values) {
      if (Below(5) == 0) g.Annotate(v, RandomLayout(mesh));
    }
    const auto any = [&] {
      // Mostly what came last.
      return values[std::max(0, static_cast<int>(values.size()) - 1 - Below(4))];
    };
    Value step;
    for (int i = 0; i < ops; ++i) {
      Value made;
      switch (Below(6)) {
        case 0: made = g.Op("relu", {any()}); break;
        case 1: made = g.Op("norm", {any()}); break;
        case 2: made = g.Op("add", {any(), any()}); break;
        case 3: made = g.Op("add", {any(), any()}); break;
        default: {
          const char* equations[] = {"bi,io->bo", "bi,oi->bo", "ib,io->bo"};
          made = g.Op("contract", {any(), any()}, {{"equation", equations[Below(3)]}});
        }
      }
      if (Below(10) == 0) g.Annotate(made, RandomLayout(mesh));
      values.push_back(made);
      if (g.graph().info(made).rate == Rate::kStep) step = made;
    }
    if (step && !g.graph().info(w).annotation && !g.graph().info(step).annotation) {
      g.Update(w, step);
    }
    g.Output("loss", values.back());
    absl::StatusOr<Graph> graph = g.Build();
    EXPECT_TRUE(graph.ok()) << graph.status();
    return *std::move(graph);
  }

  Graph Infer(Graph graph, LayoutCertificate* certificate) {
    const PassContext context{
        .ops = ops_, .cost = cost_, .microbatches = 1, .certificate = certificate};
    const absl::Status status = InferLayouts(graph, context);
    EXPECT_TRUE(status.ok()) << status;
    return graph;
  }

  OpRegistry ops_ = ToyOps();
  CostModel cost_;
  std::mt19937 random_{20261125};
};

TEST_F(BruteForceTest, NothingIsCheaperThanWhatIsFound) {
  int graphs = 0, drawn = 0;
  double combinations = 0;
  while (graphs < 80) {
    const int ops = 1 + drawn++ % 6;
    const Graph graph = Draw(ops);
    LayoutEnumeration all(graph, cost_);
    if (all.combinations() > 1e5) continue;
    LayoutCertificate certificate;
    const double found = all.PriceOf(Infer(graph, &certificate));
    ASSERT_LT(found, LayoutEnumeration::kNever);
    const double least = all.Least(LayoutEnumeration::kNever, /*prune=*/false);
    EXPECT_TRUE(certificate.optimal);
    ASSERT_LE(found, least * (1 + kTolerance)) << "graph " << drawn << " of " << ops << " ops";
    ASSERT_GE(found, least * (1 - kTolerance)) << "graph " << drawn << " of " << ops << " ops";
    ++graphs;
    combinations += all.combinations();
  }
  std::printf("%d graphs of 1 to 6 ops, all of their %.0f combinations tried\n", graphs,
              combinations);
}

TEST_F(BruteForceTest, NothingIsCheaperByBranchAndBound) {
  constexpr int kGraphs = 18;
  int optimal = 0;
  double worst = 1;
  int64_t visits = 0;
  double combinations = 0;
  for (int i = 0; i < kGraphs; ++i) {
    const int ops = 7 + i % 6;
    const Graph graph = Draw(ops);
    LayoutEnumeration all(graph, cost_);
    LayoutCertificate certificate;
    const double found = all.PriceOf(Infer(graph, &certificate));
    ASSERT_LT(found, LayoutEnumeration::kNever);
    const double least = all.Least(found * (1 + kTolerance), /*prune=*/true);
    ASSERT_LT(least, found * (1 + kTolerance)) << "graph " << i << " of " << ops << " ops";
    // Also where axes were chosen one after the other, of which the certificate promises less.
    ASSERT_GE(least, found * (1 - kTolerance)) << "graph " << i << " of " << ops << " ops";
    worst = std::max(worst, found / least);
    optimal += certificate.optimal;
    visits += all.visits();
    combinations += all.combinations();
  }
  std::printf(
      "%d graphs of 7 to 12 ops with %.3g combinations, decided by branch and bound in %lld "
      "visits; %d certified optimal, at worst %.6f times the least\n",
      kGraphs, combinations, static_cast<long long>(visits), optimal, worst);
  EXPECT_GE(optimal, kGraphs / 2);
}

}  // namespace
}  // namespace weft

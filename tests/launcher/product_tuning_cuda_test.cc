// A session on a GPU measures its matrix products once; another takes them from the file. Needs a
// GPU.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "graph/graph_builder.h"
#include "kernels/all_ops.h"
#include "launcher/job.h"
#include "launcher/product_file.h"
#include "launcher/rank_place.h"
#include "launcher/session.h"
#include "tests/support/run_ranks.h"

namespace weft {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kRows = 4096, kWidth = 2048;

class ProductTuningCudaTest : public ::testing::Test {
 protected:
  ProductTuningCudaTest()
      : dir_(fs::path(::testing::TempDir()) / absl::StrCat("weft_cuda_tuning_", ::getpid())) {
    DefineAllOps(ops_);
    FillCpuKernels(ops_, kernels_);
  }
  ~ProductTuningCudaTest() override { fs::remove_all(dir_); }

  struct Outcome {
    double mean = 0;
    int measured = -1, from_file = -1;
    size_t in_use = 0;
  };

  // The mean of the squares of x w w for a large w.
  Outcome Run(Job::Train::Switch tuning) {
    Outcome outcome;
    testing::RunRanks(1, {}, [&](Transport& transport) {
      Job job;
      job.mutable_train()->set_device(Job::Train::CUDA);
      job.mutable_train()->set_gemm_tuning(tuning);
      job.mutable_train()->set_gemm_cache((dir_ / "products.json").string());
      const auto place = MakeRankPlace(job, {0, 1});
      ASSERT_TRUE(place.ok()) << place.status();
      GraphBuilder g(ops_, *Mesh::Parse("data:1"));
      const Value x = g.Input("x", {{kRows, kWidth}, DType::kF32});
      const Value w = g.Parameter("w", {{kWidth, kWidth}, DType::kF32}, Normal(0.02));
      const Attrs equation{{"equation", std::string("mk,kn->mn")}};
      const Value y = g.Op("einsum", {g.Op("einsum", {x, w}, equation), w}, equation);
      const Value mean =
          g.Op("reduce_mean", {g.Op("mul", {y, y})}, {{"axes", std::vector<int64_t>{0, 1}}});
      g.Output("mean", g.Op("accumulate", {mean}));
      absl::StatusOr<Graph> graph = g.Build();
      ASSERT_TRUE(graph.ok()) << graph.status();
      Session session(ops_, kernels_, transport, nullptr, place->ForSession());
      const auto feed = [](std::string_view, int64_t, int64_t, const Operand& out) {
        for (int64_t i = 0; i < out.elements(); ++i) {
          out.as<float>()[i] = static_cast<float>(i * 37 % 101) / 50 - 1;
        }
        return absl::OkStatus();
      };
      const auto fetch = [&](std::string_view, int64_t, int64_t, const Operand& in) {
        outcome.mean = *in.as<float>();
        return absl::OkStatus();
      };
      auto program = session.Load(*std::move(graph), {}, feed, fetch);
      ASSERT_TRUE(program.ok()) << program.status();
      const absl::Status status = (*program)->Run(0, 2);
      ASSERT_TRUE(status.ok()) << status;
      if (place->tuning == nullptr) return;
      outcome.measured = place->tuning->measured;
      outcome.from_file = place->tuning->from_file;
      outcome.in_use = place->tuning->in_use.size();
    });
    return outcome;
  }

  const fs::path dir_;
  OpRegistry ops_;
  KernelTable kernels_;
};

TEST_F(ProductTuningCudaTest, ASecondSessionMeasuresNothing) {
  const Outcome untuned = Run(Job::Train::OFF);
  EXPECT_EQ(untuned.measured, -1);
  const Outcome first = Run(Job::Train::AUTO);
  EXPECT_GE(first.measured, 1);
  EXPECT_EQ(first.from_file, 0);
  EXPECT_EQ(first.in_use, static_cast<size_t>(first.measured));
  const auto kept = ReadProductFile((dir_ / "products.json").string());
  ASSERT_TRUE(kept.ok()) << kept.status();
  ASSERT_EQ(kept->size(), 1u);
  EXPECT_EQ(kept->begin()->second.size(), first.in_use);
  const Outcome second = Run(Job::Train::AUTO);
  EXPECT_EQ(second.measured, 0);
  EXPECT_EQ(second.from_file, first.measured);
  EXPECT_EQ(second.mean, first.mean) << "the same algorithms form the same sums";
  // Sums of 2048 products in f32, in another order, averaged.
  EXPECT_NEAR(first.mean, untuned.mean, 1e-5 * std::abs(untuned.mean));
}

}  // namespace
}  // namespace weft

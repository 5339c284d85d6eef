// Which rows an input gets: the same whatever box asks, every row once an epoch, held-out rows
// never in training, and rows of all inputs together.
#include "launcher/bound_data.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "graph/graph_builder.h"
#include "kernels/all_ops.h"
#include "launcher/job.h"

namespace weft {
namespace {

constexpr int64_t kRows = 20, kBatch = 4;

class BoundDataTest : public ::testing::Test {
 protected:
  BoundDataTest() {
    DefineAllOps(ops_);
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    dir_ = std::filesystem::path(::testing::TempDir()) /
           absl::StrCat("weft_bound_", ::getpid(), "_", info->name());
    std::filesystem::create_directories(dir_);
    std::ofstream csv(dir_ / "x.csv");
    csv << "a,b,c\n";
    std::vector<int32_t> labels;
    for (int32_t r = 0; r < kRows; ++r) {
      csv << 10 * r << "," << 10 * r + 1 << "," << 10 * r + 2 << "\n";
      labels.push_back(100 + r);
    }
    std::ofstream(dir_ / "y.i32", std::ios::binary)
        .write(reinterpret_cast<const char*>(labels.data()), labels.size() * sizeof(int32_t));
    std::ofstream(dir_ / "text") << std::string(500, 'x');
  }
  ~BoundDataTest() override { std::filesystem::remove_all(dir_); }

  absl::StatusOr<BoundData> Open(const std::string& data) {
    const std::string text = absl::StrCat(
        "model { graph_file: 'g' } mesh: 'data:1' train { steps: 9 global_batch: ", kBatch,
        " seed: 3 } optimizer { sgd { lr: 1 } } ", data);
    absl::StatusOr<Job> job = ParseJob(text, "job");
    if (!job.ok()) return job.status();
    for (Job::Data& entry : *job->mutable_data()) {
      if (entry.has_csv()) entry.set_csv((dir_ / entry.csv()).string());
      if (entry.has_array()) entry.set_array((dir_ / entry.array()).string());
      if (entry.has_text()) entry.set_text((dir_ / entry.text()).string());
    }
    GraphBuilder g(ops_);
    const Value x = g.Input("x", {{kBatch, 3}, DType::kF32});
    g.Input("y", {{kBatch}, DType::kI32});
    g.Output("x", x);
    absl::StatusOr<Graph> graph = g.Build();
    if (!graph.ok()) return graph.status();
    return BoundData::Open(*job, *graph, {});
  }

  static constexpr const char* kTables =
      "data { input: 'x' csv: 'x.csv' held_out: 0.25 }"
      "data { input: 'y' array: 'y.i32' type: 'i32[20]' }";

  OpRegistry ops_;
  std::filesystem::path dir_;
};

std::vector<float> Floats(const BoundData& data, bool held_out, int64_t step, const Box& box) {
  std::vector<float> out(box.elements(), -1);
  EXPECT_TRUE(data.Fill("x", held_out, step, box, out.data()).ok());
  return out;
}

TEST_F(BoundDataTest, EveryRowOnceAnEpochAndInputsTogether) {
  const absl::StatusOr<BoundData> data = Open(kTables);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_TRUE(data->feeds("x"));
  EXPECT_FALSE(data->feeds("tokens"));
  std::set<float> seen;
  // 15 training rows: 15 batches of 4 are 4 epochs.
  std::vector<float> order;
  for (int64_t step = 0; step < 15; ++step) {
    const std::vector<float> x = Floats(*data, false, step, Box::Whole({kBatch, 3}));
    std::vector<int32_t> y(kBatch);
    ASSERT_TRUE(data->Fill("y", false, step, Box::Whole({kBatch}), y.data()).ok());
    for (int64_t r = 0; r < kBatch; ++r) {
      EXPECT_EQ(x[3 * r + 1], x[3 * r] + 1);
      EXPECT_EQ(x[3 * r + 2], x[3 * r] + 2);
      EXPECT_EQ(y[r], 100 + static_cast<int32_t>(x[3 * r] / 10));
      order.push_back(x[3 * r]);
    }
  }
  for (int epoch = 0; epoch < 4; ++epoch) {
    const std::set<float> rows(order.begin() + 15 * epoch, order.begin() + 15 * (epoch + 1));
    EXPECT_EQ(rows.size(), 15u) << epoch;
    EXPECT_LT(*rows.rbegin(), 150) << "a held-out row";
  }
}

TEST_F(BoundDataTest, AnyBoxGetsItsPart) {
  const absl::StatusOr<BoundData> data = Open(kTables);
  ASSERT_TRUE(data.ok()) << data.status();
  for (bool held_out : {false, true}) {
    const std::vector<float> whole = Floats(*data, held_out, 0, Box::Whole({kBatch, 3}));
    Box box = Box::Whole({kBatch, 3});
    box.dims[0] = IndexSet({0, 1});
    box.dims[0].Append({2, 4});  // rows 0, 2 and 3
    box.dims[1] = IndexSet({1, 3});
    EXPECT_EQ(Floats(*data, held_out, 0, box),
              (std::vector<float>{whole[1], whole[2], whole[7], whole[8], whole[10], whole[11]}));
    box.dims[0] = IndexSet();
    EXPECT_TRUE(Floats(*data, held_out, 0, box).empty());
  }
}

TEST_F(BoundDataTest, HeldOutRowsInTheirOrder) {
  const absl::StatusOr<BoundData> data = Open(kTables);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->held_out_batches(), 1);  // 5 rows: one whole batch
  EXPECT_EQ(data->HeldOutTargets(0), kBatch);
  const std::vector<float> x = Floats(*data, true, 0, Box::Whole({kBatch, 3}));
  for (int64_t r = 0; r < kBatch; ++r) EXPECT_EQ(x[3 * r], 150 + 10 * r);
}

TEST_F(BoundDataTest, StreamsByName) {
  const absl::StatusOr<BoundData> data = Open(
      "data { input: 'x' text: 'text' sequence: 3 } "
      "data { input: 'y' text: 'text' sequence: 3 shift: 1 }");
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_FALSE(data->feeds_targets("x"));
  EXPECT_TRUE(data->feeds_targets("y"));
  EXPECT_FALSE(data->feeds("tokens"));
}

TEST_F(BoundDataTest, RowsThatDoNotBelongTogether) {
  const auto error = [this](const std::string& data) {
    return std::string(Open(data).status().message());
  };
  std::ofstream(dir_ / "short", std::ios::binary) << std::string(76, 'x');
  EXPECT_NE(error("data { input: 'x' csv: 'x.csv' } data { input: 'y' array: 'short' type: "
                  "'i32[19]' }")
                .find("has 19 rows but '"),
            std::string::npos);
  std::ofstream(dir_ / "other") << std::string(400, 'x');
  EXPECT_NE(error("data { input: 'x' text: 'text' sequence: 3 } "
                  "data { input: 'y' text: 'other' sequence: 3 }")
                .find("500 training tokens and another 400"),
            std::string::npos);
}

}  // namespace
}  // namespace weft

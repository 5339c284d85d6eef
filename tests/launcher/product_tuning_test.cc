// Rank 0 decides on algorithms for all, on a device that only pretends to measure.
#include "launcher/product_tuning.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "graph/graph_builder.h"
#include "kernels/all_ops.h"
#include "launcher/product_file.h"
#include "launcher/session.h"
#include "tests/support/run_ranks.h"

namespace weft {
namespace {

namespace fs = std::filesystem;

ProductKey KeyOf(int64_t m) {
  ProductKey key;
  key[ProductKey::kM] = m;
  for (const auto field : {ProductKey::kN, ProductKey::kK, ProductKey::kBatch}) key[field] = 1;
  return key;
}

constexpr int64_t kMany = 10'000'000'000;

// The "fastest" algorithm of a product is its m, in the order in which it was measured.
class FakeMeasurer final : public ProductMeasurer {
 public:
  explicit FakeMeasurer(std::string machine = "fake") : machine_(std::move(machine)) {}
  std::string machine() const override { return machine_; }
  // One product of an einsum, as many rows as its first operand times a great number.
  absl::Status List(std::string_view name, Kernel kernel, const KernelContext& context,
                    ProductSet& products) override {
    if (name != "einsum") return absl::OkStatus();
    EXPECT_NE(kernel, nullptr);
    products.insert(KeyOf(context.in(0).shape[0] * kMany));
    return absl::OkStatus();
  }
  absl::StatusOr<bool> Accepts(const ProductKey&, const ProductAlgorithm& a) override {
    return a.words[0] != refused;
  }
  absl::StatusOr<std::optional<ProductAlgorithm>> Measure(const ProductKey& key) override {
    const int64_t m = key[ProductKey::kM];
    if (m == fails) return absl::InternalError("the device broke");
    measured.push_back(m);
    if (m == too_large) return std::nullopt;
    ProductAlgorithm algorithm;
    algorithm.words[0] = static_cast<uint64_t>(m) * 100;
    algorithm.seconds = 1;
    algorithm.first_seconds = 2;
    return algorithm;
  }
  void Adopt(ProductAlgorithms algorithms) override { adopted = std::move(algorithms); }

  std::vector<int64_t> measured;
  ProductAlgorithms adopted;
  int64_t too_large = -1, fails = -1;
  uint64_t refused = 0;

 private:
  const std::string machine_;
};

class ProductTuningTest : public ::testing::Test {
 protected:
  ProductTuningTest()
      : dir_(fs::path(::testing::TempDir()) / absl::StrCat("weft_tuning_", ::getpid())) {}
  ~ProductTuningTest() override { fs::remove_all(dir_); }

  ProductTuning TuningWith(std::unique_ptr<FakeMeasurer> measurer, std::string cache) {
    ProductTuning tuning;
    tuning.measurer = std::move(measurer);
    tuning.cache = std::move(cache);
    tuning.say = [this](const std::string& message) {
      const std::scoped_lock lock(mutex_);
      said_.push_back(message);
    };
    return tuning;
  }
  static const FakeMeasurer& Of(const ProductTuning& tuning) {
    return static_cast<const FakeMeasurer&>(*tuning.measurer);
  }
  std::string path() const { return dir_ / "products.json"; }

  const fs::path dir_;
  std::mutex mutex_;
  std::vector<std::string> said_;
};

TEST_F(ProductTuningTest, AllRanksUseWhatRankZeroFound) {
  testing::RunRanks(3, {}, [&](Transport& transport) {
    ProductTuning tuning = TuningWith(std::make_unique<FakeMeasurer>(), "");
    // Rank r has products 1 and 10 + r; the last one none.
    ProductSet products;
    if (transport.rank() < 2) products = {KeyOf(1), KeyOf(10 + transport.rank())};
    ASSERT_TRUE(TuneProducts(products, transport, tuning).ok());
    const ProductAlgorithms& adopted = Of(tuning).adopted;
    ASSERT_EQ(adopted.size(), 3u);
    for (const int64_t m : {1, 10, 11}) {
      EXPECT_EQ(adopted.at(KeyOf(m)).words[0], static_cast<uint64_t>(m) * 100);
    }
    const std::vector<int64_t> want = {11, 10, 1};  // the largest first
    EXPECT_EQ(Of(tuning).measured, transport.rank() == 0 ? want : std::vector<int64_t>());
  });
  ASSERT_EQ(said_.size(), 1u);
  EXPECT_NE(said_[0].find("3 matrix products"), std::string::npos) << said_[0];
  EXPECT_NE(said_[0].find("3000.000 ms in all, 6000.000 ms by the"), std::string::npos);
}

TEST_F(ProductTuningTest, ASecondProgramKeepsWhatTheFirstUses) {
  testing::RunRanks(2, {}, [&](Transport& transport) {
    ProductTuning tuning = TuningWith(std::make_unique<FakeMeasurer>(), "");
    ASSERT_TRUE(TuneProducts({KeyOf(1), KeyOf(2)}, transport, tuning).ok());
    ASSERT_TRUE(TuneProducts({KeyOf(2), KeyOf(3)}, transport, tuning).ok());
    EXPECT_EQ(Of(tuning).adopted.size(), 3u);
    if (transport.rank() == 0) EXPECT_EQ(tuning.measured, 3);
  });
}

TEST_F(ProductTuningTest, ASecondSessionMeasuresNothing) {
  for (int session = 0; session < 2; ++session) {
    testing::RunRanks(2, {}, [&](Transport& transport) {
      ProductTuning tuning = TuningWith(std::make_unique<FakeMeasurer>(), path());
      ASSERT_TRUE(TuneProducts({KeyOf(1), KeyOf(2)}, transport, tuning).ok());
      EXPECT_EQ(Of(tuning).adopted.size(), 2u);
      if (transport.rank() != 0) return;
      EXPECT_EQ(tuning.measured, session == 0 ? 2 : 0);
      EXPECT_EQ(tuning.from_file, session == 0 ? 0 : 2);
    });
  }
  EXPECT_EQ(said_.size(), 1u);
}

TEST_F(ProductTuningTest, WhatTheFileHasOfOthersOrWrongIsMeasured) {
  const auto run = [&](const std::string& machine, uint64_t refused) {
    std::vector<int64_t> measured;
    testing::RunRanks(1, {}, [&](Transport& transport) {
      auto measurer = std::make_unique<FakeMeasurer>(machine);
      measurer->refused = refused;
      ProductTuning tuning = TuningWith(std::move(measurer), path());
      ASSERT_TRUE(TuneProducts({KeyOf(1), KeyOf(2)}, transport, tuning).ok());
      EXPECT_EQ(tuning.in_use.size(), 2u);
      measured = Of(tuning).measured;
    });
    return measured;
  };
  EXPECT_EQ(run("fake", 0).size(), 2u);
  EXPECT_EQ(run("another", 0).size(), 2u);
  EXPECT_EQ(run("fake", 200), std::vector<int64_t>{2});
  EXPECT_EQ(run("fake", 0).size(), 0u);
}

TEST_F(ProductTuningTest, ABadFileIsToldOnceAndReplaced) {
  fs::create_directories(dir_);
  std::ofstream(path()) << "no JSON";
  testing::RunRanks(1, {}, [&](Transport& transport) {
    ProductTuning tuning = TuningWith(std::make_unique<FakeMeasurer>(), path());
    ASSERT_TRUE(TuneProducts({KeyOf(1)}, transport, tuning).ok());
    EXPECT_EQ(tuning.measured, 1);
  });
  ASSERT_EQ(said_.size(), 2u);
  EXPECT_NE(said_[0].find("measured anew: '"), std::string::npos) << said_[0];
  EXPECT_TRUE(ReadProductFile(path()).ok());
}

TEST_F(ProductTuningTest, AFileThatCannotBeWrittenIsToldAndIgnored) {
  std::ofstream(dir_) << "no folder";
  testing::RunRanks(1, {}, [&](Transport& transport) {
    ProductTuning tuning = TuningWith(std::make_unique<FakeMeasurer>(), path());
    ASSERT_TRUE(TuneProducts({KeyOf(1)}, transport, tuning).ok());
    EXPECT_EQ(tuning.in_use.size(), 1u);
  });
  ASSERT_FALSE(said_.empty());
  EXPECT_NE(said_.back().find("are not kept: "), std::string::npos) << said_.back();
}

TEST_F(ProductTuningTest, WhatThereIsNoTimeOrMemoryForKeepsTheFirstGuess) {
  testing::RunRanks(2, {}, [&](Transport& transport) {
    auto measurer = std::make_unique<FakeMeasurer>();
    measurer->too_large = 3;
    ProductTuning tuning = TuningWith(std::move(measurer), "");
    ASSERT_TRUE(TuneProducts({KeyOf(1), KeyOf(2), KeyOf(3)}, transport, tuning).ok());
    EXPECT_EQ(tuning.in_use.size(), 2u);
    EXPECT_FALSE(tuning.in_use.contains(KeyOf(3)));
    tuning.limit_seconds = 0;
    ASSERT_TRUE(TuneProducts({KeyOf(4)}, transport, tuning).ok());
    EXPECT_EQ(tuning.in_use.size(), 2u);
    if (transport.rank() == 0) EXPECT_EQ(tuning.left, 2);
  });
  ASSERT_EQ(said_.size(), 2u);
  EXPECT_NE(said_[0].find("; 1 more"), std::string::npos) << said_[0];
}

TEST_F(ProductTuningTest, UnlikeRanksUseFirstGuesses) {
  testing::RunRanks(2, {}, [&](Transport& transport) {
    ProductTuning tuning =
        TuningWith(std::make_unique<FakeMeasurer>(absl::StrCat("gpu ", transport.rank())), path());
    ASSERT_TRUE(TuneProducts({KeyOf(1)}, transport, tuning).ok());
    EXPECT_TRUE(tuning.in_use.empty());
    EXPECT_TRUE(Of(tuning).measured.empty());
  });
  ASSERT_EQ(said_.size(), 1u);
  EXPECT_NE(said_[0].find("gpu 0; gpu 1"), std::string::npos) << said_[0];
}

TEST_F(ProductTuningTest, ASessionTunesThePlansOfAllRanks) {
  OpRegistry ops;
  KernelTable kernels;
  DefineAllOps(ops);
  FillCpuKernels(ops, kernels);
  // Three rows over two ranks.
  GraphBuilder g(ops, *Mesh::Parse("data:2"));
  const Value x = g.Input("x", {{3, 8}, DType::kF32});
  g.Annotate(x, "[data:S(0)]");
  const Value w = g.Parameter("w", {{8, 4}, DType::kF32}, Normal(0.02));
  const Value y = g.Op("einsum", {x, w}, {{"equation", std::string("mk,kn->mn")}});
  const Attrs all{{"axes", std::vector<int64_t>{0, 1}}};
  g.Output("loss", g.Op("accumulate", {g.Op("reduce_mean", {y}, all)}));
  const absl::StatusOr<Graph> graph = g.Build();
  ASSERT_TRUE(graph.ok()) << graph.status();
  testing::RunRanks(2, {}, [&](Transport& transport) {
    ProductTuning tuning = TuningWith(std::make_unique<FakeMeasurer>(), "");
    Session session(ops, kernels, transport, nullptr, {.tuning = &tuning});
    const auto nothing = [](std::string_view, int64_t, int64_t, const Operand&) {
      return absl::OkStatus();
    };
    const auto program = session.Load(*graph, {}, nothing, nothing);
    ASSERT_TRUE(program.ok()) << program.status();
    EXPECT_EQ(tuning.in_use.size(), 2u);
    EXPECT_TRUE(tuning.in_use.contains(KeyOf(2 * kMany)));
    EXPECT_TRUE(tuning.in_use.contains(KeyOf(kMany)));
    EXPECT_EQ(Of(tuning).adopted, tuning.in_use);
  });
}

TEST_F(ProductTuningTest, AFailureOfTheDeviceReachesAllRanks) {
  testing::RunRanks(2, {}, [&](Transport& transport) {
    auto measurer = std::make_unique<FakeMeasurer>();
    measurer->fails = 2;
    ProductTuning tuning = TuningWith(std::move(measurer), "");
    const absl::Status status = TuneProducts({KeyOf(2)}, transport, tuning);
    EXPECT_FALSE(status.ok());
    // As whoever loads a program does.
    if (transport.rank() == 0) transport.Poison(status);
    EXPECT_NE(status.message().find("the device broke"), std::string::npos) << status;
  });
}

}  // namespace
}  // namespace weft

// Training on a device that enqueues: what ranks launch ahead of one another, on streams that may
// lag behind as they like, comes to what the CPU computes, and comes to an end.
#include "tests/system/fake_gpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "tests/system/memory_proof.h"
#include "tests/system/tiny_training.h"

namespace weft {
namespace {

using testing::CallsInStep;
using testing::FakeGpu;
using testing::FakeGpuHost;
using ::testing::HasSubstr;
using testing::TinyTraining;

struct Case {
  const char* mesh;
  int microbatches;
  bool fast_links = true;
  std::vector<std::string> more = {};  // of the job
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.mesh << " x " << c.microbatches; }

// The norm of a step that overflows may be NaN, which equals nothing.
std::map<std::string, std::vector<uint32_t>> BitsOf(
    const std::map<std::string, std::vector<float>>& outputs) {
  std::map<std::string, std::vector<uint32_t>> bits;
  for (const auto& [name, values] : outputs) {
    for (const float value : values) bits[name].push_back(std::bit_cast<uint32_t>(value));
  }
  return bits;
}

class FakeGpuTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    auto training = TinyTraining::Make(GetParam().mesh, GetParam().microbatches,
                                       GetParam().fast_links, GetParam().more);
    ASSERT_TRUE(training.ok()) << training.status();
    training_ = *std::move(training);
    for (int rank = 0; rank < training_->size(); ++rank) {
      const auto plan = InstantiatePlan(training_->program(), rank);
      ASSERT_TRUE(plan.ok()) << plan.status();
      ASSERT_GT(plan->bytes_sent_per_step(), 0) << "no exchange to wait for";
    }
  }

  // Trains on the CPU and with `options` on fake GPUs, whose delays are of `seed`.
  void ComparesWithCpu(uint64_t seed, TinyTraining::Options options) {
    const std::vector<TinyTraining::Rank> expected = training_->Run({.steps = options.steps});
    FakeGpuHost host(seed);
    options.host = &host;
    const std::vector<TinyTraining::Rank> ranks = training_->Run(options);
    EXPECT_EQ(host.stuck(), "");
    size_t losses = 0;
    for (size_t r = 0; r < ranks.size(); ++r) {
      ASSERT_TRUE(expected[r].status.ok()) << expected[r].status;
      ASSERT_TRUE(ranks[r].status.ok()) << ranks[r].status;
      EXPECT_EQ(BitsOf(ranks[r].outputs), BitsOf(expected[r].outputs)) << "rank " << r;
      EXPECT_GT(ranks[r].batches, 0) << "rank " << r;
      const auto loss = expected[r].outputs.find("loss");
      if (loss != expected[r].outputs.end()) losses += loss->second.size();
    }
    EXPECT_GE(losses, static_cast<size_t>(options.steps));
  }

  std::unique_ptr<TinyTraining> training_;
};

TEST_P(FakeGpuTest, PlansOverwriteNothingEarly) {
  for (int rank = 0; rank < training_->size(); ++rank) {
    const auto plan = InstantiatePlan(training_->program(), rank);
    ASSERT_TRUE(plan.ok()) << plan.status();
    MemoryProof proof(*plan);
    ASSERT_TRUE(proof.Run(3)) << "rank " << rank;
    EXPECT_TRUE(proof.conflicts().empty()) << absl::StrJoin(proof.conflicts(), "\n");
  }
}

TEST_P(FakeGpuTest, TrainsAsTheCpuDoes) { ComparesWithCpu(0, {.recording = Recording::kOff}); }

TEST_P(FakeGpuTest, TrainsWithRecordings) { ComparesWithCpu(0, {.recording = Recording::kOn}); }

TEST_P(FakeGpuTest, TrainsWhileStreamsLag) {
  for (const uint64_t seed : {1, 2}) {
    ComparesWithCpu(seed, {.recording = seed == 1 ? Recording::kOff : Recording::kAuto,
                           .late = static_cast<int>(seed % 2)});
  }
}

// What a call of a kernel answers fails the step, on all ranks with the same words.
TEST_P(FakeGpuTest, AFailedCallEndsAllRanks) {
  constexpr int kFails = 1;
  FakeGpuHost host(3);
  TinyTraining::Options options{.host = &host, .recording = Recording::kOff};
  options.prepare = [](const Plan& plan, FakeGpu& gpu) {
    if (plan.rank() != kFails) return;
    const int64_t in_step = CallsInStep(plan, "rms_norm");
    ASSERT_GT(in_step, 1);
    gpu.kernels_state().on_launch =
        [left = 3 * in_step + in_step / 2](std::string_view kernel) mutable -> absl::Status {
      if (kernel != "rms_norm" || left-- > 0) return absl::OkStatus();
      return absl::InternalError("the launch was refused");
    };
  };
  const std::vector<TinyTraining::Rank> ranks = training_->Run(options);
  EXPECT_EQ(host.stuck(), "");
  for (const TinyTraining::Rank& rank : ranks) {
    EXPECT_EQ(rank.status, ranks[kFails].status);
    EXPECT_EQ(rank.status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(rank.status.message()),
                ::testing::AllOf(HasSubstr("rank 1 failed: actor `"),
                                 HasSubstr("step 4: the launch was refused")));
  }
}

// What a kernel finds while it runs can only be noted, and comes out a step later at most.
TEST_P(FakeGpuTest, AFaultThatAKernelNotesEndsAllRanks) {
  constexpr int kFails = 0;
  FakeGpuHost host(4);
  TinyTraining::Options options{.host = &host, .recording = Recording::kAuto};
  options.prepare = [](const Plan& plan, FakeGpu& gpu) {
    if (plan.rank() != kFails) return;
    const int64_t in_step = CallsInStep(plan, "embedding");
    ASSERT_GT(in_step, 0);
    gpu.kernels_state().on_run = [left = 3 *
                                         in_step](std::string_view kernel) mutable -> absl::Status {
      if (kernel != "embedding" || left-- != 0) return absl::OkStatus();
      return absl::InvalidArgumentError("no such token");
    };
  };
  const std::vector<TinyTraining::Rank> ranks = training_->Run(options);
  EXPECT_EQ(host.stuck(), "");
  for (const TinyTraining::Rank& rank : ranks) {
    EXPECT_EQ(rank.status, ranks[kFails].status);
    EXPECT_EQ(rank.status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(rank.status.message()), HasSubstr("or the next: no such token"));
  }
}

// A step that kernels skip, and then others.
Case Scaled() {
  return {"data:2,model:2", 2, true, {"train.dtype=F16", "train.loss_scale={initial: 16777216}"}};
}

TEST(FakeGpuScaled, SomeStepsAreSkippedAndSomeAreNot) {
  const Case c = Scaled();
  const auto training = TinyTraining::Make(c.mesh, c.microbatches, c.fast_links, c.more);
  ASSERT_TRUE(training.ok()) << training.status();
  const std::vector<float> skipped = (*training)->Run({})[0].outputs["skipped"];
  ASSERT_EQ(skipped.size(), 6u);
  EXPECT_EQ(skipped.front(), 1) << absl::StrJoin(skipped, " ");
  EXPECT_NE(std::count(skipped.begin(), skipped.end(), 0.0f), 0) << absl::StrJoin(skipped, " ");
}

INSTANTIATE_TEST_SUITE_P(Meshes, FakeGpuTest,
                         ::testing::Values(Case{"data:2", 1}, Case{"model:2", 1},
                                           Case{"data:2,model:2", 1}, Case{"stage:2", 3},
                                           Case{"data:2,stage:2", 3}, Case{"stage:4", 4},
                                           Case{"data:2", 6, false}, Scaled()));

}  // namespace
}  // namespace weft

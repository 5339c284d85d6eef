#include "launcher/bench_comm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <vector>

#include "launcher/bench_comm_text.h"
#include "launcher/cluster.h"
#include "nlohmann/json.hpp"
#include "runtime/cpu_communicator.h"
#include "tests/support/run_ranks.h"

namespace weft {
namespace {

absl::StatusOr<std::unique_ptr<Communicator>> Sound(Transport& transport, std::vector<int> ranks,
                                                    uint32_t tag) {
  return CpuCommunicator::Create(transport, std::move(ranks), tag);
}

// Gets one element of every collective's result wrong on the group's last rank.
class Unsound final : public Communicator {
 public:
  explicit Unsound(std::unique_ptr<Communicator> sound)
      : Communicator({sound->world_ranks().begin(), sound->world_ranks().end()}, sound->rank()),
        sound_(std::move(sound)) {}
  absl::Status AllReduce(const void* in, void* out, int64_t count, DType dtype,
                         Monoid monoid) override {
    return Spoil(sound_->AllReduce(in, out, count, dtype, monoid), out);
  }
  absl::Status ReduceScatter(const void* in, void* out, absl::Span<const int64_t> counts,
                             DType dtype, Monoid monoid) override {
    return Spoil(sound_->ReduceScatter(in, out, counts, dtype, monoid), out);
  }
  absl::Status AllGather(const void* in, void* out, absl::Span<const int64_t> counts,
                         DType dtype) override {
    return Spoil(sound_->AllGather(in, out, counts, dtype), out);
  }
  absl::Status AllToAll(const void* in, Parts send, void* out, Parts receive,
                        DType dtype) override {
    return Spoil(sound_->AllToAll(in, send, out, receive, dtype), out);
  }
  absl::Status Broadcast(void* data, int64_t count, DType dtype, int root) override {
    return Spoil(sound_->Broadcast(data, count, dtype, root), data);
  }

 private:
  absl::Status Spoil(absl::Status status, void* out) {
    if (rank() == size() - 1) *static_cast<char*>(out) ^= 0x10;
    return status;
  }
  const std::unique_ptr<Communicator> sound_;
};

absl::StatusOr<std::unique_ptr<Communicator>> MakeUnsound(Transport& transport,
                                                          std::vector<int> ranks, uint32_t tag) {
  auto sound = CpuCommunicator::Create(transport, std::move(ranks), tag);
  if (!sound.ok()) return sound.status();
  return std::make_unique<Unsound>(*std::move(sound));
}

struct Outcome {
  std::vector<CommResult> results;  // of rank 0
  CommBenchReport report;
};

Outcome RunBench(int ranks, const CommBenchOptions& options, const MakeCommunicator& make = Sound) {
  const absl::Status ready = CheckCommBench(options, ranks, ranks);
  EXPECT_TRUE(ready.ok()) << ready;
  Outcome outcome;
  testing::RunRanks(ranks, {}, [&](Transport& transport) {
    const bool first = transport.rank() == 0;
    const auto report = BenchComm(transport, options, make, [&](const CommResult& result) {
      if (first) outcome.results.push_back(result);
    });
    EXPECT_TRUE(report.ok()) << report.status();
    if (first && report.ok()) outcome.report = *report;
  });
  return outcome;
}

CommBenchOptions Small() {
  CommBenchOptions options;
  options.min_bytes = 24;
  options.max_bytes = 400000;
  options.factor = 60;
  options.iterations = 2;
  options.warmup = 1;
  return options;
}

TEST(BenchComm, BusFactorsAreThoseOfNcclTests) {
  EXPECT_DOUBLE_EQ(BusFactor(Collective::kAllReduce, 4), 1.5);
  EXPECT_DOUBLE_EQ(BusFactor(Collective::kAllReduce, 2), 1);
  EXPECT_DOUBLE_EQ(BusFactor(Collective::kAllGather, 4), 0.75);
  EXPECT_DOUBLE_EQ(BusFactor(Collective::kReduceScatter, 8), 0.875);
  EXPECT_DOUBLE_EQ(BusFactor(Collective::kAllToAll, 2), 0.5);
  EXPECT_DOUBLE_EQ(BusFactor(Collective::kBroadcast, 8), 1);
  EXPECT_DOUBLE_EQ(BusFactor(Collective::kSendReceive, 8), 1);
}

TEST(BenchComm, SizesGrowByFactorOrStep) {
  CommBenchOptions options;
  options.min_bytes = 8;
  options.max_bytes = 100;
  options.factor = 3;
  EXPECT_EQ(BenchSizes(options), (std::vector<int64_t>{8, 24, 72}));
  options.factor = 1;
  options.step_bytes = 46;
  EXPECT_EQ(BenchSizes(options), (std::vector<int64_t>{8, 54, 100}));
  options.max_bytes = 8;
  EXPECT_EQ(BenchSizes(options), (std::vector<int64_t>{8}));
}

TEST(BenchComm, BytesAreReadAsNcclTestsReadThem) {
  EXPECT_EQ(ParseBytes("8").value(), 8);
  EXPECT_EQ(ParseBytes("64k").value(), 64 << 10);
  EXPECT_EQ(ParseBytes("32M").value(), 32 << 20);
  EXPECT_EQ(ParseBytes("3G").value(), int64_t{3} << 30);
  for (const char* bad : {"", "M", "-8", "8X", "1.5M", "9223372036854775807G"}) {
    EXPECT_EQ(ParseBytes(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(ParseBenchDType("bfloat16").value(), DType::kBF16);
  EXPECT_EQ(ParseBenchDType("i32").value(), DType::kI32);
  EXPECT_FALSE(ParseBenchDType("float8").ok());
  EXPECT_EQ(ParseCollective("sendrecv").value(), Collective::kSendReceive);
  EXPECT_NE(ParseCollective("all_reduc").status().message().find("'all_reduce'"),
            std::string::npos);
}

TEST(BenchComm, MistakesAreToldInTermsOfFlags) {
  const auto says = [](const CommBenchOptions& options, int ranks, const char* part) {
    const absl::Status status = CheckCommBench(options, ranks, ranks);
    EXPECT_FALSE(status.ok()) << part;
    EXPECT_NE(status.message().find(part), std::string::npos) << part << " in " << status;
  };
  CommBenchOptions options = Small();
  options.min_bytes = 3;
  says(options, 2, "--min-bytes must be at least 4");
  options = Small();
  options.max_bytes = 8;
  says(options, 2, "--max-bytes 8 is below --min-bytes 24");
  options = Small();
  options.max_bytes = int64_t{1} << 61;
  says(options, 2, "smaller --max-bytes");
  options = Small();
  options.factor = 1;
  says(options, 2, "--step-bytes");
  options.step_bytes = 1;
  says(options, 2, "more than 1000 sizes");
  options = Small();
  options.dtype = DType::kBool;
  says(options, 2, "--op");
  options = Small();
  options.mesh = Mesh::Parse("data:2,model:2").value();
  says(options, 2, "has 4 places and there are 2 ranks");
  options.mesh = Mesh::Parse("data:2@0,7").value();
  says(options, 2, "ranks 0 to 1");
  options = Small();
  options.links = true;
  says(options, 1, "one rank has no links");
  options.max_bytes = options.min_bytes;
  says(options, 2, "two sizes");
}

TEST(BenchComm, RealRunsHaveNothingWrong) {
  for (const DType dtype :
       {DType::kF32, DType::kBF16, DType::kF16, DType::kI64, DType::kU8, DType::kBool}) {
    for (const Monoid monoid : {Monoid::kSum, Monoid::kMax}) {
      if (dtype == DType::kBool && monoid == Monoid::kSum) continue;  // it has none
      CommBenchOptions options = Small();
      options.dtype = dtype;
      options.monoid = monoid;
      const Outcome outcome = RunBench(3, options);
      EXPECT_EQ(outcome.report.wrong, 0) << Name(dtype) << " " << Name(monoid);
      ASSERT_EQ(outcome.results.size(), 6 * BenchSizes(options).size());
      for (const CommResult& result : outcome.results) {
        EXPECT_EQ(result.group, 3);
        EXPECT_EQ(result.out_of_place.wrong, 0);
        EXPECT_GT(result.out_of_place.seconds, 0);
        EXPECT_DOUBLE_EQ(result.out_of_place.busbw,
                         result.out_of_place.algbw * BusFactor(result.collective, 3));
        EXPECT_EQ(result.in_place.has_value(), HasInPlace(result.collective));
        EXPECT_EQ(result.in_place.value_or(CommResult::Pass{0, 0, 0, 0}).wrong, 0);
      }
    }
  }
}

TEST(BenchComm, WrongElementsAreCounted) {
  CommBenchOptions options = Small();
  options.max_bytes = options.min_bytes;
  const Outcome outcome = RunBench(3, options, MakeUnsound);
  ASSERT_EQ(outcome.results.size(), 6u);
  for (const CommResult& result : outcome.results) {
    EXPECT_EQ(result.out_of_place.wrong, 1) << Name(result.collective);
    EXPECT_EQ(result.in_place.value_or(CommResult::Pass{0, 0, 0, 1}).wrong, 1)
        << Name(result.collective);
  }
  EXPECT_EQ(outcome.report.wrong, 10);
  options.check = false;
  const Outcome unchecked = RunBench(3, options, MakeUnsound);
  EXPECT_EQ(unchecked.report.wrong, 0);
  EXPECT_EQ(unchecked.results[0].out_of_place.wrong, -1);
}

// Every group of an axis counts: one element is wrong in each.
TEST(BenchComm, AMeshIsMeasuredAxisByAxis) {
  CommBenchOptions options = Small();
  options.mesh = Mesh::Parse("data:3,one:1,model:2").value();
  options.collectives = {Collective::kAllReduce};
  options.max_bytes = options.min_bytes;
  const Outcome outcome = RunBench(6, options, MakeUnsound);
  ASSERT_EQ(outcome.results.size(), 2u);
  EXPECT_EQ(outcome.results[0].axis, "data");
  EXPECT_EQ(outcome.results[0].group, 3);
  EXPECT_EQ(outcome.results[0].out_of_place.wrong, 2);
  EXPECT_EQ(outcome.results[1].axis, "model");
  EXPECT_EQ(outcome.results[1].group, 2);
  EXPECT_EQ(outcome.results[1].out_of_place.wrong, 3);
}

TEST(BenchComm, LinksAreFittedForEachAxis) {
  CommBenchOptions options = Small();
  options.mesh = Mesh::Parse("data:2,model:2").value();
  options.collectives = {Collective::kBroadcast};
  options.links = true;
  const Outcome outcome = RunBench(4, options);
  ASSERT_EQ(outcome.report.groups.size(), 2u);
  EXPECT_EQ(outcome.report.groups[0].axis, "data");
  EXPECT_EQ(outcome.report.groups[1].axis, "model");
  for (const CostModel::Group& group : outcome.report.groups) {
    EXPECT_EQ(group.size, 2);
    EXPECT_GE(group.link.latency, 0);
    EXPECT_GT(group.link.bytes_per_second, 0);
  }
  Cluster cluster;
  SetGroups(outcome.report.groups, &cluster);
  const auto read = ParseCluster(ClusterText(cluster, "measured"), "written");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->SerializeAsString(), cluster.SerializeAsString());
}

TEST(BenchComm, ResultsReadAsColumnsAndAsJson) {
  CommResult result;
  result.collective = Collective::kAllReduce;
  result.axis = "data";
  result.group = 4;
  result.bytes = 1024;
  result.count = 256;
  result.out_of_place = {1e-6, 1.024e9, 1.536e9, 0};
  result.in_place = {2e-6, 5.12e8, 7.68e8, 3};
  const std::string row = BenchRow(result);
  EXPECT_NE(
      row.find("1024           256       f32     sum      -1      1.00    1.02    1.54      0"),
      std::string::npos)
      << row;
  EXPECT_NE(BenchHeading(result).find("each group of 4 ranks along data"), std::string::npos);
  const auto json = nlohmann::json::parse(BenchJson(result));
  EXPECT_EQ(json["collective"], "all_reduce");
  EXPECT_EQ(json["axis"], "data");
  EXPECT_EQ(json["redop"], "sum");
  EXPECT_EQ(json["in_place"]["wrong"], 3);
  EXPECT_DOUBLE_EQ(json["out_of_place"]["busbw_gbs"], 1.536);
  result.collective = Collective::kAllToAll;
  result.in_place.reset();
  EXPECT_NE(BenchRow(result).find("N/A"), std::string::npos);
  EXPECT_FALSE(nlohmann::json::parse(BenchJson(result)).contains("in_place"));
}

}  // namespace
}  // namespace weft

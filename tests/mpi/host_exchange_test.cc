// CPU communicators whose ranks are processes of this host, with the memory that they share: the
// same results, bytes and failures as in messages.
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/collective_bytes.h"
#include "runtime/cpu_communicator.h"
#include "runtime/rendezvous.h"
#include "tests/support/collective_cases.h"
#include "tests/support/mpi_world.h"
#include "tests/support/shared_mappings.h"

namespace weft {
namespace {

using testing::CountSharedMappings;

Transport* world = nullptr;  // set by main; MPI starts once per process

std::unique_ptr<CpuCommunicator> MustCreate(std::vector<int> ranks, uint32_t tag) {
  auto communicator = CpuCommunicator::Create(*world, std::move(ranks), tag);
  EXPECT_EQ(communicator.status(), absl::OkStatus());
  return std::move(communicator).value();
}

std::vector<int> Everyone() {
  std::vector<int> ranks(world->size());
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

// The longest contributions that go through memory, in elements.
int64_t MostShared(DType dtype) { return AllReduceSharedBytes(world->size()) / SizeOf(dtype); }

TEST(MpiHostExchange, IsMadeByReserveForWhatIsShort) {
  const auto c = MustCreate(Everyone(), 1);
  EXPECT_EQ(CountSharedMappings().nameless, 0);
  ASSERT_TRUE(c->Reserve(MostShared(DType::kF32) + 1, DType::kF32, Monoid::kSum).ok());
  EXPECT_EQ(CountSharedMappings().nameless, 0);
  for (int again = 0; again < 2; ++again) {
    ASSERT_TRUE(c->Reserve(1, DType::kF32, Monoid::kSum).ok());
    EXPECT_EQ(CountSharedMappings().nameless, 1);
    EXPECT_EQ(CountSharedMappings().named, 0);
  }
}

TEST(MpiHostExchange, CollectivesConformInAllDTypes) {
  const auto c = MustCreate(Everyone(), 2);
  ASSERT_TRUE(c->Reserve(1, DType::kF32, Monoid::kSum).ok());
  for (const DType dtype : testing::kAllDTypes) {
    testing::CheckCollectives(*c, dtype, /*large=*/dtype == DType::kF32);
    for (const int64_t count : {MostShared(dtype) - 1, MostShared(dtype), MostShared(dtype) + 1}) {
      testing::CheckAllReduce(*c, count, dtype, Monoid::kMax);
    }
  }
}

// Communicators that share ranks, each with its own memory, used in turn.
TEST(MpiHostExchange, CollectivesConformInSubsets) {
  std::vector<int> reversed = Everyone();
  std::reverse(reversed.begin(), reversed.end());
  const auto all = MustCreate(reversed, 3);
  ASSERT_TRUE(all->Reserve(1, DType::kF32, Monoid::kSum).ok());
  std::unique_ptr<CpuCommunicator> ends;
  if (world->rank() == 0 || world->rank() == world->size() - 1) {
    ends = MustCreate({world->size() - 1, 0}, 4);
    ASSERT_TRUE(ends->Reserve(1, DType::kF32, Monoid::kSum).ok());
  }
  for (const int64_t count : {1, 300, 2000, 100000}) {
    testing::CheckAllReduce(*all, count, DType::kF32, Monoid::kSum);
    if (ends != nullptr) testing::CheckAllReduce(*ends, count, DType::kBF16, Monoid::kSum);
  }
}

// Values that round.
TEST(MpiHostExchange, SumsHaveTheBitsOfMessages) {
  const auto messages = MustCreate(Everyone(), 5);
  const auto memory = MustCreate(Everyone(), 6);
  ASSERT_TRUE(memory->Reserve(1, DType::kF32, Monoid::kSum).ok());
  for (const int64_t count : {int64_t{3}, int64_t{1000}, MostShared(DType::kF32)}) {
    std::vector<float> in(count), a(count), b(count);
    for (int64_t i = 0; i < count; ++i) in[i] = std::sin(0.37f * (world->rank() + 1) * (i + 1));
    ASSERT_TRUE(messages->AllReduce(in.data(), a.data(), count, DType::kF32, Monoid::kSum).ok());
    ASSERT_TRUE(memory->AllReduce(in.data(), b.data(), count, DType::kF32, Monoid::kSum).ok());
    EXPECT_EQ(std::memcmp(a.data(), b.data(), count * sizeof(float)), 0) << count;
  }
}

TEST(MpiHostExchange, CountsThePredictedBytes) {
  const auto c = MustCreate(Everyone(), 7);
  ASSERT_TRUE(c->Reserve(1, DType::kF32, Monoid::kSum).ok());
  std::vector<float> x(100003, 1.0f);
  for (const int64_t count : {0, 100, 1024, 1500, 5000, 8192, 8193, 100003}) {
    const int64_t sent = world->total_bytes_sent();
    const int64_t sent_by_group = c->bytes_sent();
    ASSERT_EQ(c->AllReduce(x.data(), x.data(), count, DType::kF32, Monoid::kSum), absl::OkStatus());
    const int64_t predicted = AllReduceBytesSent(c->rank(), c->size(), count, DType::kF32);
    EXPECT_EQ(world->total_bytes_sent() - sent, predicted) << count;
    EXPECT_EQ(c->bytes_sent() - sent_by_group, predicted) << count;
  }
}

// The last: it ends the network.
TEST(MpiHostExchange, PoisonEndsAWaitingAllReduce) {
  const auto c = MustCreate(Everyone(), 8);
  ASSERT_TRUE(c->Reserve(1, DType::kF32, Monoid::kSum).ok());
  std::vector<float> x(10);
  // Poison ends meetings too: all must have left theirs.
  char left = 1;
  if (world->rank() == 0) {
    for (int r = 1; r < world->size(); ++r) {
      Request request;
      world->Receive(r, 9, &left, 1, &request);
      ASSERT_EQ(world->Wait(request), absl::OkStatus());
    }
    return world->Poison(absl::DataLossError("out of luck"));
  }
  Request request;
  world->Send(0, 9, &left, 1, &request);
  world->Wait(request).IgnoreError();
  const absl::Status status = c->AllReduce(x.data(), x.data(), 10, DType::kF32, Monoid::kSum);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("all_reduce of 10 f32"), std::string::npos) << status;
  EXPECT_NE(status.message().find("rank 0 failed: out of luck"), std::string::npos) << status;
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  return weft::testing::RunMpiTests(argc, argv, &weft::world, {}, absl::StatusCode::kDataLoss);
}

// The MPI transport, and CPU communicators over it, under the same conformance cases as in memory.
#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/collective_bytes.h"
#include "runtime/cpu_communicator.h"
#include "runtime/rendezvous.h"
#include "tests/support/collective_cases.h"
#include "tests/support/mpi_world.h"
#include "tests/support/transport_cases.h"

namespace weft {
namespace {

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

TEST(MpiTransport, Conforms) {
  for (const testing::TransportCase& test : testing::TransportCases()) {
    SCOPED_TRACE(test.name);
    test.run(*world);
  }
}

TEST(MpiTransport, StartsOnce) {
  EXPECT_TRUE(StartedByMpi());
  EXPECT_EQ(StartMpi().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(MpiTransport, CollectivesConformInAllDTypes) {
  const auto c = MustCreate(Everyone(), 100);
  for (const DType dtype : testing::kAllDTypes) {
    testing::CheckCollectives(*c, dtype, /*large=*/dtype == DType::kBF16 || dtype == DType::kF32);
  }
}

TEST(MpiTransport, CollectivesConformInSubsets) {
  std::vector<std::vector<int>> groups = {Everyone(), {world->size() - 1}, {0}};
  std::reverse(groups[0].begin(), groups[0].end());
  if (world->size() > 1) groups[1].push_back(0);
  uint32_t tag = 200;
  for (const std::vector<int>& group : groups) {
    ++tag;
    if (std::find(group.begin(), group.end(), world->rank()) == group.end()) continue;
    const auto c = MustCreate(group, tag);
    testing::CheckCollectives(*c, DType::kF32, /*large=*/true);
  }
}

TEST(MpiTransport, SendsThePredictedBytes) {
  const auto c = MustCreate(Everyone(), 300);
  std::vector<float> x(1000003, 1.0f);
  for (const int64_t count : {0, 100, 1000003}) {
    const int64_t before = world->total_bytes_sent();
    ASSERT_EQ(c->AllReduce(x.data(), x.data(), count, DType::kF32, Monoid::kSum), absl::OkStatus());
    EXPECT_EQ(world->total_bytes_sent() - before,
              AllReduceBytesSent(c->rank(), c->size(), count, DType::kF32));
  }
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  // Small chunks, so that messages of the cases travel in several.
  return weft::testing::RunMpiTests(argc, argv, &weft::world, {.chunk_bytes = 100000});
}

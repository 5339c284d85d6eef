// Conversions on one mesh axis that splits evenly send what OneFlow's published table says
// (tests/support/published_bytes.h), for every pair of layouts, on one mesh and, of tensors so
// large that bytes decide, between disjoint ones. reshard_bytes_test.cc says what holds for small
// ones. That the bytes predicted here are those sent is shown by running conversions
// (tests/system/reshard_test.cc).
#include "tests/support/published_bytes.h"

#include <cstdio>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "parallel/instantiate_reshard.h"
#include "parallel/reshard.h"
#include "tests/support/reshard_cases.h"

namespace weft {
namespace {

using testing::Lying;
using testing::PublishedBytes;
using testing::ReshardCase;
using testing::ReshardCases;

const TensorSpec kEven = {{8, 8, 16}, DType::kF32};  // the conformance table's
// So large that bytes decide, not the number of messages.
const TensorSpec kLarge = {{1024, 1024}, DType::kF32};

int64_t PlannedBytes(const TensorSpec& spec, const Lying& from, const Lying& to) {
  const auto steps = PlanReshard(spec, from.layout, from.mesh, to.layout, to.mesh, CostModel());
  EXPECT_TRUE(steps.ok()) << steps.status();
  int64_t bytes = 0;
  if (!steps.ok()) return bytes;
  for (const ReshardStep& step : *steps) bytes += TotalBytesSent(step, spec);
  return bytes;
}

// Compares conversions with the table, and keeps the names of those that differ.
class Comparison {
 public:
  void Add(const TensorSpec& spec, const Lying& from, const Lying& to) {
    const std::optional<int64_t> published = PublishedBytes(spec, from, to);
    if (!published) return;
    ++compared_;
    const int64_t planned = PlannedBytes(spec, from, to);
    const std::string name = ReshardCase{"", spec, {from, to}}.ToString();
    if (planned < *published) {
      less_.push_back(absl::StrCat(name, ": ", planned, ", published ", *published));
    }
    if (planned > *published) {
      more_.push_back(absl::StrCat(name, ": ", planned, ", published ", *published));
    }
  }
  void Check() const {
    std::printf("%d conversions send what is published, but for %zu that send less\n", compared_,
                less_.size());
    for (const std::string& name : less_) std::printf("less: %s\n", name.c_str());
    EXPECT_THAT(more_, ::testing::IsEmpty());
  }
  int compared() const { return compared_; }

 private:
  int compared_ = 0;
  std::vector<std::string> more_, less_;
};

Mesh Ranks(int first, int count) {
  std::vector<int> ranks(count);
  std::iota(ranks.begin(), ranks.end(), first);
  return *Mesh::Create({{"x", count}}, ranks);
}

TEST(PublishedBytes, EveryPairOfLayouts) {
  const std::vector<Sbp> layouts = {Sbp::S(0), Sbp::S(1), Sbp::B(), Sbp::P(), Sbp::P(Monoid::kMax)};
  Comparison comparison;
  for (const TensorSpec& spec : {kEven, kLarge}) {
    for (const int p1 : {2, 4, 8}) {
      std::vector<Mesh> ends = {Ranks(0, p1)};
      for (const int p2 : {2, 4, 8}) ends.push_back(Ranks(p1, p2));
      for (const Mesh& end : ends) {
        for (const Sbp& from : layouts) {
          for (const Sbp& to : layouts) {
            if (spec == kEven && end != ends[0]) continue;
            comparison.Add(spec, {{from}, ends[0]}, {{to}, end});
          }
        }
      }
    }
  }
  comparison.Check();
  // Partials of one kind do not become those of the other in the table.
  EXPECT_EQ(comparison.compared(), (3 + 3 * 4) * (5 * 5 - 2));
}

// The even cases among those that are run on ranks: 2, 3 and 4 ranks to the same.
TEST(PublishedBytes, EvenCasesOfTheConformanceTable) {
  Comparison comparison;
  for (const ReshardCase& c : ReshardCases::All()) {
    if (c.row == "B1" && c.spec == kEven) {
      comparison.Add(c.spec, c.from(), c.to());
    }
  }
  comparison.Check();
  // 8 is even on 2 and on 4 ranks; on 3, what splits nothing.
  EXPECT_EQ(comparison.compared(), 2 * (5 * 5 - 2) + (3 * 3 - 2));
}

}  // namespace
}  // namespace weft

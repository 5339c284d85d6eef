// The bytes of the planner's paths beside OneFlow's table, and beside all other paths: more bytes
// are sent only where that is quicker (docs/decisions/0007-cheapest-is-quickest.md).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/parallel/priced_reshard.h"
#include "tests/parallel/reshard_bound.h"
#include "tests/support/reshard_cases.h"

namespace weft {
namespace {

using testing::BytesBound;
using testing::IsLegal;
using testing::Lying;
using testing::PlanOf;
using testing::Priced;
using testing::ReshardCase;
using testing::ReshardCases;

// The path by way of `stops`; without steps if one of them cannot be a single step.
Priced PathOf(const TensorSpec& spec, const std::vector<const Lying*>& stops,
              const CostModel& cost) {
  Priced path;
  for (size_t i = 0; i + 1 < stops.size(); ++i) {
    auto step = MakeReshardStep(spec, stops[i]->layout, stops[i]->mesh, stops[i + 1]->layout,
                                stops[i + 1]->mesh);
    if (!step.ok()) return Priced();
    path.Add(*std::move(step), spec, cost);
  }
  return path;
}

// The quickest of the paths of one or two steps that send at most `bound` bytes; seconds are
// infinite if there is none.
Priced QuickestWithin(int64_t bound, const TensorSpec& spec, const Lying& from, const Lying& to,
                      const CostModel& cost = CostModel()) {
  Priced best;
  best.seconds = std::numeric_limits<double>::infinity();
  const auto consider = [&](const std::vector<const Lying*>& stops) {
    Priced path = PathOf(spec, stops, cost);
    if (path.steps.empty() || path.bytes > bound || path.seconds >= best.seconds) return;
    best = std::move(path);
  };
  consider({&from, &to});
  for (const Lying* end : {&from, &to}) {
    std::vector<Layout> layouts = {Layout()};
    for (int a = 0; a < end->mesh.num_axes(); ++a) {
      std::vector<Sbp> options = {Sbp::B(), end->layout[a]};
      if (from.mesh == to.mesh) options.push_back(end == &from ? to.layout[a] : from.layout[a]);
      for (int d = 0; d < std::min(spec.rank(), 2); ++d) options.push_back(Sbp::S(d));
      std::vector<Layout> longer;
      for (const Layout& layout : layouts) {
        for (const Sbp& sbp : options) {
          longer.push_back(layout);
          longer.back().push_back(sbp);
        }
      }
      layouts = std::move(longer);
    }
    for (const Layout& layout : layouts) {
      const Lying middle{layout, end->mesh};
      consider({&from, &middle, &to});
    }
  }
  return best;
}

// Calls visit(case of two stops) for every conversion of the table, those within chains included.
int ForEachConversion(const std::function<void(const ReshardCase&)>& visit) {
  int visited = 0;
  for (const ReshardCase& c : ReshardCases::All()) {
    for (size_t i = 0; i + 1 < c.stops.size(); ++i) {
      if (!IsLegal(c.spec, c.stops[i]) || !IsLegal(c.spec, c.stops[i + 1])) continue;
      visit({c.row, c.spec, {c.stops[i], c.stops[i + 1]}});
      ++visited;
    }
  }
  return visited;
}

// Every conversion of the table beside the table's bytes and the other paths that keep to them.
struct Tally {
  int checked = 0;
  int faster = 0;  // more bytes, and quicker than all paths that keep to the table
  int alone = 0;   // more bytes, and no path was found that keeps to it
  int missed = 0;  // more bytes, and one of those paths would be quicker
  double worst = 1;
  std::string slowest;
};

Tally TallyOf(const CostModel& cost, const char* what) {
  Tally tally;
  tally.checked = ForEachConversion([&](const ReshardCase& c) {
    const int64_t bound = BytesBound::Of(c.spec, c.from(), c.to());
    const Priced plan = PlanOf(c.spec, c.from(), c.to(), cost);
    if (plan.bytes <= bound) return;
    const Priced other = QuickestWithin(bound, c.spec, c.from(), c.to(), cost);
    if (plan.seconds > tally.worst * other.seconds) {
      tally.worst = plan.seconds / other.seconds;
      tally.slowest = c.ToString();
    }
    const bool found = !std::isinf(other.seconds);
    ++(!found ? tally.alone : plan.seconds < other.seconds ? tally.faster : tally.missed);
  });
  std::printf(
      "%s, %d conversions: %d send more bytes than the table and are faster so; for %d no path was "
      "found that sends less; %d miss one, at worst %.4f times as slow (%s)\n",
      what, tally.checked, tally.faster, tally.alone, tally.missed, tally.worst,
      tally.slowest.c_str());
  return tally;
}

// Where the planner sends more than the table, that is faster: other paths have more messages one
// after the other, or leave more of the work to one rank. The planner does not look at every layout
// on the way, and misses a few.
TEST(ReshardBytes, MoreThanTheTableOnlyWhereThatIsFaster) {
  const Tally tally = TallyOf(CostModel(), "by default");
  EXPECT_GT(tally.checked, 9000);
  EXPECT_LT(tally.alone, 200);
  EXPECT_LT(tally.missed, tally.checked / 200);
  EXPECT_LT(tally.worst, 1.1);
}

// As of large tensors: bytes alone take time. What is missed then has replicas of the source do a
// share of its reduction, which the planner does not look for.
TEST(ReshardBytes, MoreThanTheTableIsRareWhereBytesAloneTakeTime) {
  CostModel cost;
  cost.link_latency = 0;
  cost.link_bytes_per_second = 1e-3;
  const Tally tally = TallyOf(cost, "by bytes alone");
  EXPECT_LT(tally.faster + tally.alone + tally.missed, tally.checked / 20);
  EXPECT_LT(tally.missed, tally.checked / 200);
  EXPECT_LT(tally.worst, 1.6);
}

// OneFlow's table: bytes over all devices of a tensor of `t` bytes from p1 devices to p2 others, or
// on the same p1.
int64_t TableBytes(const Sbp& from, const Sbp& to, bool same, int64_t p1, int64_t p2, int64_t t) {
  if (!same) {
    if (from.is_partial()) return to.is_broadcast() ? (p1 + p2 - 1) * t : p1 * t;
    return to.is_broadcast() ? p2 * t : t;
  }
  if (from.is_split()) {
    if (to.is_split()) return from == to ? 0 : t * (p1 - 1) / p1;
    return to.is_broadcast() ? (p1 - 1) * t : 0;
  }
  if (!from.is_partial() || to.is_partial()) return 0;
  return (to.is_broadcast() ? 2 : 1) * (p1 - 1) * t;
}

struct OneAxis {
  Sbp from, to;
  int p1 = 1, p2 = 1;
  bool same = false;

  std::string ToString() const {
    return absl::StrCat(from.ToString(), " on ", p1, " to ", to.ToString(), " on ",
                        same ? "the same" : absl::StrCat(p2, " others"));
  }
  Lying start() const { return {{from}, *Mesh::Create({{"x", p1}}, Ranks(0, p1))}; }
  Lying end() const {
    return {{to}, same ? start().mesh : *Mesh::Create({{"x", p2}}, Ranks(p1, p2))};
  }

 private:
  static std::vector<int> Ranks(int first, int count) {
    std::vector<int> ranks(count);
    for (int i = 0; i < count; ++i) ranks[i] = first + i;
    return ranks;
  }
};

// Every pair of layouts, from 2, 4 and 8 ranks to the same and to 2, 4 and 8 others.
std::vector<OneAxis> AllOfOneAxis() {
  std::vector<OneAxis> all;
  const Sbp sbps[] = {Sbp::S(0), Sbp::S(1), Sbp::B(), Sbp::P()};
  for (const Sbp& from : sbps) {
    for (const Sbp& to : sbps) {
      for (const int p1 : {2, 4, 8}) {
        all.push_back({from, to, p1, p1, true});
        for (const int p2 : {2, 4, 8}) all.push_back({from, to, p1, p2, false});
      }
    }
  }
  return all;
}

// One axis, even splits, a tensor so large that its bytes decide: exactly the table.
TEST(ReshardBytes, OfLargeEvenTensorsAreThoseOfTheTable) {
  const TensorSpec spec{{1024, 1024}, DType::kF32};
  int rows = 0;
  for (const OneAxis& c : AllOfOneAxis()) {
    EXPECT_EQ(PlanOf(spec, c.start(), c.end()).bytes,
              TableBytes(c.from, c.to, c.same, c.p1, c.p2, spec.bytes()))
        << c.ToString();
    ++rows;
  }
  EXPECT_EQ(rows, 16 * 3 * 4);
}

// A small tensor: fewer messages one after the other are worth more bytes. On one mesh none are
// saved; between meshes of equal size a sum for everyone is sent to everyone at once.
TEST(ReshardBytes, OfSmallTensorsExceedTheTableWhereMessagesAreSaved) {
  const TensorSpec spec{{8, 1024}, DType::kF32};
  std::vector<std::string> equal_sizes;
  int more = 0;
  for (const OneAxis& c : AllOfOneAxis()) {
    const int64_t table = TableBytes(c.from, c.to, c.same, c.p1, c.p2, spec.bytes());
    const Priced plan = PlanOf(spec, c.start(), c.end());
    if (plan.bytes <= table) continue;
    ++more;
    EXPECT_FALSE(c.same) << c.ToString();
    EXPECT_LT(plan.seconds, QuickestWithin(table, spec, c.start(), c.end()).seconds)
        << c.ToString();
    if (c.p1 == c.p2) equal_sizes.push_back(c.ToString());
  }
  EXPECT_EQ(equal_sizes, (std::vector<std::string>{"P(sum) on 2 to B on 2 others",
                                                   "P(sum) on 4 to B on 4 others",
                                                   "P(sum) on 8 to B on 8 others"}));
  std::printf("of a small tensor %d of %zu conversions send more than the table\n", more,
              AllOfOneAxis().size());
}

}  // namespace
}  // namespace weft

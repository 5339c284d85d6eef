// Conversions between layouts over real threads: pieces in one run and in many, local copies, sums
// of partials in rank order, identities.
#include <functional>
#include <string>
#include <vector>

#include "actors/executor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/plan_builder.h"
#include "tests/support/run_ranks.h"
#include "tests/support/toy_kernels.h"

namespace weft {
namespace {

using testing::PlanBuilder;

constexpr int kRanks = 3;
const std::vector<int64_t> kShape = {5, 7};

// What a rank holds before or after a conversion.
using LayoutOf = std::function<Box(int rank)>;

Box Whole(int) { return Box::Whole(kShape); }
// Balanced split of dimension `dim`, as [iN/3, (i+1)N/3).
LayoutOf Split(int dim) {
  return [dim](int rank) {
    Box box = Box::Whole(kShape);
    const int64_t n = kShape[dim];
    box.dims[dim] = IndexSet({rank * n / kRanks, (rank + 1) * n / kRanks});
    return box;
  };
}
// First and last rows on rank 0, inner ones on rank 1, none on rank 2.
Box Zigzag(int rank) {
  Box box;
  IndexSet& rows = box.dims.emplace_back();
  if (rank == 0) {
    rows.Append({0, 1});
    rows.Append({4, 5});
  }
  if (rank == 1) rows.Append({1, 4});
  box.dims.emplace_back(Interval{0, kShape[1]});
  return box;
}

float At(int64_t row, int64_t column, int rank) {
  return static_cast<float>(100 * row + 10 * column + rank);
}

// Every rank converts from `from` to `to`; when `partial`, values differ by rank and are summed,
// else each piece comes from the lowest rank that has it.
void Convert(const LayoutOf& from, const LayoutOf& to, bool partial) {
  const KernelTable kernels = testing::ToyKernels();
  testing::RunRanks(kRanks, {}, [&](Transport& transport) {
    const int rank = transport.rank();
    PlanBuilder b(rank, kRanks);
    const int in = b.Stream("in"), comm = b.Stream("comm"), out = b.Stream("out");
    const int feed = b.Actor("feed", in), convert = b.Actor("convert", comm);
    const int fetch = b.Actor("fetch", out);
    const int x = b.Channel("x", feed, {{convert}}, 2), y = b.Channel("y", convert, {{fetch}}, 1);
    b.plan().mutable_channels(x)->add_buffers(b.Buffer("x", kShape, from(rank), 2));
    b.plan().mutable_channels(y)->add_buffers(b.Buffer("y", kShape, to(rank), 1));
    b.Feed(feed, "x", b.On(x));
    b.Fetch(fetch, "y", b.On(y));
    ExchangeDef* exchange = b.Exchange(convert, 5, b.On(x), b.On(y));
    exchange->set_combine(partial);
    for (int peer = 0; peer < kRanks; ++peer) {
      const bool same_source = !partial && from(0) == from(1);
      if (!same_source || rank == 0) {
        PlanBuilder::Piece(exchange->add_sends(), peer, from(rank).Intersect(to(peer)));
      }
      if (!same_source || peer == 0) {
        PlanBuilder::Piece(exchange->add_receives(), peer, from(peer).Intersect(to(rank)));
      }
    }
    b.PlaceStaging();
    b.Order({feed, convert, fetch});
    ExecutorOptions options{.kernels = kernels};
    options.transport = &transport;
    options.feed = [&](std::string_view, int64_t step, int64_t, const Operand& v) {
      for (int64_t i = 0; i < v.elements(); ++i) {
        v.as<float>()[i] = static_cast<float>(step) + At(v.box->dims[0].ToLogical(i / v.shape[1]),
                                                         v.box->dims[1].ToLogical(i % v.shape[1]),
                                                         partial ? rank : 0);
      }
      return absl::OkStatus();
    };
    options.fetch = [&](std::string_view, int64_t step, int64_t, const Operand& v) {
      for (int64_t i = 0; i < v.elements(); ++i) {
        const int64_t row = v.box->dims[0].ToLogical(i / v.shape[1]);
        const int64_t column = v.box->dims[1].ToLogical(i % v.shape[1]);
        float expected = 0;
        for (int r = 0; r < (partial ? kRanks : 1); ++r) {
          expected += static_cast<float>(step) + At(row, column, r);
        }
        EXPECT_EQ(v.as<float>()[i], expected);
      }
      return absl::OkStatus();
    };
    const ExchangeDef& placed = b.plan().actors(convert).exchange();
    if (placed.workspace_bytes() > 0) {
      Plan without = b.plan();
      without.mutable_actors(convert)->mutable_exchange()->set_workspace_bytes(0);
      EXPECT_THAT(std::string(Executor::Create(without, options).status().message()),
                  ::testing::HasSubstr("a workspace of 0 bytes where"));
    }
    auto executor = Executor::Create(b.plan(), std::move(options));
    ASSERT_TRUE(executor.ok()) << executor.status();
    const absl::Status status = (*executor)->RunSteps(0, 5);
    EXPECT_TRUE(status.ok()) << status;
  });
}

TEST(ExchangeTest, ConvertsBetweenLayouts) {
  for (const LayoutOf& from : {LayoutOf(Whole), Split(0), Split(1), LayoutOf(Zigzag)}) {
    for (const LayoutOf& to : {LayoutOf(Whole), Split(0), Split(1), LayoutOf(Zigzag)}) {
      Convert(from, to, /*partial=*/false);
    }
  }
}

TEST(ExchangeTest, SumsPartialsInTheOrderListed) {
  for (const LayoutOf& to : {LayoutOf(Whole), Split(0), Split(1), LayoutOf(Zigzag)}) {
    Convert(Whole, to, /*partial=*/true);
  }
}

// One rank, no transport: a local piece into an output that starts as the identity.
TEST(ExchangeTest, FillsWithTheIdentity) {
  PlanBuilder b;
  const int s = b.Stream("s");
  const int feed = b.Actor("feed", s), convert = b.Actor("convert", s), fetch = b.Actor("fetch", s);
  const int x = b.Channel("x", feed, {{convert}}, 1, 4),
            y = b.Channel("y", convert, {{fetch}}, 1, 4);
  b.Feed(feed, "x", b.On(x));
  b.Fetch(fetch, "y", b.On(y));
  ExchangeDef* exchange = b.Exchange(convert, 0, b.On(x), b.On(y));
  exchange->set_fill_identity(true);
  Box middle;
  middle.dims.push_back(IndexSet({1, 3}));
  PlanBuilder::Piece(exchange->add_receives(), 0, middle);
  b.Order({feed, convert, fetch});
  const KernelTable kernels = testing::ToyKernels();
  std::vector<float> got;
  ExecutorOptions options{.kernels = kernels};
  options.feed = [](std::string_view, int64_t, int64_t, const Operand& v) {
    for (int i = 0; i < 4; ++i) v.as<float>()[i] = 7;
    return absl::OkStatus();
  };
  options.fetch = [&](std::string_view, int64_t, int64_t, const Operand& v) {
    got.assign(v.as<float>(), v.as<float>() + 4);
    return absl::OkStatus();
  };
  auto executor = Executor::Create(b.plan(), options);
  ASSERT_TRUE(executor.ok()) << executor.status();
  ASSERT_TRUE((*executor)->Run(0).ok());
  EXPECT_EQ(got, (std::vector<float>{0, 7, 7, 0}));
  Plan remote = b.plan();
  remote.set_world_size(2);
  remote.mutable_actors(convert)->mutable_exchange()->mutable_receives(0)->set_peer(1);
  EXPECT_THAT(std::string(Executor::Create(remote, options).status().message()),
              ::testing::HasSubstr("no transport"));
}

}  // namespace
}  // namespace weft

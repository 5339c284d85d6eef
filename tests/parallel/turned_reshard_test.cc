// Conversions between splits by turns: who sends what, against the boxes that ranks hold.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "parallel/instantiate_reshard.h"
#include "parallel/reshard_step.h"
#include "runtime/box_proto.h"

namespace weft {
namespace {

Layout LayoutOf(const Mesh& mesh, const std::vector<int>& turns, IndexOrder order) {
  Layout layout;
  for (int a = 0; a < mesh.num_axes(); ++a) {
    layout.push_back(Sbp::Turned(Sbp::S(0, order), {.steps = static_cast<int16_t>(turns[a])}));
  }
  return layout;
}

// Every rank gets exactly its new part, each piece from the one that holds it.
void Check(const TensorSpec& spec, const Mesh& mesh, const Layout& from, const Layout& to) {
  SCOPED_TRACE(absl::StrCat(spec.ToString(), " ", ToString(from, mesh), " -> ", ToString(to, mesh)));
  const absl::StatusOr<ReshardStep> step = MakeReshardStep(spec, from, mesh, to, mesh);
  ASSERT_TRUE(step.ok()) << step.status();
  int64_t sent = 0, received = 0;
  for (int r = 0; r < mesh.size(); ++r) {
    const absl::StatusOr<RankReshard> part = InstantiateStep(*step, spec, mesh.ranks()[r]);
    ASSERT_TRUE(part.ok()) << part.status();
    ASSERT_TRUE(part->exchange.has_value());
    const Box wanted = BoxOf(spec.shape, to, mesh, r);
    int64_t elements = 0;
    for (const PieceDef& piece : part->exchange->receives()) {
      const absl::StatusOr<Box> box = FromProto(piece.box());
      ASSERT_TRUE(box.ok());
      EXPECT_EQ(box->Intersect(wanted), *box);
      EXPECT_EQ(box->Intersect(BoxOf(spec.shape, from, mesh, mesh.IndexOf(piece.peer()))), *box);
      elements += box->elements();
      if (piece.peer() != mesh.ranks()[r]) received += box->elements();
    }
    EXPECT_EQ(elements, wanted.elements()) << "rank " << r;
    sent += BytesSent(*step, spec, mesh.ranks()[r]);
  }
  EXPECT_EQ(sent, received * SizeOf(spec.dtype));
  EXPECT_EQ(sent, TotalBytesSent(*step, spec));
}

TEST(TurnedReshard, EveryPairOfTurns) {
  for (const char* text : {"seq:3", "seq:4", "seq_outer:2,seq_inner:3"}) {
    const Mesh mesh = *Mesh::Parse(text);
    for (int64_t n : {4, 12, 29}) {
      const TensorSpec spec{{n, 2}, DType::kF32};
      for (IndexOrder order : {IndexOrder::kContiguous, IndexOrder::kZigzag}) {
        for (int a = 0; a < 16; ++a) {
          for (int b = 0; b < 16; ++b) {
            if (a == b) continue;
            Check(spec, mesh, LayoutOf(mesh, {a / 4, a % 4}, order),
                  LayoutOf(mesh, {b / 4, b % 4}, order));
          }
        }
      }
    }
  }
}

// Rows within reach come from their ranks, and what was summed for them goes back and leaves the
// rest zero.
TEST(TurnedReshard, WithinReachAndBack) {
  const Mesh mesh = *Mesh::Parse("seq:4");
  const TensorSpec spec{{10, 2}, DType::kF32};  // 0:3, 3:6, 6:8, 8:10
  const Layout own = {Sbp::S(0)};
  const Layout near = {Sbp::Turned(Sbp::S(0), {.steps = -1, .reach = 2})};
  const ReshardStep there = *MakeReshardStep(spec, own, mesh, near, mesh);
  const ReshardStep back = *MakeReshardStep(spec, near, mesh, own, mesh);
  EXPECT_EQ(TotalBytesSent(there, spec), 3 * 2 * 2 * 4);
  EXPECT_EQ(TotalBytesSent(back, spec), 3 * 2 * 2 * 4);
  for (int rank = 0; rank < 4; ++rank) {
    const ExchangeDef def = *InstantiateStep(there, spec, rank)->exchange;
    ASSERT_EQ(def.receives_size(), rank == 0 ? 0 : 1);
    if (rank > 0) EXPECT_EQ(def.receives(0).peer(), rank - 1);
    EXPECT_FALSE(def.fill_identity());
    const ExchangeDef home = *InstantiateStep(back, spec, rank)->exchange;
    ASSERT_EQ(home.receives_size(), rank == 3 ? 0 : 1);
    if (rank < 3) EXPECT_EQ(home.receives(0).peer(), rank + 1);
    EXPECT_TRUE(home.fill_identity());
    EXPECT_EQ(home.monoid(), static_cast<int>(Monoid::kSum));
  }
}

}  // namespace
}  // namespace weft

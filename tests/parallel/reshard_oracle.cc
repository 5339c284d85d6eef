#include "tests/parallel/reshard_oracle.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "parallel/instantiate_reshard.h"
#include "runtime/box_proto.h"
#include "runtime/collective_bytes.h"

namespace weft {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double Combine(Monoid monoid, double a, double b) {
  switch (monoid) {
    case Monoid::kSum: return a + b;
    case Monoid::kMax: return std::max(a, b);
    case Monoid::kLogAddExp: {
      if (a < b) std::swap(a, b);
      return b == -kInfinity ? a : a + std::log1p(std::exp(b - a));
    }
  }
  return 0;
}

// Copy c of p of the value x at flat index i: copies combine to x exactly.
double Share(Monoid monoid, double x, int c, int p, int64_t i) {
  if (x == -kInfinity) return x;
  switch (monoid) {
    case Monoid::kSum: {
      auto noise = [&](int copy) { return static_cast<double>((i * 5 + copy * 3) % 11 - 4); };
      if (c > 0) return noise(c);
      for (int k = 1; k < p; ++k) x -= noise(k);
      return x;
    }
    case Monoid::kMax: return i % p == c ? x : x - 1 - c;
    case Monoid::kLogAddExp: return i % p == c ? x : -kInfinity;
  }
  return 0;
}

// Logical row-major indices of a box's elements, in local order.
std::vector<int64_t> FlatIndices(const Shape& shape, const Box& box) {
  std::vector<int64_t> flat = {0};
  for (size_t d = 0; d < box.dims.size(); ++d) {
    std::vector<int64_t> longer;
    for (int64_t base : flat) {
      for (const Interval& interval : box.dims[d].intervals()) {
        for (int64_t i = interval.begin; i < interval.end; ++i) {
          longer.push_back(base * shape[d] + i);
        }
      }
    }
    flat = std::move(longer);
  }
  return flat;
}

// Positions in the part of `whole` of the elements of `piece`.
std::vector<int64_t> LocalPositions(const Shape& shape, const Box& whole, const Box& piece) {
  std::map<int64_t, int64_t> position;
  for (int64_t flat : FlatIndices(shape, whole)) {
    const auto next = static_cast<int64_t>(position.size());
    position[flat] = next;
  }
  std::vector<int64_t> positions;
  for (int64_t flat : FlatIndices(shape, piece)) positions.push_back(position.at(flat));
  return positions;
}

Box BoxOnRank(const TensorSpec& spec, const Layout& layout, const Mesh& mesh, int rank) {
  return BoxOf(spec.shape, layout, mesh, mesh.IndexOf(rank));
}

Box Read(const BoxDef& def) {
  absl::StatusOr<Box> box = FromProto(def);
  EXPECT_TRUE(box.ok()) << box.status();
  return box.ok() ? *box : Box();
}

Parts ExecuteAllReduce(const ReshardStep& step, const TensorSpec& spec, const Parts& parts,
                       int64_t* bytes) {
  Parts result;
  for (int rank : step.from_mesh.ranks()) {
    absl::StatusOr<RankReshard> work = InstantiateStep(step, spec, rank);
    EXPECT_TRUE(work.ok() && work->all_reduce && !work->exchange);
    const AllReduceDef& def = *work->all_reduce;
    EXPECT_EQ(std::count(def.ranks().begin(), def.ranks().end(), rank), 1);
    std::vector<double> sum;
    for (int peer : def.ranks()) {
      const std::vector<double>& part = parts.at(peer);
      EXPECT_EQ(part.size(), parts.at(rank).size());
      if (sum.empty()) {
        sum = part;
        continue;
      }
      for (size_t i = 0; i < sum.size(); ++i) {
        sum[i] = Combine(static_cast<Monoid>(def.monoid()), sum[i], part[i]);
      }
    }
    *bytes += BytesSent(step, spec, rank);
    result[rank] = std::move(sum);
  }
  return result;
}

using Message = std::pair<int, int>;  // from, to

// Packs what every rank sends; counts bytes.
std::map<Message, std::vector<double>> SendAll(const ReshardStep& step, const TensorSpec& spec,
                                               const Parts& parts,
                                               const std::map<int, ExchangeDef>& defs,
                                               int64_t* bytes) {
  std::map<Message, std::vector<double>> wire;
  for (const auto& [rank, def] : defs) {
    int64_t sent = 0;
    for (const PieceDef& piece : def.sends()) {
      EXPECT_NE(piece.peer(), rank);
      EXPECT_EQ(def.input().buffer(), 0);
      std::vector<double>& message = wire[{rank, piece.peer()}];
      EXPECT_TRUE(message.empty()) << "two pieces between two ranks";
      const Box box = Read(piece.box());
      for (int64_t p :
           LocalPositions(spec.shape, BoxOnRank(spec, step.from, step.from_mesh, rank), box)) {
        message.push_back(parts.at(rank)[p]);
      }
      sent += box.elements() * SizeOf(spec.dtype);
    }
    EXPECT_EQ(sent, BytesSent(step, spec, rank));
    EXPECT_TRUE(step.kind == ReshardStep::Kind::kExchange || sent == 0);
    *bytes += sent;
  }
  return wire;
}

double Identity(Monoid monoid) { return monoid == Monoid::kSum ? 0 : -kInfinity; }

Parts ExecuteExchange(const ReshardStep& step, const TensorSpec& spec, const Parts& parts,
                      int64_t* bytes) {
  std::set<int> ranks(step.from_mesh.ranks().begin(), step.from_mesh.ranks().end());
  ranks.insert(step.to_mesh.ranks().begin(), step.to_mesh.ranks().end());
  std::map<int, ExchangeDef> defs;
  for (int rank : ranks) {
    absl::StatusOr<RankReshard> work = InstantiateStep(step, spec, rank);
    EXPECT_TRUE(work.ok() && work->exchange && !work->all_reduce);
    defs[rank] = *work->exchange;
  }
  std::map<Message, std::vector<double>> wire = SendAll(step, spec, parts, defs, bytes);
  Parts result;
  for (const auto& [rank, def] : defs) {
    EXPECT_EQ(def.output().buffer(), step.to_mesh.IndexOf(rank) < 0 ? -1 : 0);
    if (step.to_mesh.IndexOf(rank) < 0) {
      EXPECT_EQ(def.receives_size(), 0);
      continue;
    }
    const Monoid monoid = static_cast<Monoid>(def.monoid());
    const Box whole = BoxOnRank(spec, step.to, step.to_mesh, rank);
    // A part that nobody writes would show as a NaN.
    std::vector<double> part(whole.elements(),
                             def.fill_identity() ? Identity(monoid) : std::nan(""));
    for (const PieceDef& piece : def.receives()) {
      const Box box = Read(piece.box());
      std::vector<double> message;
      if (piece.peer() == rank) {
        for (int64_t p :
             LocalPositions(spec.shape, BoxOnRank(spec, step.from, step.from_mesh, rank), box)) {
          message.push_back(parts.at(rank)[p]);
        }
      } else {
        auto it = wire.find({piece.peer(), rank});
        EXPECT_NE(it, wire.end()) << "a receive that nobody sends";
        if (it == wire.end()) continue;
        message = std::move(it->second);
        wire.erase(it);
      }
      const std::vector<int64_t> positions = LocalPositions(spec.shape, whole, box);
      EXPECT_EQ(positions.size(), message.size());
      for (size_t i = 0; i < std::min(positions.size(), message.size()); ++i) {
        double& place = part[positions[i]];
        place = def.combine() ? Combine(monoid, place, message[i]) : message[i];
      }
    }
    result[rank] = std::move(part);
  }
  EXPECT_TRUE(wire.empty()) << "a send that nobody receives";
  return result;
}

// Combines the copies of element `flat` over partial axes from `axis` on, innermost first.
double Whole(const Parts& parts, const TensorSpec& spec, const Layout& layout, const Mesh& mesh,
             int member, int axis, int64_t local) {
  while (axis < mesh.num_axes() && !layout[axis].is_partial()) ++axis;
  if (axis == mesh.num_axes()) return parts.at(mesh.ranks()[member])[local];
  double value = 0;
  bool first = true;
  for (int other : mesh.Line(member, axis)) {
    const double x = Whole(parts, spec, layout, mesh, other, axis + 1, local);
    value = first ? x : Combine(layout[axis].monoid(), value, x);
    first = false;
  }
  return value;
}

}  // namespace

std::vector<double> LogicalArray(const TensorSpec& spec) {
  std::vector<double> logical(spec.elements());
  for (size_t i = 0; i < logical.size(); ++i) logical[i] = static_cast<double>(i * 37 % 101) - 50;
  return logical;
}

Parts Cut(const std::vector<double>& logical, const TensorSpec& spec, const Layout& layout,
          const Mesh& mesh) {
  Parts parts;
  for (int member = 0; member < mesh.size(); ++member) {
    std::vector<double>& part = parts[mesh.ranks()[member]];
    for (int64_t flat : FlatIndices(spec.shape, BoxOf(spec.shape, layout, mesh, member))) {
      double x = logical[flat];
      for (int a = 0; a < mesh.num_axes(); ++a) {
        if (!layout[a].is_partial()) continue;
        x = Share(layout[a].monoid(), x, mesh.Coordinate(member, a), mesh.axes()[a].size, flat + a);
      }
      part.push_back(x);
    }
  }
  return parts;
}

std::string Mismatch(const Parts& parts, const std::vector<double>& logical, const TensorSpec& spec,
                     const Layout& layout, const Mesh& mesh) {
  if (parts.size() != mesh.ranks().size()) return absl::StrCat(parts.size(), " ranks hold a part");
  std::map<int, std::vector<int64_t>> indices;
  for (int member = 0; member < mesh.size(); ++member) {
    indices[member] = FlatIndices(spec.shape, BoxOf(spec.shape, layout, mesh, member));
    if (parts.at(mesh.ranks()[member]).size() != indices[member].size()) {
      return absl::StrCat("rank ", mesh.ranks()[member], " holds a part of the wrong size");
    }
  }
  for (int member = 0; member < mesh.size(); ++member) {
    for (size_t i = 0; i < indices[member].size(); ++i) {
      const double x = Whole(parts, spec, layout, mesh, member, 0, static_cast<int64_t>(i));
      const double wanted = logical[indices[member][i]];
      if (!(x == wanted)) {
        return absl::StrCat("rank ", mesh.ranks()[member], " element ", i, ": ", x, " not ",
                            wanted);
      }
    }
  }
  return "";
}

Parts Execute(const ReshardStep& step, const TensorSpec& spec, const Parts& parts, int64_t* bytes) {
  if (step.kind == ReshardStep::Kind::kAllReduce) return ExecuteAllReduce(step, spec, parts, bytes);
  return ExecuteExchange(step, spec, parts, bytes);
}

}  // namespace weft

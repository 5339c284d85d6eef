#include "parallel/instantiate_reshard.h"

#include "absl/strings/str_cat.h"
#include "parallel/reshard_map.h"
#include "runtime/box_proto.h"
#include "runtime/collective_bytes.h"

namespace weft {
namespace {

void AddPiece(int peer, const Box& box, PieceDef* piece) {
  piece->set_peer(peer);
  ToProto(box, piece->mutable_box());
}

// Calls visit(target member, box) for all that `source` sends to other ranks.
template <typename Visit>
void ForEachSend(const ReshardMap& map, const ReshardStep& step, int source, Visit visit) {
  const Box held = map.SourceBox(source);
  if (held.empty()) return;
  for (int t = 0; t < step.to_mesh.size(); ++t) {
    if (map.SourceOn(t) == source || map.Copies(t) == 0 || !map.Feeds(source, t)) continue;
    const Box box = held.Intersect(map.TargetBox(t));
    if (!box.empty()) visit(t, box);
  }
}

void AddReceives(const ReshardMap& map, const ReshardStep& step, int target, ExchangeDef* def) {
  const int copies = map.Copies(target);
  def->set_combine(copies > 1);
  def->set_fill_identity(copies != 1 || map.pads());
  const bool fills = copies == 0 || (copies == 1 && map.pads());
  def->set_monoid(static_cast<int>(fills ? map.FillMonoid(target) : map.CombineMonoid()));
  const Box wanted = map.TargetBox(target);
  if (copies == 0 || wanted.empty()) return;
  for (int s : map.Sources(target)) {
    const Box box = map.SourceBox(s).Intersect(wanted);
    if (!box.empty()) AddPiece(step.from_mesh.ranks()[s], box, def->add_receives());
  }
}

AllReduceDef MakeAllReduce(const ReshardStep& step, int index) {
  AllReduceDef def;
  for (int member : step.from_mesh.Line(index, step.axis)) {
    def.add_ranks(step.from_mesh.ranks()[member]);
  }
  def.set_monoid(static_cast<int>(step.from[step.axis].monoid()));
  return def;
}

int64_t BytesSentBy(const ReshardMap& map, const ReshardStep& step, const TensorSpec& spec,
                    int source) {
  if (step.kind == ReshardStep::Kind::kLocal) return 0;
  if (step.kind == ReshardStep::Kind::kAllReduce) {
    const Box box = BoxOf(spec.shape, step.from, step.from_mesh, source);
    return AllReduceBytesSent(step.from_mesh.Coordinate(source, step.axis),
                              step.from_mesh.axes()[step.axis].size, box.elements(), spec.dtype);
  }
  int64_t elements = 0;
  ForEachSend(map, step, source, [&](int, const Box& box) { elements += box.elements(); });
  return elements * SizeOf(spec.dtype);
}

}  // namespace

absl::StatusOr<RankReshard> InstantiateStep(const ReshardStep& step, const TensorSpec& spec,
                                            int world_rank) {
  RankReshard result;
  const int source = step.from_mesh.IndexOf(world_rank);
  const int target = step.to_mesh.IndexOf(world_rank);
  if (step.kind == ReshardStep::Kind::kAllReduce) {
    if (source < 0) return result;
    if (step.axis < 0 || step.axis >= step.from_mesh.num_axes()) {
      return absl::InternalError(absl::StrCat("an all-reduce over axis ", step.axis, " of mesh ",
                                              step.from_mesh.ToString()));
    }
    result.all_reduce = MakeAllReduce(step, source);
    return result;
  }
  if (source < 0 && target < 0) return result;
  const ReshardMap map(spec.shape, step);
  ExchangeDef def;
  def.mutable_input()->set_buffer(source < 0 ? -1 : 0);
  def.mutable_output()->set_buffer(target < 0 ? -1 : 0);
  if (source >= 0 && step.kind == ReshardStep::Kind::kExchange) {
    ForEachSend(map, step, source, [&](int t, const Box& box) {
      AddPiece(step.to_mesh.ranks()[t], box, def.add_sends());
    });
  }
  if (target >= 0) AddReceives(map, step, target, &def);
  result.exchange = std::move(def);
  return result;
}

int64_t BytesSent(const ReshardStep& step, const TensorSpec& spec, int world_rank) {
  const int source = step.from_mesh.IndexOf(world_rank);
  if (source < 0) return 0;
  return BytesSentBy(ReshardMap(spec.shape, step), step, spec, source);
}

int64_t TotalBytesSent(const ReshardStep& step, const TensorSpec& spec) {
  if (step.kind == ReshardStep::Kind::kLocal) return 0;
  const ReshardMap map(spec.shape, step);
  int64_t bytes = 0;
  if (step.kind == ReshardStep::Kind::kExchange) {  // what is sent is received
    for (int t = 0; t < step.to_mesh.size(); ++t) bytes += map.Received(t);
    return bytes * SizeOf(spec.dtype);
  }
  for (int s = 0; s < step.from_mesh.size(); ++s) bytes += BytesSentBy(map, step, spec, s);
  return bytes;
}

}  // namespace weft

#include "parallel/reshard_map.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <unordered_map>
#include <utility>

#include "graph/layout.h"

namespace weft {
namespace {

bool IsPartial(const Layout& layout, const Mesh& mesh, int axis) {
  return mesh.axes()[axis].size > 1 && layout[axis].is_partial();
}

}  // namespace

ReshardMap::ReshardMap(absl::Span<const int64_t> shape, const ReshardStep& step)
    : shape_(shape.begin(), shape.end()), step_(step), uniform_(UniformMonoid()) {
  AssignRoles();
  CheckLegal();
  if (step.same_mesh()) {
    source_on_.resize(step.to_mesh.size());
    std::iota(source_on_.begin(), source_on_.end(), 0);
    return;
  }
  source_on_.resize(step.to_mesh.size(), -1);
  std::unordered_map<int, int> member_of_rank;
  for (int s = 0; s < step.from_mesh.size(); ++s) member_of_rank[step.from_mesh.ranks()[s]] = s;
  for (int t = 0; t < step.to_mesh.size(); ++t) {
    auto it = member_of_rank.find(step.to_mesh.ranks()[t]);
    if (it == member_of_rank.end()) continue;
    source_on_[t] = it->second;
    if (it->second == 0 && uniform_) first_spread_ = SpreadIndex(t);
  }
}

bool ReshardMap::UniformMonoid() const {
  std::optional<Monoid> first;
  for (const auto& [layout, mesh] :
       {std::pair{&step_.from, &step_.from_mesh}, {&step_.to, &step_.to_mesh}}) {
    for (int a = 0; a < mesh->num_axes(); ++a) {
      if (!IsPartial(*layout, *mesh, a)) continue;
      if (first && *first != (*layout)[a].monoid()) return false;
      first = (*layout)[a].monoid();
    }
  }
  return true;
}

int ReshardMap::LoneNewPartial() const {
  int found = -1;
  for (int a = 0; a < step_.from_mesh.num_axes(); ++a) {
    const bool before = IsPartial(step_.from, step_.from_mesh, a);
    if (before && step_.from[a] != step_.to[a]) return -1;
    if (before || !IsPartial(step_.to, step_.to_mesh, a)) continue;
    if (found >= 0) return -1;
    found = a;
  }
  return found;
}

void ReshardMap::AssignRoles() {
  const bool same_mesh = step_.same_mesh();
  if (same_mesh && !uniform_) padded_ = LoneNewPartial();
  for (int a = 0; a < step_.from_mesh.num_axes(); ++a) {
    const int size = step_.from_mesh.axes()[a].size;
    Role role = step_.from[a].is_split() ? Role::kSplit : Role::kReplica;
    if (IsPartial(step_.from, step_.from_mesh, a)) {
      role = same_mesh && step_.from[a] == step_.to[a] ? Role::kOwn : Role::kReduced;
    } else if (role == Role::kSplit && same_mesh && (uniform_ || a == padded_) &&
               IsPartial(step_.to, step_.to_mesh, a)) {
      role = Role::kOwn;
      pads_ = true;
      combine_ = step_.to[a].monoid();
    } else if (role == Role::kSplit && step_.from[a].turn().reach >= 0) {
      pads_ = true;
    }
    roles_.push_back(role);
    if (role == Role::kReduced) reduced_ *= size;
    if (role == Role::kReplica) replicas_ *= size;
  }
  for (int a = 0; a < step_.to_mesh.num_axes(); ++a) {
    const bool own = same_mesh && roles_[a] == Role::kOwn;
    is_spread_.push_back(IsPartial(step_.to, step_.to_mesh, a) && !own);
    if (is_spread_[a]) spread_ *= step_.to_mesh.axes()[a].size;
  }
}

void ReshardMap::CheckLegal() {
  bool found = false;
  for (size_t a = 0; a < roles_.size(); ++a) {
    if (roles_[a] != Role::kReduced) continue;
    const Monoid monoid = step_.from[a].monoid();
    if (found && monoid != combine_) legal_ = false;
    combine_ = monoid;
    found = true;
    for (size_t k = a + 1; k < roles_.size(); ++k) {
      if (roles_[k] == Role::kOwn && step_.from[k].monoid() != monoid && !uniform_) legal_ = false;
    }
  }
}

ReshardMap::Coordinates ReshardMap::SourceCoordinates(int source) const {
  Coordinates coordinates(roles_.size());
  for (int a = static_cast<int>(roles_.size()) - 1; a >= 0; --a) {
    const int size = step_.from_mesh.axes()[a].size;
    coordinates[a] = source % size;
    source /= size;
  }
  return coordinates;
}

int ReshardMap::Spread(int target) const {
  return (SpreadIndex(target) + spread_ - first_spread_) % spread_;
}

int ReshardMap::SpreadIndex(int target) const {
  int index = 0;
  for (size_t a = 0; a < is_spread_.size(); ++a) {
    if (!is_spread_[a]) continue;
    index = index * step_.to_mesh.axes()[a].size +
            step_.to_mesh.Coordinate(target, static_cast<int>(a));
  }
  return index;
}

int ReshardMap::Copies(int target) const {
  const int spread = Spread(target);
  if (!uniform_) return spread == 0 ? reduced_ : 0;
  return spread < reduced_ ? (reduced_ - spread + spread_ - 1) / spread_ : 0;
}

Monoid ReshardMap::FillMonoid(int target) const {
  Monoid monoid = combine_;
  // Inner axes combine first: their first copy has the identity of the axis that is padded, which
  // the others must leave as it is.
  for (int a = pads_ ? padded_ + 1 : 0; a < step_.to_mesh.num_axes(); ++a) {
    if (!IsPartial(step_.to, step_.to_mesh, a)) continue;
    if (uniform_ || step_.to_mesh.Coordinate(target, a) != 0) {
      monoid = step_.to[a].monoid();
    }
  }
  return monoid;
}

void ReshardMap::SetReplica(int target, Coordinates& coordinates) const {
  const int own = source_on_[target];
  if (own >= 0) {
    const Coordinates mine = SourceCoordinates(own);
    for (size_t a = 0; a < roles_.size(); ++a) {
      if (roles_[a] == Role::kReplica || roles_[a] == Role::kOwn) coordinates[a] = mine[a];
    }
    return;
  }
  // A rank that holds nothing of the source: the load is spread, and axes that both meshes have
  // keep their lines, so that between pipeline stages each rank sends to its counterpart.
  int replica = target % replicas_;
  for (size_t a = 0; a < roles_.size(); ++a) {
    if (roles_[a] != Role::kReplica) continue;
    const int size = step_.from_mesh.axes()[a].size;
    const int same = step_.to_mesh.FindAxis(step_.from_mesh.axes()[a].name);
    if (same >= 0 && step_.to_mesh.axes()[same].size == size) {
      coordinates[a] = step_.to_mesh.Coordinate(target, same);
      continue;
    }
    coordinates[a] = replica % size;
    replica /= size;
  }
}

std::vector<int> ReshardMap::Sources(int target) const {
  Coordinates coordinates(roles_.size(), 0);
  SetReplica(target, coordinates);
  int splits = 1;
  for (size_t a = 0; a < roles_.size(); ++a) {
    if (roles_[a] == Role::kSplit) splits *= step_.from_mesh.axes()[a].size;
  }
  // Writes `index` as the coordinates of all axes of one role, the last fastest.
  auto set = [&](Role role, int index) {
    for (int a = static_cast<int>(roles_.size()) - 1; a >= 0; --a) {
      if (roles_[a] != role) continue;
      const int size = step_.from_mesh.axes()[a].size;
      coordinates[a] = index % size;
      index /= size;
    }
  };
  std::vector<int> sources;
  const int spread = Spread(target);
  for (int copy = 0; copy < reduced_; ++copy) {
    if ((uniform_ ? copy % spread_ : 0) != spread) continue;
    set(Role::kReduced, copy);
    for (int split = 0; split < splits; ++split) {
      set(Role::kSplit, split);
      int member = 0;
      for (size_t a = 0; a < roles_.size(); ++a) {
        member = member * step_.from_mesh.axes()[a].size + coordinates[a];
      }
      sources.push_back(member);
    }
  }
  return sources;
}

bool ReshardMap::Feeds(int source, int target) const {
  const Coordinates mine = SourceCoordinates(source);
  Coordinates wanted = mine;
  SetReplica(target, wanted);
  if (wanted != mine) return false;
  int copy = 0;
  for (size_t a = 0; a < roles_.size(); ++a) {
    if (roles_[a] == Role::kReduced) copy = copy * step_.from_mesh.axes()[a].size + mine[a];
  }
  return (uniform_ ? copy % spread_ : 0) == Spread(target);
}

int64_t ReshardMap::Needed(int target) const {
  const int copies = Copies(target);
  if (copies == 0) return 0;
  const Box box = TargetBox(target);
  if (!pads_) return copies * box.elements();
  int64_t elements = 0;
  for (int s : Sources(target)) elements += SourceBox(s).Intersect(box).elements();
  return elements;
}

int64_t ReshardMap::Received(int target) const {
  const int64_t needed = Needed(target);
  const int own = source_on_[target];
  if (needed == 0 || own < 0 || !Feeds(own, target)) return needed;
  return needed - SourceBox(own).Intersect(TargetBox(target)).elements();
}

int ReshardMap::Messages(int target) const {
  const int copies = Copies(target);
  const Box wanted = TargetBox(target);
  if (copies == 0 || wanted.empty()) return 0;
  // Boxes are products, so those that meet the target's are a product over dimensions.
  int meeting = copies;
  for (int d = 0; d < static_cast<int>(shape_.size()); ++d) {
    std::vector<IndexSet> parts = {IndexSet({0, shape_[d]})};
    for (int a = 0; a < step_.from_mesh.num_axes(); ++a) {
      if (!step_.from[a].is_split(d)) continue;
      const int size = step_.from_mesh.axes()[a].size;
      // Of an axis that only pads, the target's own coordinate alone feeds it.
      const bool own = roles_[a] == Role::kOwn;
      const int first = own ? step_.to_mesh.Coordinate(target, a) : 0;
      std::vector<IndexSet> finer;
      for (const IndexSet& part : parts) {
        for (int k = first; k < (own ? first + 1 : size); ++k) {
          finer.push_back(HeldBy(part, k, size, step_.from[a]));
        }
      }
      parts = std::move(finer);
    }
    meeting *=
        static_cast<int>(std::count_if(parts.begin(), parts.end(), [&](const IndexSet& part) {
          return part.Intersect(wanted.dims[d]).size() > 0;
        }));
  }
  const int own = source_on_[target];
  const bool itself = own >= 0 && Feeds(own, target) && !SourceBox(own).Intersect(wanted).empty();
  return meeting - (itself ? 1 : 0);
}

ReshardMap::Load ReshardMap::SentAlong(int d, const Coordinates& at) const {
  const auto& axes = step_.from_mesh.axes();
  IndexSet held({0, shape_[d]});
  std::vector<IndexSet> parts = {held};
  for (size_t a = 0; a < axes.size(); ++a) {
    if (step_.from[a].is_split(d)) {
      held = HeldBy(held, at[a], axes[a].size, step_.from[a]);
    }
    if (!step_.to[a].is_split(d)) continue;
    std::vector<IndexSet> finer;
    for (const IndexSet& part : parts) {
      for (int k = IsFixed(a) ? at[a] : 0; k < (IsFixed(a) ? at[a] + 1 : axes[a].size); ++k) {
        finer.push_back(HeldBy(part, k, axes[a].size, step_.to[a]));
      }
    }
    parts = std::move(finer);
  }
  Load load;
  for (const IndexSet& part : parts) {
    const int64_t shared = part.Intersect(held).size();
    load.elements += shared;
    load.messages += shared > 0 ? 1 : 0;
  }
  return load;
}

ReshardMap::Load ReshardMap::BusiestSender() const {
  const auto& axes = step_.from_mesh.axes();
  Coordinates busiest(roles_.size(), 0);
  Load load = {1, 1};
  // What is sent is a product over dimensions, and no axis matters to two of them.
  for (int d = 0; d < static_cast<int>(shape_.size()); ++d) {
    std::vector<int> chosen;  // axes that tell sources apart
    bool narrows = false;     // a source feeds some parts of the dimension only
    for (size_t a = 0; a < axes.size(); ++a) {
      const bool fixed = IsFixed(a) && step_.to[a].is_split(d);
      narrows = narrows || fixed;
      if (fixed || step_.from[a].is_split(d)) chosen.push_back(static_cast<int>(a));
    }
    // Else the first source, which holds a largest part, sends all of it.
    Load most = SentAlong(d, busiest);
    for (Coordinates at = busiest; narrows;) {
      size_t next = 0;
      while (next < chosen.size() && ++at[chosen[next]] == axes[chosen[next]].size) {
        at[chosen[next++]] = 0;
      }
      if (next == chosen.size()) break;
      const Load here = SentAlong(d, at);
      if (std::pair(here.elements, here.messages) > std::pair(most.elements, most.messages)) {
        most = here;
        for (int a : chosen) busiest[a] = at[a];
      }
    }
    load.elements *= most.elements;
    load.messages *= most.messages;
  }
  for (size_t a = 0; a < axes.size(); ++a) {
    if (IsFixed(a) || is_spread_[a] || step_.to[a].is_split()) continue;
    load.elements *= axes[a].size;
    load.messages *= axes[a].size;
  }
  int self = 0;
  for (size_t a = 0; a < axes.size(); ++a) self = self * axes[a].size + busiest[a];
  const int64_t kept =
      Feeds(self, self) ? SourceBox(self).Intersect(TargetBox(self)).elements() : 0;
  if (kept > 0) {
    load.elements -= kept;
    --load.messages;
  }
  return load;
}

bool ReshardMap::IsLocal() const {
  for (int t = 0; t < step_.to_mesh.size(); ++t) {
    if (Received(t) > 0) return false;
  }
  return true;
}

}  // namespace weft

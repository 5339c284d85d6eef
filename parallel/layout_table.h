// LayoutTable: layouts of tensors as small numbers, with what layout search asks of them again and
// again: local shapes, and seconds from one layout to another. Filled lazily.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "graph/graph.h"
#include "parallel/cost_model.h"
#include "runtime/tensor_spec.h"

namespace weft {

// A layout of one spec on one mesh, interned: equal numbers hold the same on every rank.
using LayoutId = int;
inline constexpr LayoutId kNoLayout = -1;

// Not thread-safe. Refers to the meshes and the cost model, which must outlive it.
class LayoutTable {
 public:
  LayoutTable(const std::vector<Mesh>& meshes, const CostModel& cost)
      : meshes_(meshes), cost_(cost) {}

  // The number of `layout`, entries on axes of size 1 taken as B.
  LayoutId Intern(const TensorSpec& spec, int mesh, const Layout& layout);
  const Layout& layout(LayoutId id) const { return entries_[id].layout; }
  int mesh(LayoutId id) const { return entries_[id].mesh; }
  // The part of the mesh's first member, a largest one.
  const TensorSpec& local(LayoutId id) const { return entries_[id].local; }
  // The same with every partial axis broadcast.
  LayoutId Reduced(LayoutId id);

  // Modelled seconds of PlanReshard between two layouts of one spec.
  double Seconds(LayoutId from, LayoutId to);

  // The cheapest way found to have all of `wanted` besides `home`: each is converted from home or
  // from another one.
  struct Hop {
    LayoutId from;
    LayoutId to;
  };
  std::vector<Hop> Hops(LayoutId home, const std::vector<LayoutId>& wanted);
  double HopSeconds(LayoutId home, const std::vector<LayoutId>& wanted);

 private:
  // The cheapest way to `to` from home or from what `hops` have made.
  Hop CheapestHop(LayoutId to, LayoutId home, const std::vector<Hop>& hops);

  struct Entry {
    TensorSpec spec;
    int mesh;
    Layout layout;
    TensorSpec local;
  };

  const std::vector<Mesh>& meshes_;
  const CostModel& cost_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, LayoutId> ids_;
  std::unordered_map<uint64_t, double> seconds_;
};

}  // namespace weft

// LayoutChoices: the ways to lay one op's operands over its mesh, one derived signature per axis,
// with the modelled seconds of the op's local work. Nodes that differ in name only share them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "graph/graph.h"
#include "graph/signature.h"
#include "parallel/cost_model.h"
#include "parallel/layout_table.h"

namespace weft {

// Which of the op's signatures each mesh axis takes.
using SignatureIndices = absl::InlinedVector<int, 3>;

struct LayoutChoice {
  bool legal = false;
  SignatureIndices signatures;
  std::vector<LayoutId> inputs;  // kNoLayout for absent operands
  std::vector<LayoutId> outputs;
  double seconds = 0;  // of one firing on one rank
};

class LayoutChoices {
 public:
  // Of `node`, whose results lie on mesh `mesh`. Zigzag splits are left out unless wanted.
  LayoutChoices(const Graph& graph, const Node& node, int mesh, bool zigzag);

  // In derivation order, the first being all B; the same for every axis.
  const std::vector<Signature>& signatures() const { return signatures_; }
  int num_axes() const { return static_cast<int>(sizes_.size()); }
  // Signatures worth trying on `axis`: all, or only the first on an axis of size 1.
  int Count(int axis) const { return sizes_[axis] == 1 ? 1 : static_cast<int>(signatures_.size()); }
  // Computed at first use; the reference stays valid.
  const LayoutChoice& Get(const SignatureIndices& indices, LayoutTable& table,
                          const CostModel& cost);

 private:
  LayoutChoice Make(const SignatureIndices& indices, LayoutTable& table,
                    const CostModel& cost) const;

  // Of a ring: the meetings beyond that of a rank's own parts, each as long as its work or as the
  // parts take to arrive.
  void AddMeetings(const std::vector<Signature>& per_axis, const std::vector<TensorSpec>& inputs,
                   const std::vector<TensorSpec>& outputs, const CostModel& cost,
                   LayoutChoice& choice) const;

  const OpDef* op_;
  Attrs attrs_;
  std::vector<bool> present_;
  std::vector<TensorSpec> inputs_, outputs_;
  std::vector<int> input_meshes_;
  int mesh_;
  std::vector<int> sizes_;
  std::vector<std::string> axis_names_;
  std::vector<Signature> signatures_;
  std::unordered_map<uint64_t, std::unique_ptr<LayoutChoice>> made_;
};

// Owns the choices of a graph's nodes.
class LayoutChoicesCache {
 public:
  LayoutChoices* Of(const Graph& graph, const Node& node, int mesh, bool zigzag);

 private:
  std::unordered_map<std::string, std::unique_ptr<LayoutChoices>> choices_;
};

}  // namespace weft

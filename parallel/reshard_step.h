// ReshardStep: one primitive conversion of a logical tensor from a layout to another. Price, bytes
// and the plan's messages of a step all derive from here, so they cannot drift apart.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "graph/graph.h"
#include "graph/layout.h"
#include "graph/mesh.h"
#include "runtime/tensor_spec.h"

namespace weft {

struct ReshardStep {
  // kLocal: every rank makes its part from its own (slice, copy, identity fill).
  // kAllReduce: partial to broadcast over one mesh axis, all else unchanged.
  // kExchange: boxes travel between ranks; what overlaps combines.
  enum class Kind : uint8_t { kLocal, kAllReduce, kExchange };

  Kind kind = Kind::kLocal;
  Layout from;
  Mesh from_mesh;
  Layout to;
  Mesh to_mesh;
  int axis = -1;  // of kAllReduce: the mesh axis reduced

  bool same_mesh() const { return from_mesh == to_mesh; }
  // "all-reduce over model", "exchange", "local".
  std::string ToString() const;
};

// Whether two layouts on one mesh put the same content on every rank, whatever they are called:
// they may differ on axes of size 1 only.
bool SameHolding(const Layout& a, const Layout& b, const Mesh& mesh);

// The single step from `from` to `to`: a function of its arguments alone, so that a conversion node
// of a graph is its step. Errors: an illegal layout (InvalidArgument); a conversion that no single
// step does, because partials by different monoids must be reduced innermost axis first
// (FailedPrecondition; PlanReshard always finds a way).
absl::StatusOr<ReshardStep> MakeReshardStep(const TensorSpec& spec, const Layout& from,
                                            const Mesh& from_mesh, const Layout& to,
                                            const Mesh& to_mesh);

// The step that conversion `node` of a graph with layouts is. Errors as above.
absl::StatusOr<ReshardStep> StepOf(const Graph& graph, const Node& node);

}  // namespace weft

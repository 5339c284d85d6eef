// Layout: how a logical tensor lies on a mesh, one Sbp per axis. Splits of one dimension by two
// axes nest in mesh order: 6 rows as (S(0),S(0)) on 2x2 are 2,1,2,1, while S(0) on 4 gives 2,2,1,1.
#pragma once

#include <string>
#include <string_view>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "graph/mesh.h"
#include "graph/sbp.h"
#include "runtime/box.h"
#include "runtime/tensor_spec.h"

namespace weft {

using Layout = absl::InlinedVector<Sbp, 3>;

// All-broadcast on `mesh`.
Layout BroadcastLayout(const Mesh& mesh);
// "[data:S(0), model:B]".
std::string ToString(const Layout& layout, const Mesh& mesh);
// Reads what ToString prints; axes may come in any order, and those not named are B.
absl::StatusOr<Layout> ParseLayout(std::string_view text, const Mesh& mesh);
// Errors (InvalidArgument): another length than the mesh has axes, a split of a dimension that the
// tensor lacks, P(sum) of bool, P(logaddexp) of what is not floating point. P(max) of bool is "or".
absl::Status CheckLayout(const Layout& layout, const Mesh& mesh, const TensorSpec& spec);
// The box held by the member at `index` of the mesh (partial and broadcast axes do not cut).
Box BoxOf(absl::Span<const int64_t> shape, const Layout& layout, const Mesh& mesh, int index);
// Part `part` of `parts` of an index set, by the order.
IndexSet PartOf(const IndexSet& whole, int part, int parts, IndexOrder order);
// What coordinate `coordinate` of `parts` holds of an index set under a split.
IndexSet HeldBy(const IndexSet& whole, int coordinate, int parts, Sbp split);

}  // namespace weft

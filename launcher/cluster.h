// A cluster as the program sees it: read from protobuf text, checked, and turned into what prices
// computation and messages.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "actors/simulation.h"
#include "graph/mesh.h"
#include "launcher/cluster.pb.h"
#include "parallel/cost_model.h"

namespace weft {

// Reads and checks a cluster file. Errors: NotFound for the file, InvalidArgument for its contents
// ("cpu.pbtxt:4:3: network.bandwidth: ...").
absl::StatusOr<Cluster> LoadCluster(const std::string& path);
// The same from text; `file` is what errors call it.
absl::StatusOr<Cluster> ParseCluster(const std::string& text, const std::string& file);

// What the compiler decides by where `ranks` ranks run: the groups, and for all else the slowest
// link that these ranks use.
CostModel CostModelOf(const Cluster& cluster, int ranks);

// The link between any two ranks: that of the groups along the axis of `mesh` by which alone they
// differ, if the cluster has it, else that of their nodes. It keeps a copy of what it needs.
LinkTable LinksOf(const Cluster& cluster, const Mesh& mesh = Mesh());

// The links of `groups` become those of the cluster, in place of those of the same axis and size.
// Figures that a cluster must have and this one lacks are filled in: the defaults of CostModel, and
// for the network the slowest of `groups`, which has one at least.
void SetGroups(const std::vector<CostModel::Group>& groups, Cluster* cluster);

// The cluster as text that ParseCluster reads back equal, behind a comment.
std::string ClusterText(const Cluster& cluster, const std::string& comment);

}  // namespace weft

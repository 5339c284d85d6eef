// A cluster as the program sees it: read from protobuf text, checked, and turned into what prices
// computation and messages.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "actors/simulation.h"
#include "launcher/cluster.pb.h"
#include "parallel/cost_model.h"

namespace weft {

// Reads and checks a cluster file. Errors: NotFound for the file, InvalidArgument for its contents
// ("cpu.pbtxt:4:3: network.bandwidth: ...").
absl::StatusOr<Cluster> LoadCluster(const std::string& path);
// The same from text; `file` is what errors call it.
absl::StatusOr<Cluster> ParseCluster(const std::string& text, const std::string& file);

// What the compiler decides by where `ranks` ranks run; the slowest link that they use stands for
// all.
CostModel CostModelOf(const Cluster& cluster, int ranks);

// The link between any two ranks. It keeps a copy of what it needs.
LinkTable LinksOf(const Cluster& cluster);

}  // namespace weft

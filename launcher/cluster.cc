#include "launcher/cluster.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "launcher/job_text.h"
#include "launcher/mapped_file.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr double kLongestLatency = 60;  // seconds
constexpr int64_t kMostRanksPerNode = 1 << 20;
constexpr double kMostAllReduceFactor = 1000;

// One check of one cluster.
class Checker {
 public:
  Checker(const Cluster& cluster, const FieldOrigins& origins)
      : cluster_(cluster), origins_(origins) {}

  absl::Status Run() const {
    WEFT_RETURN_IF_ERROR(CheckRate("flops", cluster_.has_flops(), cluster_.flops(),
                                   "the arithmetic of a rank, per second, such as flops: 5e10"));
    WEFT_RETURN_IF_ERROR(CheckRate("memory_bandwidth", cluster_.has_memory_bandwidth(),
                                   cluster_.memory_bandwidth(),
                                   "bytes per second, such as memory_bandwidth: 1e10"));
    if (cluster_.ranks_per_node() < 1 || cluster_.ranks_per_node() > kMostRanksPerNode) {
      return Wrong("ranks_per_node", absl::StrCat("is ", cluster_.ranks_per_node(),
                                                  "; it must be from 1 to ", kMostRanksPerNode));
    }
    if (!(cluster_.all_reduce_factor() >= 1 &&
          cluster_.all_reduce_factor() <= kMostAllReduceFactor)) {
      return Wrong("all_reduce_factor",
                   absl::StrCat("is ", cluster_.all_reduce_factor(), "; it must be from 1 to ",
                                kMostAllReduceFactor));
    }
    if (!cluster_.has_network()) {
      return Wrong("network", "missing; add network { latency: 2e-5 bandwidth: 2e9 }");
    }
    WEFT_RETURN_IF_ERROR(CheckLink("network", cluster_.network()));
    if (cluster_.has_node()) WEFT_RETURN_IF_ERROR(CheckLink("node", cluster_.node()));
    return CheckGroups();
  }

 private:
  absl::Status Wrong(const std::string& path, const std::string& why) const {
    return absl::InvalidArgumentError(absl::StrCat(WhereWritten(origins_, path), ": ", why));
  }
  absl::Status CheckRate(const std::string& path, bool given, double value,
                         const char* remedy) const {
    if (!given) return Wrong(path, absl::StrCat("missing; give ", remedy));
    if (value > 0) return absl::OkStatus();  // false for NaN; infinite is as good as free
    return Wrong(path, absl::StrCat("is ", value, "; it must be above 0 (inf: it costs nothing)"));
  }
  absl::Status CheckGroups() const {
    std::set<std::pair<std::string, int64_t>> known;
    for (int i = 0; i < cluster_.group_size(); ++i) {
      const Cluster::Group& group = cluster_.group(i);
      const std::string path =
          cluster_.group_size() == 1 ? "group" : absl::StrCat("group[", i, "]");
      if (!group.has_size()) return Wrong(path + ".size", "missing; give the ranks of a group");
      if (group.size() < 2 || group.size() > kMostRanksPerNode) {
        return Wrong(path + ".size", absl::StrCat("is ", group.size(), "; it must be from 2 to ",
                                                  kMostRanksPerNode));
      }
      if (!known.insert({group.axis(), group.size()}).second) {
        return Wrong(path,
                     absl::StrCat("a second group of ", group.size(), " ranks along ",
                                  group.axis().empty() ? "any axis" : "axis '" + group.axis() + "'",
                                  "; keep one"));
      }
      WEFT_RETURN_IF_ERROR(CheckLink(path, group));
    }
    return absl::OkStatus();
  }
  // Of a Link or a Group.
  template <typename AnyLink>
  absl::Status CheckLink(const std::string& path, const AnyLink& link) const {
    WEFT_RETURN_IF_ERROR(CheckRate(path + ".bandwidth", link.has_bandwidth(), link.bandwidth(),
                                   "bytes per second in one direction, such as bandwidth: 2e9"));
    if (link.latency() >= 0 && link.latency() <= kLongestLatency) return absl::OkStatus();
    return Wrong(path + ".latency",
                 absl::StrCat("is ", link.latency(), "; it must be seconds per message, from 0 to ",
                              kLongestLatency));
  }

  const Cluster& cluster_;
  const FieldOrigins& origins_;
};

template <typename AnyLink>
Link ToLink(const AnyLink& link) {
  return {.latency = link.latency(), .bytes_per_second = link.bandwidth()};
}

// The axis of `mesh` along which alone two of its members (indices) differ, or -1.
int AxisBetween(const Mesh& mesh, int from, int to) {
  int found = -1;
  for (int a = 0; a < mesh.num_axes(); ++a) {
    if (mesh.Coordinate(from, a) == mesh.Coordinate(to, a)) continue;
    if (found >= 0) return -1;
    found = a;
  }
  return found;
}

// By the axes of a mesh: the link of the group, where there is one.
std::vector<std::optional<Link>> AxisLinks(const Cluster& cluster, const Mesh& mesh) {
  std::vector<std::optional<Link>> links(mesh.num_axes());
  for (int a = 0; a < mesh.num_axes(); ++a) {
    for (const Cluster::Group& group : cluster.group()) {
      const bool own = group.axis() == mesh.axes()[a].name;
      if (group.size() != mesh.axes()[a].size || (!own && !group.axis().empty())) continue;
      if (own || !links[a]) links[a] = ToLink(group);
    }
  }
  return links;
}

}  // namespace

absl::StatusOr<Cluster> LoadCluster(const std::string& path) {
  WEFT_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  return ParseCluster(std::string(reinterpret_cast<const char*>(file.data()), file.size()), path);
}

absl::StatusOr<Cluster> ParseCluster(const std::string& text, const std::string& file) {
  Cluster cluster;
  FieldOrigins origins;
  origins[""] = file;
  WEFT_RETURN_IF_ERROR(ParseStrictText(text, file, &cluster, &origins));
  WEFT_RETURN_IF_ERROR(Checker(cluster, origins).Run());
  if (!cluster.has_node()) *cluster.mutable_node() = cluster.network();
  return cluster;
}

CostModel CostModelOf(const Cluster& cluster, int ranks) {
  const bool one_node = ranks <= cluster.ranks_per_node();
  const Cluster::Link& link = one_node ? cluster.node() : cluster.network();
  CostModel cost = {.flops_per_second = cluster.flops(),
                    .memory_bytes_per_second = cluster.memory_bandwidth(),
                    .link_bytes_per_second = link.bandwidth(),
                    .link_latency = link.latency(),
                    .groups = {},
                    .all_reduce_factor = cluster.all_reduce_factor()};
  for (const Cluster::Group& group : cluster.group()) {
    cost.groups.push_back(
        {group.axis(), static_cast<int>(group.size()), {group.latency(), group.bandwidth()}});
  }
  return cost;
}

LinkTable LinksOf(const Cluster& cluster, const Mesh& mesh) {
  const LinkTable by_node = [node = ToLink(cluster.node()), network = ToLink(cluster.network()),
                             per_node = cluster.ranks_per_node()](int from, int to) {
    return from / per_node == to / per_node ? node : network;
  };
  if (cluster.group().empty()) return by_node;
  std::vector<int> index_of(*std::max_element(mesh.ranks().begin(), mesh.ranks().end()) + 1, -1);
  for (int i = 0; i < mesh.size(); ++i) index_of[mesh.ranks()[i]] = i;
  const auto index = [index_of = std::move(index_of)](int rank) {
    return rank < static_cast<int>(index_of.size()) ? index_of[rank] : -1;
  };
  return [by_node, mesh, index, links = AxisLinks(cluster, mesh)](int from, int to) {
    const int a = index(from), b = index(to);
    const int axis = a < 0 || b < 0 ? -1 : AxisBetween(mesh, a, b);
    return axis >= 0 && links[axis] ? *links[axis] : by_node(from, to);
  };
}

void SetGroups(const std::vector<CostModel::Group>& groups, Cluster* cluster) {
  const CostModel defaults;
  if (!cluster->has_flops()) cluster->set_flops(defaults.flops_per_second);
  if (!cluster->has_memory_bandwidth()) {
    cluster->set_memory_bandwidth(defaults.memory_bytes_per_second);
  }
  const bool has_network = cluster->has_network();
  for (const CostModel::Group& group : groups) {
    Cluster::Group* entry = nullptr;
    for (Cluster::Group& known : *cluster->mutable_group()) {
      if (known.axis() == group.axis && known.size() == group.size) entry = &known;
    }
    if (entry == nullptr) entry = cluster->add_group();
    if (!group.axis.empty()) entry->set_axis(group.axis);
    entry->set_size(group.size);
    entry->set_latency(group.link.latency);
    entry->set_bandwidth(group.link.bytes_per_second);
    if (has_network) continue;
    Cluster::Link* network = cluster->mutable_network();
    network->set_latency(std::max(network->latency(), group.link.latency));
    network->set_bandwidth(network->has_bandwidth()
                               ? std::min(network->bandwidth(), group.link.bytes_per_second)
                               : group.link.bytes_per_second);
  }
  if (!cluster->has_node()) *cluster->mutable_node() = cluster->network();
}

std::string ClusterText(const Cluster& cluster, const std::string& comment) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(cluster, &text);
  return absl::StrCat("# ", absl::StrReplaceAll(comment, {{"\n", "\n# "}}), "\n", text);
}

}  // namespace weft

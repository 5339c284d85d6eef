#include "launcher/cluster.h"

#include "absl/strings/str_cat.h"
#include "launcher/job_text.h"
#include "launcher/mapped_file.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr double kLongestLatency = 60;  // seconds
constexpr int64_t kMostRanksPerNode = 1 << 20;

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
    if (!cluster_.has_network()) {
      return Wrong("network", "missing; add network { latency: 2e-5 bandwidth: 2e9 }");
    }
    WEFT_RETURN_IF_ERROR(CheckLink("network", cluster_.network()));
    return cluster_.has_node() ? CheckLink("node", cluster_.node()) : absl::OkStatus();
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
  absl::Status CheckLink(const std::string& path, const Cluster::Link& link) const {
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

Link ToLink(const Cluster::Link& link) {
  return {.latency = link.latency(), .bytes_per_second = link.bandwidth()};
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
  return {.flops_per_second = cluster.flops(),
          .memory_bytes_per_second = cluster.memory_bandwidth(),
          .link_bytes_per_second = link.bandwidth(),
          .link_latency = link.latency()};
}

LinkTable LinksOf(const Cluster& cluster) {
  return [node = ToLink(cluster.node()), network = ToLink(cluster.network()),
          per_node = cluster.ranks_per_node()](int from, int to) {
    return from / per_node == to / per_node ? node : network;
  };
}

}  // namespace weft

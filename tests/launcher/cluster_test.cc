#include "launcher/cluster.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>
#include <vector>

namespace weft {
namespace {

const char kNodes[] = WEFT_SOURCE_DIR "/examples/clusters/cpu_nodes.pbtxt";

const char kGood[] = R"(name: "good"
flops: 5e10
memory_bandwidth: 1e10
ranks_per_node: 4
node { latency: 1e-6 bandwidth: 8e9 }
network { latency: 2e-5 bandwidth: 1e9 }
)";

TEST(Cluster, LinksFollowTheNodes) {
  const auto cluster = ParseCluster(kGood, "c");
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  const LinkTable links = LinksOf(*cluster);
  EXPECT_DOUBLE_EQ(links(0, 3).bytes_per_second, 8e9);
  EXPECT_DOUBLE_EQ(links(5, 7).latency, 1e-6);
  EXPECT_DOUBLE_EQ(links(3, 4).bytes_per_second, 1e9);
  EXPECT_DOUBLE_EQ(links(3, 4).Seconds(1000000), 2e-5 + 1e-3);
  // The compiler reckons with the slowest link in use.
  EXPECT_DOUBLE_EQ(CostModelOf(*cluster, 4).link_bytes_per_second, 8e9);
  EXPECT_DOUBLE_EQ(CostModelOf(*cluster, 5).link_bytes_per_second, 1e9);
  EXPECT_DOUBLE_EQ(CostModelOf(*cluster, 5).flops_per_second, 5e10);
}

TEST(Cluster, NodeLinksDefaultToTheNetwork) {
  const auto cluster = ParseCluster("flops: inf memory_bandwidth: 1 network { bandwidth: 7 }", "c");
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  EXPECT_EQ(cluster->ranks_per_node(), 1);
  EXPECT_DOUBLE_EQ(LinksOf(*cluster)(2, 2).bytes_per_second, 7);
}

TEST(Cluster, TheExampleIsGood) {
  const auto cluster = LoadCluster(kNodes);
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  EXPECT_EQ(cluster->name(), "cpu_nodes");
}

struct Case {
  const char* from;  // replaced in kGood
  const char* to;
  std::vector<const char*> says;
};

TEST(Cluster, MistakesAreNamedWithTheirPlace) {
  const std::vector<Case> cases = {
      {"flops: 5e10", "flosp: 5e10", {"c:2:1: ", "no field 'flosp'", "'flops'"}},
      {"flops: 5e10", "", {"c: flops: missing", "such as"}},
      {"flops: 5e10", "flops: -1", {"c:2:1: flops: is -1", "above 0"}},
      {"flops: 5e10", "flops: nan", {"c:2:1: flops: is nan"}},
      {"flops: 5e10", "flops: \"fast\"", {"c:2:8: "}},
      {"memory_bandwidth: 1e10", "memory_bandwidth: 0", {"c:3:1: memory_bandwidth: is 0"}},
      {"ranks_per_node: 4", "ranks_per_node: 0", {"c:4:1: ranks_per_node: is 0", "from 1"}},
      {"ranks_per_node: 4", "ranks_per_node: 4.5", {"c:4:17: "}},
      {"bandwidth: 8e9", "", {"c:5:1: node.bandwidth: missing"}},
      {"latency: 1e-6", "latency: -1e-6", {"c:5:8: node.latency", "from 0"}},
      {"latency: 2e-5", "latency: inf", {"c:6:11: network.latency", "inf"}},
      {"network {", "networks {", {"c:6:1: ", "'network'"}},
      {"network { latency: 2e-5 bandwidth: 1e9 }", "", {"c: network: missing"}},
  };
  for (const Case& c : cases) {
    std::string text = kGood;
    text.replace(text.find(c.from), std::string(c.from).size(), c.to);
    const absl::Status status = ParseCluster(text, "c").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.to;
    for (const char* part : c.says) {
      EXPECT_NE(status.message().find(part), std::string::npos) << part << " in " << status;
    }
  }
}

TEST(Cluster, RandomBytesAreErrors) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    std::string text = kGood;
    for (int k = 0; k < 4; ++k) text[random() % text.size()] = static_cast<char>(random());
    ParseCluster(text, "c").status().IgnoreError();
  }
}

}  // namespace
}  // namespace weft

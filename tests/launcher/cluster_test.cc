#include "launcher/cluster.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>
#include <utility>
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

const char kGroups[] = R"(
group { axis: "data" size: 2 latency: 3e-6 bandwidth: 3e9 }
group { axis: "data" size: 4 latency: 4e-6 bandwidth: 4e9 }
group { size: 2 latency: 5e-6 bandwidth: 5e9 }
)";

TEST(Cluster, GroupsGoBeforeOtherLinks) {
  const auto cluster = ParseCluster(std::string(kGood) + kGroups, "c");
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  const CostModel cost = CostModelOf(*cluster, 8);
  EXPECT_DOUBLE_EQ(cost.LinkOf("data", 2).bytes_per_second, 3e9);
  EXPECT_DOUBLE_EQ(cost.LinkOf("data", 4).latency, 4e-6);
  EXPECT_DOUBLE_EQ(cost.LinkOf("model", 2).bytes_per_second, 5e9);
  EXPECT_DOUBLE_EQ(cost.LinkOf("model", 4).bytes_per_second, 1e9);
  EXPECT_DOUBLE_EQ(cost.LinkOf("data", 8).latency, 2e-5);
  const Mesh mesh = Mesh::Parse("data:4,model:2").value();
  const LinkTable links = LinksOf(*cluster, mesh);
  EXPECT_DOUBLE_EQ(links(0, 6).latency, 4e-6);  // along data, on two nodes
  EXPECT_DOUBLE_EQ(links(4, 5).latency, 5e-6);  // along model
  EXPECT_DOUBLE_EQ(links(0, 3).latency, 1e-6);  // along both: of the node
  EXPECT_DOUBLE_EQ(links(0, 7).latency, 2e-5);  // of the network
  EXPECT_DOUBLE_EQ(links(0, 9).latency, 2e-5);  // outside the mesh
}

TEST(Cluster, AllReducesMayBeDearer) {
  const auto plain = ParseCluster(kGood, "c");
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(CostModelOf(*plain, 4).all_reduce_factor, 1);
  const auto dear = ParseCluster(std::string(kGood) + "all_reduce_factor: 1.5", "c");
  ASSERT_TRUE(dear.ok()) << dear.status();
  EXPECT_EQ(CostModelOf(*dear, 4).all_reduce_factor, 1.5);
  EXPECT_FALSE(ParseCluster(std::string(kGood) + "all_reduce_factor: 0.5", "c").ok());
  EXPECT_FALSE(ParseCluster(std::string(kGood) + "all_reduce_factor: nan", "c").ok());
}

TEST(Cluster, WrittenGroupsAreReadBackEqual) {
  const std::vector<CostModel::Group> groups = {{"data", 2, {1.0 / 3e5, 7e9 / 3}},
                                                {"", 4, {2e-6, 1e9 / 7}}};
  Cluster cluster;
  SetGroups(groups, &cluster);
  auto read = ParseCluster(ClusterText(cluster, "two\nlines"), "c");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->SerializeAsString(), cluster.SerializeAsString());
  const CostModel cost = CostModelOf(*read, 8);
  EXPECT_EQ(cost.LinkOf("data", 2).latency, 1.0 / 3e5);
  EXPECT_EQ(cost.LinkOf("data", 2).bytes_per_second, 7e9 / 3);
  EXPECT_EQ(cost.LinkOf("data", 4).bytes_per_second, 1e9 / 7);
  EXPECT_EQ(cost.link_latency, 1.0 / 3e5);  // the slowest of both
  EXPECT_EQ(cost.link_bytes_per_second, 1e9 / 7);
  EXPECT_EQ(cost.flops_per_second, CostModel().flops_per_second);

  // What a file says already stays, but for the same group.
  auto known = ParseCluster(std::string(kGood) + kGroups, "c");
  ASSERT_TRUE(known.ok()) << known.status();
  SetGroups(groups, &*known);
  EXPECT_EQ(known->group_size(), 4);
  EXPECT_EQ(CostModelOf(*known, 8).LinkOf("data", 2).latency, 1.0 / 3e5);
  EXPECT_EQ(CostModelOf(*known, 8).LinkOf("data", 4).latency, 4e-6);
  EXPECT_DOUBLE_EQ(known->network().bandwidth(), 1e9);
  EXPECT_EQ(known->name(), "good");
}

TEST(Cluster, MistakesInGroupsAreNamed) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"group { axis: \"data\" bandwidth: 1 }", "group.size: missing"},
      {"group { size: 1 bandwidth: 1 }", "group.size: is 1; it must be from 2"},
      {"group { size: 2 }", "group.bandwidth: missing"},
      {"group { size: 2 bandwidth: 0 }", "group.bandwidth: is 0"},
      {"group { size: 2 bandwidth: 1 latency: nan }", "group.latency: is nan"},
      {"group { size: 2 bandwidth: 1 } group { size: 2 bandwidth: 2 }",
       "a second group of 2 ranks along any axis"},
  };
  for (const auto& [text, says] : cases) {
    const absl::Status status = ParseCluster(std::string(kGood) + text, "c").status();
    EXPECT_NE(status.message().find(says), std::string::npos) << says << " in " << status;
    EXPECT_NE(status.message().find("c:7:"), std::string::npos) << status;
  }
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

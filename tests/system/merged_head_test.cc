// The head of a decoder and its gradient are one op where a rank has the whole vocabulary. That it
// makes no difference to losses is same_curve_test's, whose meshes have both.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "kernels/all_ops.h"
#include "launcher/job.h"
#include "launcher/job_graph.h"
#include "parallel/compile.h"

namespace weft {
namespace {

class MergedHead : public ::testing::Test {
 protected:
  MergedHead() { DefineAllOps(ops_); }

  // How many nodes of each op of the head the program has.
  std::map<std::string, int> HeadOps(const char* mesh, bool train,
                                     std::vector<std::string> sets = {}) {
    const absl::StatusOr<Job> job = LoadJob(WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt",
                                            {.sets = std::move(sets), .mesh = mesh});
    EXPECT_TRUE(job.ok()) << job.status();
    absl::StatusOr<Graph> graph = train ? TrainGraph(*job, ops_) : EvaluateGraph(*job, ops_);
    EXPECT_TRUE(graph.ok()) << graph.status();
    absl::StatusOr<Program> program = Compile(*std::move(graph), ops_, {});
    EXPECT_TRUE(program.ok()) << program.status();
    std::map<std::string, int> counts;
    for (const Node& node : program->graph.nodes) {
      if (node.op != nullptr && node.op->name.starts_with("head_")) ++counts[node.op->name];
    }
    return counts;
  }

  OpRegistry ops_;
};

using Counts = std::map<std::string, int>;

TEST_F(MergedHead, OneOpWhereTheVocabularyIsWhole) {
  const Counts one = {{"head_cross_entropy_with_grad", 1}};
  EXPECT_EQ(HeadOps("data:1", true), one);
  EXPECT_EQ(HeadOps("data:2", true), one);
  EXPECT_EQ(HeadOps("data:2", true, {"train.dtype=BF16", "model.decoder.tied_head=true"}), one);
  EXPECT_EQ(HeadOps("data:2", true, {"train.dtype=F16"}), one);
}

TEST_F(MergedHead, TwoWhereItIsSplit) {
  EXPECT_EQ(HeadOps("model:2", true),
            (Counts{{"head_cross_entropy", 1}, {"head_cross_entropy_grad", 1}}));
}

TEST_F(MergedHead, ForwardAloneInEvaluation) {
  EXPECT_EQ(HeadOps("data:1", false), (Counts{{"head_cross_entropy", 1}}));
}

}  // namespace
}  // namespace weft

#include "launcher/job.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace weft {
namespace {

const char kTiny[] = WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt";

TEST(Job, LoadsTheTinyExample) {
  const absl::StatusOr<Job> job = LoadJob(kTiny);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->name(), "tiny");
  EXPECT_EQ(job->model().decoder().kv_heads(), 2);
  EXPECT_EQ(job->model().decoder().head_dim(), 32);
  EXPECT_EQ(job->train().steps(), 50);
  EXPECT_EQ(job->train().dtype(), Job::Train::F32);
  EXPECT_TRUE(job->train().deterministic());
  EXPECT_EQ(job->optimizer().schedule().decay(), Job::Schedule::COSINE);
  EXPECT_DOUBLE_EQ(job->optimizer().adamw().beta2(), 0.95);
  EXPECT_EQ(job->checkpoint().dir(), "runs/tiny");
}

TEST(Job, ResolvedJobPrintsEveryFieldAndReadsBack) {
  const absl::StatusOr<Job> job = LoadJob(kTiny);
  ASSERT_TRUE(job.ok()) << job.status();
  const std::string text = PrintJob(*job);
  EXPECT_NE(text.find("head_dim: 32"), std::string::npos) << text;
  EXPECT_NE(text.find("held_out: 0"), std::string::npos) << text;
  Job again;
  FieldOrigins origins;
  ASSERT_TRUE(ParseStrictText(text, "printed", &again, &origins).ok());
  EXPECT_EQ(PrintJob(again), text);
  EXPECT_EQ(origins["train.steps"].substr(0, 8), "printed:");
}

TEST(Job, ResolvedJobIsAValidJob) {
  const absl::StatusOr<Job> job = LoadJob(kTiny);
  ASSERT_TRUE(job.ok()) << job.status();
  const absl::StatusOr<Job> again = ParseJob(PrintJob(*job), "printed");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(PrintJob(*again), PrintJob(*job));
}

// Left out it is the default file; "" is none.
TEST(Job, TheFileOfProductsIsNotResolvedToNone) {
  const absl::StatusOr<Job> job = LoadJob(kTiny);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_FALSE(job->train().has_gemm_cache());
  const absl::StatusOr<Job> none = LoadJob(kTiny, {.sets = {"train.gemm_cache=\"\""}});
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_TRUE(none->train().has_gemm_cache());
}

TEST(Job, ALossScaleIsResolvedWhereItApplies) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"train.loss_scale={}", "growth_every: 2000"},
      {"train.loss_scale={fixed: true}", "fixed: true"},
      {"train.steps=3", "initial: 65536"}};
  for (const auto& [set, says] : cases) {
    const absl::StatusOr<Job> job = LoadJob(kTiny, {.sets = {"train.dtype=F16", set}});
    ASSERT_TRUE(job.ok()) << job.status();
    const std::string text = PrintJob(*job);
    EXPECT_NE(text.find(says), std::string::npos) << text;
    const absl::StatusOr<Job> again = ParseJob(text, "printed");
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(PrintJob(*again), text);
  }
  const absl::StatusOr<Job> plain = LoadJob(kTiny);
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_FALSE(plain->train().has_loss_scale());
}

TEST(Job, KvHeadsDefaultToHeads) {
  const absl::StatusOr<Job> job = ParseJob(
      "model { decoder { layers: 1 hidden: 16 heads: 4 ffn: 32 vocab: 256 } }"
      "data { text: 'x' sequence: 8 } train { steps: 1 global_batch: 2 }"
      "optimizer { sgd { lr: 0.1 } }",
      "short");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->model().decoder().kv_heads(), 4);
  EXPECT_EQ(job->train().microbatches(), 1);
  EXPECT_TRUE(job->has_evaluate());
  EXPECT_EQ(job->mesh(), "");
}

TEST(Job, SetOverridesInOrderAndMeshLast) {
  const absl::StatusOr<Job> job = LoadJob(
      kTiny,
      {.sets = {"train.steps=5", "train.steps = 7", "mesh=data:4", "data.text=/tmp/some file",
                "log.metrics=\"m.jsonl\"", "model.decoder.norm=LAYER", "train.deterministic=false"},
       .mesh = "data:2,model:2"});
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->train().steps(), 7);
  EXPECT_EQ(job->mesh(), "data:2,model:2");
  EXPECT_EQ(job->data(0).text(), "/tmp/some file");
  EXPECT_EQ(job->log().metrics(), "m.jsonl");
  EXPECT_EQ(job->model().decoder().norm(), Job::Decoder::LAYER);
  EXPECT_FALSE(job->train().deterministic());
  EXPECT_EQ(job->train().global_batch(), 16);
}

TEST(Job, ShorteningARunBelowItsWarmupIsFine) {
  const absl::StatusOr<Job> job = LoadJob(kTiny, {.sets = {"train.steps=5"}});
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->train().steps(), 5);
}

TEST(Job, SetReplacesTheMemberOfAOneof) {
  for (const char* set :
       {"optimizer.lamb={lr: 0.01}", "optimizer.lamb.lr=0.01", "optimizer={lamb {lr: 0.01}}"}) {
    const absl::StatusOr<Job> job = LoadJob(kTiny, {.sets = {set}});
    ASSERT_TRUE(job.ok()) << set << ": " << job.status();
    EXPECT_FALSE(job->optimizer().has_adamw()) << set;
    EXPECT_DOUBLE_EQ(job->optimizer().lamb().lr(), 0.01) << set;
    EXPECT_DOUBLE_EQ(job->optimizer().clip_norm(), 1.0) << set;
  }
}

TEST(Job, SetKeepsBytesThatNeedQuoting) {
  const std::string name = "a \"b\" \\ c # d { \n";
  const absl::StatusOr<Job> job = LoadJob(kTiny, {.sets = {"name=x" + name + "x"}});
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->name(), "x" + name + "x");
}

TEST(Job, ChecksRanksAgainstTheMesh) {
  const absl::StatusOr<Job> job = LoadJob(kTiny, {.sets = {}, .mesh = "data:2,model:2"});
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_TRUE(CheckRanks(*job, 4).ok());
  const absl::Status wrong = CheckRanks(*job, 3);
  EXPECT_EQ(wrong.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(wrong.message().find("mpirun -n 4"), absl::string_view::npos) << wrong;
}

}  // namespace
}  // namespace weft

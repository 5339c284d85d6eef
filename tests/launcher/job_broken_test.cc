// Broken jobs: each is refused with where it is wrong and what to do, and none crashes.
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "launcher/job.h"

namespace weft {
namespace {

// Lines: 1 name, 2 model, 3 data, 4 mesh, 5 train, 6 optimizer, 7 schedule, 8 checkpoint.
const char kGood[] =
    R"(name: "good"
model { decoder { layers: 4 hidden: 128 heads: 4 kv_heads: 2 ffn: 384 vocab: 256 } }
data { text: "/usr/share/common-licenses/GPL-3" tokenizer: BYTES sequence: 128 }
mesh: "data:1"
train { steps: 50 global_batch: 16 microbatches: 1 }
optimizer { adamw { lr: 1e-3 beta1: 0.9 }
  schedule { warmup_steps: 10 decay: COSINE } }
checkpoint { dir: "runs/x" }
)";

struct Case {
  const char* name;
  const char* from;  // replaced in kGood
  const char* to;
  std::vector<const char*> says;  // each occurs in the message
};

const std::vector<Case>& Cases() {
  static const std::vector<Case> cases = {
      {"UnknownField", "steps: 50", "stesp: 50", {"job:5:9:", "no field 'stesp'", "'steps'"}},
      {"UnknownMessage", "mesh:", "mehs:", {"job:4:1:", "'mesh'"}},
      {"FieldFarFromAny", "steps: 50", "steps: 50 qqqq: 1", {"'qqqq'", "known: steps, "}},
      {"StringForNumber", "steps: 50", "steps: \"50\"", {"job:5:16:", "integer"}},
      {"NumberForString", "mesh: \"data:1\"", "mesh: 1", {"job:4:7:", "string"}},
      {"FractionForInteger", "steps: 50", "steps: 5.5", {"job:5:16:", "integer"}},
      {"UnknownEnum", "BYTES", "BYTE", {"job:3:", "'BYTE'", "'BYTES'"}},
      {"BadBool", "microbatches: 1", "deterministic: maybe", {"job:5:", "maybe"}},
      {"OverflowsInt64", "steps: 50", "steps: 99999999999999999999", {"job:5:16:", "out of range"}},
      {"Twice", "steps: 50", "steps: 50 steps: 51", {"job:5:", "multiple times"}},
      {"TwoOptimizers", "schedule", "lamb { lr: 1 } schedule", {"job:7:", "oneof"}},
      {"TwoSources", "tokenizer: BYTES", "tokens: 'x'", {"job:3:", "oneof"}},
      {"MissingBrace", "sequence: 128 }", "sequence: 128", {"job:"}},
      {"UnclosedString", "\"good\"", "\"good", {"job:1:"}},
      {"NoModel",
       "model { decoder { layers: 4 hidden: 128 heads: 4 kv_heads: 2 ffn: 384 vocab: 256 } }",
       "",
       {"model: missing", "decoder"}},
      {"EmptyModel",
       "decoder { layers: 4 hidden: 128 heads: 4 kv_heads: 2 ffn: 384 vocab: 256 }",
       "",
       {"job:2:1: model", "decoder"}},
      {"NoLayers", "layers: 4", "", {"job:2:9: model.decoder.layers: missing"}},
      {"NoSteps", "steps: 50", "", {"job:5:1: train.steps: missing"}},
      {"NoLearningRate", "lr: 1e-3", "", {"job:6:13: optimizer.adamw.lr: missing"}},
      {"NoOptimizer", "adamw { lr: 1e-3 beta1: 0.9 }", "", {"optimizer", "adamw"}},
      {"NoSource", "text: \"/usr/share/common-licenses/GPL-3\"", "", {"job:3:1: data", "text"}},
      {"EmptySource", "/usr/share/common-licenses/GPL-3", "", {"data.text", "empty"}},
      {"NoSequence", "sequence: 128", "", {"data.sequence: missing"}},
      {"NegativeHidden", "hidden: 128", "hidden: -128", {"job:2:29: model.decoder.hidden", "-128"}},
      {"ZeroHeads", "heads: 4 ", "heads: 0 ", {"model.decoder.heads", "is 0"}},
      {"ZeroKvHeads", "kv_heads: 2", "kv_heads: 0", {"model.decoder.kv_heads", "is 0"}},
      {"ZeroSteps", "steps: 50", "steps: 0", {"train.steps", "is 0"}},
      {"ZeroBatch", "global_batch: 16", "global_batch: 0", {"train.global_batch"}},
      {"ZeroMicrobatches", "microbatches: 1", "microbatches: 0", {"train.microbatches"}},
      {"AbsurdLayers", "layers: 4", "layers: 9000000000000000000", {"model.decoder.layers"}},
      {"AbsurdVocab", "vocab: 256", "vocab: 9223372036854775807", {"model.decoder.vocab"}},
      {"AbsurdTotal", "layers: 4 hidden: 128", "layers: 10000 hidden: 1048576", {"parameters"}},
      {"AbsurdBatch", "global_batch: 16", "global_batch: 9223372036854775807", {"global_batch"}},
      {"KvHeadsDoNotDivide", "kv_heads: 2", "kv_heads: 3", {"job:2:", "kv_heads", "divide"}},
      {"KvHeadsAboveHeads", "kv_heads: 2", "kv_heads: 8", {"kv_heads", "divide"}},
      {"HeadsDoNotDivide", "hidden: 128", "hidden: 130", {"heads", "head_dim"}},
      {"OddHead", "vocab: 256", "vocab: 256 head_dim: 31", {"head_dim", "even"}},
      {"VocabBelowBytes", "vocab: 256", "vocab: 255", {"model.decoder.vocab", "256"}},
      {"NanRate", "lr: 1e-3", "lr: nan", {"job:6:21: optimizer.adamw.lr", "nan"}},
      {"InfiniteRate", "lr: 1e-3", "lr: inf", {"optimizer.adamw.lr", "inf"}},
      {"NegativeRate", "lr: 1e-3", "lr: -1e-3", {"optimizer.adamw.lr"}},
      {"BetaOne", "beta1: 0.9", "beta1: 1", {"beta1", "from 0 to 0.999999"}},
      {"ZeroEps", "beta1: 0.9", "eps: 0", {"eps", "from 1e-37 to 1"}},
      {"NanClip", "schedule", "clip_norm: nan schedule", {"clip_norm", "nan"}},
      {"FinalRatioOfConstant", "decay: COSINE", "final_lr_ratio: 0.1", {"CONSTANT"}},
      {"MeshSyntax", "data:1", "data=1", {"job:4:1: mesh", "name:size"}},
      {"MeshZero", "data:1", "data:0", {"job:4:1: mesh", "at least 1"}},
      {"MeshTwice", "data:1", "data:1,data:2", {"job:4:1: mesh", "'data'"}},
      {"MeshHuge", "data:1", "data:2147483647,model:2147483647", {"mesh"}},
      {"MeshUnknownAxis", "data:1", "dta:2", {"mesh", "'dta'"}},
      {"WayWithoutSequence", "mesh", "plan { sequence: RING } mesh", {"plan.sequence", "seq"}},
      {"MeshLongerThanSequence", "data:1", "seq:129", {"mesh", "128 tokens", "129 ranks"}},
      {"MeshAboveBatch", "data:1", "data:17", {"mesh", "16 rows", "data:16"}},
      {"MicrobatchesAboveBatch", "microbatches: 1", "microbatches: 17", {"microbatches", "16"}},
      {"EvaluateNothing", "mesh", "evaluate { every: 10 } mesh", {"evaluate.every", "held_out"}},
      {"HeldOutAll", "sequence: 128", "sequence: 128 held_out: 1", {"data.held_out"}},
      {"NegativeHeldOut", "sequence: 128", "sequence: 128 held_out: -0.1", {"data.held_out"}},
      {"CheckpointNowhere", "dir: \"runs/x\"", "every: 5", {"checkpoint.every", "dir"}},
      {"FormatOfText", "tokenizer: BYTES", "format: U16", {"data.format"}},
      {"TokenizerOfTokens", "text: \"/usr", "tokens: \"/usr", {"data.tokenizer"}},
      {"EmptyGraphFile",
       "decoder { layers: 4 hidden: 128 heads: 4 kv_heads: 2 ffn: 384 vocab: 256 }",
       "graph_file: ''",
       {"job:2:9: model.graph_file", "name a file"}},
      {"VirtualBatches", "steps: 50", "steps: 50 virtual_batches: 4", {"virtual_batches"}},
      {"Tensorboard", "mesh", "log { tensorboard: 'tb' } mesh", {"log.tensorboard", "not built"}},
      {"TraceOfNothing",
       "mesh",
       "log { trace_steps: '1:2' } mesh",
       {"log.trace_steps", "set both"}},
      {"TraceBeyond",
       "mesh",
       "log { trace: 't' trace_steps: '49:51' } mesh",
       {"job:4:18: log.trace_steps", "\"49:51\" and the job has 50 steps"}},
      {"TraceBackwards",
       "mesh",
       "log { trace: 't' trace_steps: '9:8' } mesh",
       {"log.trace_steps", "\"9:8\"", "such as 11:13"}},
      {"TraceZero", "mesh", "log { trace: 't' trace_steps: '0:8' } mesh", {"such as 11:13"}},
      {"TraceOne", "mesh", "log { trace: 't' trace_steps: '8' } mesh", {"such as 11:13"}},
      {"TraceThree", "mesh", "log { trace: 't' trace_steps: '7:8:9' } mesh", {"such as 11:13"}},
      {"Extension", "mesh", "[a.b]: 1 mesh", {"job:4:", "'[a.b]'"}},
  };
  return cases;
}

TEST(JobBroken, TheUnbrokenJobIsGood) {
  const absl::StatusOr<Job> job = ParseJob(kGood, "job");
  EXPECT_TRUE(job.ok()) << job.status();
}

class JobBrokenCase : public testing::TestWithParam<Case> {};

TEST_P(JobBrokenCase, SaysWhatAndWhere) {
  const Case& c = GetParam();
  std::string text = kGood;
  const size_t at = text.find(c.from);
  ASSERT_NE(at, std::string::npos) << c.from;
  text.replace(at, std::string(c.from).size(), c.to);
  const absl::StatusOr<Job> job = ParseJob(text, "job");
  ASSERT_FALSE(job.ok()) << text;
  const std::string message(job.status().message());
  EXPECT_EQ(message.substr(0, 3), "job") << message;
  EXPECT_EQ(message.find("weft.Job"), std::string::npos) << message;
  for (const char* said : c.says) {
    EXPECT_NE(message.find(said), std::string::npos) << "no \"" << said << "\" in: " << message;
  }
}

INSTANTIATE_TEST_SUITE_P(Table, JobBrokenCase, testing::ValuesIn(Cases()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(JobBroken, SetSaysWhatIsWrong) {
  const std::vector<std::vector<const char*>> cases = {
      {"train.steps", "path=value"},
      {"=5", "path=value"},
      {"train.stesp=5", "no field 'stesp'", "'steps'"},
      {"trian.steps=5", "no field 'trian'", "'train'"},
      {"train.steps.x=5", "'steps' is a value"},
      {"train.steps=many", "integer"},
      {"train.steps=", "--set"},
      {"train.steps=5 seed: 6", "more than one"},
      {"train.steps=5 } optimizer { clip_norm: 3", "more than one"},
      {"train=5", "message", "train={"},
      {"model.decoder.norm=RSM", "'RSM'", "'RMS'"},
      {"train.steps=-3", "--set train.steps=-3: train.steps", "is -3"},
      {"optimizer.lamb={}", "optimizer.lamb.lr: missing"},
      {"optimizer.lamb={lr: 1", "lamb={field"},
      {"mesh=data:x", "--set mesh=data:x: mesh"},
      {"train..steps=5", "no field ''"},
  };
  for (const auto& c : cases) {
    const absl::StatusOr<Job> job = ParseJob(kGood, "job", {.sets = {c[0]}, .mesh = {}});
    ASSERT_FALSE(job.ok()) << c[0];
    for (size_t i = 1; i < c.size(); ++i) {
      EXPECT_NE(std::string(job.status().message()).find(c[i]), std::string::npos)
          << c[i] << " in " << job.status();
    }
  }
}

TEST(JobBroken, MissingFileAndDirectory) {
  EXPECT_EQ(LoadJob("/nowhere/job.pbtxt").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(LoadJob("/tmp").ok());
  EXPECT_FALSE(LoadJob("/dev/null").ok());
}

TEST(JobBroken, DeepNestingIsAnError) {
  for (const char* open : {"model {", "model { decoder {", "a {", "{", "<", "model <"}) {
    std::string text;
    for (int i = 0; i < 20000; ++i) text += open;
    EXPECT_FALSE(ParseJob(text, "job").ok());
  }
}

TEST(JobBroken, HugeTextIsAnError) {
  const absl::StatusOr<Job> job = ParseJob(std::string(2 << 20, '#'), "job");
  EXPECT_NE(std::string(job.status().message()).find("limit"), std::string::npos);
}

TEST(JobBroken, RandomBytesNeverCrash) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string text(random() % 200, '\0');
    for (char& c : text) c = static_cast<char>(random());
    EXPECT_FALSE(ParseJob(text, "job").ok());
  }
}

// What mutated text comes to is an error or a job that reads back as itself.
TEST(JobBroken, MutationsOfTheTinyJobAreErrorsOrJobs) {
  std::ifstream file(WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt");
  std::stringstream contents;
  contents << file.rdbuf();
  const std::string tiny = contents.str();
  ASSERT_TRUE(ParseJob(tiny, "tiny").ok());
  std::mt19937 random(3);
  int jobs = 0;
  for (int round = 0; round < 600; ++round) {
    std::string text = tiny;
    const size_t at = random() % text.size(), length = 1 + random() % 60;
    switch (round % 3) {
      case 0:
        for (int flips = 1 + static_cast<int>(random() % 3); flips > 0; --flips) {
          text[random() % text.size()] ^= static_cast<char>(1 << (random() % 8));
        }
        break;
      case 1: text.resize(at); break;
      default: text.insert(random() % text.size(), tiny.substr(at, length));
    }
    const absl::StatusOr<Job> job = ParseJob(text, "tiny");
    if (!job.ok()) {
      EXPECT_EQ(job.status().message().substr(0, 4), "tiny") << job.status() << "\n" << text;
      continue;
    }
    ++jobs;
    const absl::StatusOr<Job> again = ParseJob(PrintJob(*job), "printed");
    ASSERT_TRUE(again.ok()) << again.status() << "\n" << text;
    EXPECT_EQ(PrintJob(*again), PrintJob(*job));
  }
  EXPECT_GT(jobs, 0);
  EXPECT_LT(jobs, 600);
}

TEST(JobBroken, RandomMutationsNeverCrash) {
  std::mt19937 random(2);
  const std::string good = kGood;
  for (int round = 0; round < 5000; ++round) {
    std::string text = good;
    for (int edits = 1 + static_cast<int>(random() % 4); edits > 0; --edits) {
      const size_t at = random() % text.size();
      const size_t length = random() % 8;
      switch (random() % 3) {
        case 0: text.erase(at, length); break;
        case 1: text.insert(at, good.substr(random() % good.size(), length * 4)); break;
        default: text[at] = static_cast<char>(random());
      }
      if (text.empty()) text = "x";
    }
    const absl::StatusOr<Job> job = ParseJob(text, "job");
    if (!job.ok()) {
      EXPECT_FALSE(job.status().message().empty());
    }
  }
}

}  // namespace
}  // namespace weft

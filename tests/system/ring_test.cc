// Conformance of ring attention: exact attention over a split sequence, forward and backward,
// against one rank in f64, whatever the number of ranks. Tolerances are relative L2 per tensor
// (lse: absolute), by dtype; o, dq, dk and dv are rounded to the dtype at the end alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/system/ring_case.h"

namespace weft::testing {
namespace {

struct Tolerance {
  double o, gradients, lse;
};

Tolerance ToleranceOf(DType dtype) {
  switch (dtype) {
    case DType::kF64: return {1e-13, 1e-12, 1e-13};
    case DType::kBF16: return {2.6e-3, 4e-3, 2e-5};
    default: return {5e-6, 1e-5, 1e-5};
  }
}

double ErrorOf(const std::string& name, const HostTensor& got, const HostTensor& want) {
  return name == "lse" ? AbsoluteError(got, want) : RelativeError(got, want);
}

// Runs the case on meshes and dtypes against one rank in f64.
struct Row {
  const char* id;
  RingCase base;
  std::vector<std::string> meshes;
  std::vector<DType> dtypes;
  double loosen = 1;  // of tolerances, where scores are peaked
};

void PrintTo(const Row& row, std::ostream* out) { *out << row.id; }

class Ring : public ::testing::TestWithParam<Row> {
 protected:
  static std::map<std::string, double> Errors(const RingCase& c, const RingResults& exact) {
    const absl::StatusOr<MeshRun> run = RunRing(c);
    EXPECT_TRUE(run.ok()) << c.Describe() << ": " << run.status();
    std::map<std::string, double> errors;
    if (!run.ok()) return errors;
    EXPECT_EQ(run->bytes_sent, run->bytes_predicted) << c.Describe();
    for (const auto& [name, got] : ResultsOf(*run)) {
      errors[name] = ErrorOf(name, got, exact.at(name));
    }
    return errors;
  }
};

TEST_P(Ring, EqualsOneRank) {
  const Row& row = GetParam();
  const absl::StatusOr<RingResults> exact = ExactRing(row.base);
  ASSERT_TRUE(exact.ok()) << exact.status();
  for (const DType dtype : row.dtypes) {
    RingCase c = row.base;
    c.dtype = dtype;
    c.mesh = "seq:1";
    c.heads_axis = c.queries_axis = "";
    const std::map<std::string, double> alone = Errors(c, *exact);
    const Tolerance tolerance = ToleranceOf(dtype);
    for (const std::string& mesh : row.meshes) {
      c.mesh = mesh;
      c.heads_axis = row.base.heads_axis;
      c.queries_axis = row.base.queries_axis;
      SCOPED_TRACE(c.Describe());
      const std::map<std::string, double> errors = Errors(c, *exact);
      ASSERT_GE(errors.size(), 5u);
      for (const auto& [name, error] : errors) {
        const double most = name == "lse" ? tolerance.lse
                            : name == "o" ? tolerance.o
                                          : tolerance.gradients;
        EXPECT_LE(error, most * row.loosen) << name;
        // What is rounded at the end alone does not get worse with the number of parts.
        if (dtype == DType::kBF16 && name != "lse") {
          EXPECT_LE(error, 1.05 * alone.at(name)) << name << ", against one rank";
        }
      }
    }
  }
}

constexpr DType kAll[] = {DType::kF64, DType::kF32, DType::kBF16};
const std::vector<DType> kTypes(std::begin(kAll), std::end(kAll));
const std::vector<DType> kExact = {DType::kF64, DType::kF32};
const std::vector<DType> kFast = {DType::kF32, DType::kBF16};
const std::vector<std::string> kTwoToEight = {"seq:2", "seq:4", "seq:8"};

std::vector<Row> Rows() {
  std::vector<Row> rows;
  const auto add = [&](const char* id, RingCase c, std::vector<std::string> meshes,
                       std::vector<DType> dtypes, double loosen = 1) {
    rows.push_back({id, std::move(c), std::move(meshes), std::move(dtypes), loosen});
  };
  const std::vector<std::string> small = {"seq:1", "seq:2", "seq:3", "seq:4", "seq:8"};
  add("R1Causal", {.sequence = 192}, small, kExact);
  add("R1Full", {.sequence = 192, .causal = false}, small, kExact);
  add("R2Half", {.sequence = 1024, .heads = 8, .kv_heads = 8, .d = 64}, kTwoToEight, kFast);
  add("R3Eighth", {.sequence = 256, .heads = 32, .kv_heads = 8, .d = 128}, kTwoToEight, kFast);
  add("R4Quarter", {.sequence = 512, .heads = 16, .kv_heads = 1, .d = 128}, {"seq:4"}, kFast);
  add("R5Eighth", {.sequence = 512, .heads = 12, .kv_heads = 12, .d = 128, .causal = false},
      {"seq:2", "seq:8"}, {DType::kF32});
  add("R6Prime", {.sequence = 2999, .heads = 5, .kv_heads = 5, .d = 32}, {"seq:2", "seq:4"}, kFast);
  add("R7Tenth", {.sequence = 423, .heads = 8, .kv_heads = 2, .d = 64, .documents = {12, 112, 299}},
      kTwoToEight, kTypes);
  add("R7TenthFull",
      {.sequence = 423,
       .heads = 8,
       .kv_heads = 2,
       .d = 64,
       .causal = false,
       .documents = {12, 112, 299}},
      kTwoToEight, kTypes);
  add("R8", {.sequence = 698, .documents = {1, 7, 690}}, {"seq:4"}, kTypes);
  for (int64_t window : {128, 512, 1024, 1025}) {
    add(window == 128    ? "R9Window128"
        : window == 512  ? "R9Window512"
        : window == 1024 ? "R9WindowPart"
                         : "R9WindowPartAndOne",
        {.sequence = 4096, .heads = 4, .kv_heads = 1, .d = 32, .zigzag = false, .window = window},
        kTwoToEight, {DType::kF32});
  }
  add("R9Zigzag", {.sequence = 700, .heads = 4, .kv_heads = 1, .d = 32, .window = 100}, kTwoToEight,
      kTypes);
  add("R9Full",
      {.sequence = 700,
       .heads = 4,
       .kv_heads = 1,
       .d = 32,
       .causal = false,
       .zigzag = false,
       .window = 100},
      kTwoToEight, kTypes);
  add("R9Queries", {.sequence = 700, .heads = 4, .d = 32, .zigzag = false, .window = 100},
      kTwoToEight, kTypes);
  // In bf16 o is rounded twice, by attention and by the sink.
  add("R10Eighth",
      {.sequence = 512,
       .heads = 16,
       .kv_heads = 2,
       .d = 64,
       .zigzag = false,
       .window = 128,
       .sink = true},
      {"seq:4"}, kFast, 1.2);
  add("R11", {.sequence = 512, .heads = 8, .kv_heads = 8, .d = 128, .scale_q = 30},
      {"seq:4", "seq:8"}, kFast, 5);
  add("R12", {.sequence = 1024, .heads = 8, .kv_heads = 8, .d = 64},
      {"seq_outer:8,seq_inner:1", "seq_outer:4,seq_inner:2", "seq_outer:2,seq_inner:4",
       "seq_outer:1,seq_inner:8"},
      kFast);
  add("R12Three", {.sequence = 301}, {"seq_a:2,seq_b:3,seq_c:2"}, kTypes);
  add("R13", {.sequence = 512, .heads = 32, .kv_heads = 8, .d = 32, .heads_axis = "model"},
      {"model:2,seq:2", "model:2,seq:4", "seq:4,model:2"}, kFast);
  // Fewer key heads than ranks for heads: dk and dv are sums over these.
  add("R13Fewer", {.sequence = 256, .heads = 8, .kv_heads = 2, .heads_axis = "model"},
      {"model:4,seq:2", "seq:3,model:4", "model:3,seq:2"}, kExact);
  // Queries that another axis splits too are not beside the keys of their part.
  add("R9Split", {.sequence = 64, .zigzag = false, .window = 8, .queries_axis = "x"},
      {"x:2,seq:4", "seq:4,x:2"}, kExact);
  add("R14", {.sequence = 512, .heads = 8, .kv_heads = 8, .d = 192, .dv = 128}, {"seq:2", "seq:4"},
      kFast);
  add("R15", {.sequence = 512, .heads = 8, .kv_heads = 8, .d = 64, .blind = 60}, {"seq:4"}, kTypes);
  add("R18", {.sequence = 512, .heads = 8, .kv_heads = 8, .d = 64, .zigzag = false},
      {"seq:2", "seq:4"}, kTypes);
  return rows;
}

INSTANTIATE_TEST_SUITE_P(Conformance, Ring, ::testing::ValuesIn(Rows()),
                         [](const auto& info) { return std::string(info.param.id); });

// The table's own sizes, where those above are smaller.
std::vector<Row> SlowRows() {
  std::vector<Row> rows;
  rows.push_back(
      {"R3", {.sequence = 2048, .heads = 32, .kv_heads = 8, .d = 128}, kTwoToEight, kFast});
  rows.push_back(
      {"R4", {.sequence = 2048, .heads = 16, .kv_heads = 1, .d = 128}, {"seq:4"}, kFast});
  rows.push_back({"R5",
                  {.sequence = 4096, .heads = 12, .kv_heads = 12, .d = 128, .causal = false},
                  {"seq:2", "seq:8"},
                  kFast});
  for (int64_t s : {3824, 2999}) {
    rows.push_back({s == 3824 ? "R6Ragged" : "R6Prime",
                    {.sequence = s, .heads = 5, .kv_heads = 5, .d = 128},
                    {"seq:2", "seq:4"},
                    kFast});
  }
  rows.push_back({"R10",
                  {.sequence = 4096,
                   .heads = 64,
                   .kv_heads = 8,
                   .d = 64,
                   .zigzag = false,
                   .window = 128,
                   .sink = true},
                  {"seq:4"},
                  kFast,
                  1.2});
  rows.push_back({"R13",
                  {.sequence = 4096, .heads = 32, .kv_heads = 8, .d = 128, .heads_axis = "model"},
                  {"model:2,seq:2", "model:2,seq:4"},
                  kFast});
  return rows;
}
INSTANTIATE_TEST_SUITE_P(Slow, Ring, ::testing::ValuesIn(SlowRows()),
                         [](const auto& info) { return std::string(info.param.id); });

// Heads instead of parts of the sequence, and keys gathered, are attention too; heads also where
// there are fewer key heads than ranks.
TEST(RingInstead, HeadsAndGathered) {
  for (const int64_t kv_heads : {2, 8}) {
    RingCase c{.mesh = "seq:4", .sequence = 250, .heads = 8, .kv_heads = kv_heads};
    c.dtype = DType::kF64;
    const absl::StatusOr<RingResults> exact = ExactRing(c);
    ASSERT_TRUE(exact.ok()) << exact.status();
    for (SequenceMeeting meeting :
         {SequenceMeeting::kAuto, SequenceMeeting::kHeads, SequenceMeeting::kGather}) {
      c.meeting = meeting;
      SCOPED_TRACE(static_cast<int>(meeting));
      const absl::StatusOr<MeshRun> run = RunRing(c);
      ASSERT_TRUE(run.ok()) << run.status();
      for (const auto& [name, got] : ResultsOf(*run)) {
        EXPECT_LE(ErrorOf(name, got, exact->at(name)), 1e-12) << name;
      }
      for (const Node& node : run->program.graph.nodes) {
        if (node.is_reshard() || node.op->name != "attention") continue;
        const Sbp split = node.input_layouts[0][0];
        EXPECT_TRUE(split.is_split(meeting == SequenceMeeting::kGather ? 1 : 2))
            << split.ToString();
      }
      EXPECT_EQ(run->bytes_sent, run->bytes_predicted);
    }
  }
}

// Several layers and microbatches under way at once, messages late at random (R16), twice (R17).
TEST(RingOrder, DelaysChangeNoBit) {
  RingCase c{.mesh = "seq:8", .sequence = 512, .heads = 8, .kv_heads = 2, .d = 32};
  c.layers = 2;
  c.microbatches = 2;
  const absl::StatusOr<RingResults> exact = ExactRing(c);
  ASSERT_TRUE(exact.ok()) << exact.status();
  RingResults before;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    if (seed > 0) c.links = {.jitter = std::chrono::microseconds(500), .seed = seed};
    const absl::StatusOr<MeshRun> run = RunRing(c);
    ASSERT_TRUE(run.ok()) << run.status();
    const RingResults results = ResultsOf(*run);
    for (const auto& [name, got] : results) {
      EXPECT_LE(ErrorOf(name, got, exact->at(name)), 2e-5) << name;
      if (seed > 0) {
        EXPECT_EQ(got.values, before.at(name).values) << name;
      }
    }
    before = results;
  }
}

// Conversions of `op`'s meetings, by what they carry.
std::map<std::string, int> Conversions(const Program& program, std::string_view op) {
  std::map<std::string, int> counts;
  for (const Node& node : program.graph.nodes) {
    if (!node.is_reshard() || node.reason != op) continue;
    for (const char* what : {"part", "sum", "home"}) {
      if (absl::StrContains(node.name, absl::StrCat(".", what))) ++counts[what];
    }
  }
  return counts;
}

// P - 1 hops of keys and values forward; backward as many, and P - 1 of their gradients, the last
// of which comes home to the rank's own.
TEST(RingMessages, AreAsManyAsParts) {
  for (int parts : {2, 4, 8}) {
    RingCase c{.mesh = absl::StrCat("seq:", parts), .sequence = 64, .heads = 4, .kv_heads = 1};
    const absl::StatusOr<MeshRun> run = RunRing(c);
    ASSERT_TRUE(run.ok()) << run.status();
    const auto forward = Conversions(run->program, "attention");
    const auto backward = Conversions(run->program, "attention_grad");
    EXPECT_EQ(forward, (std::map<std::string, int>{{"part", 2 * (parts - 1)}}));
    std::map<std::string, int> want = {{"part", 2 * (parts - 1)}, {"home", 2}};
    if (parts > 2) want["sum"] = 2 * (parts - 2);
    EXPECT_EQ(backward, want);
  }
}

// A window is met by neighbours within reach alone: ceil((w - 1) / c) of them, as rows of theirs.
TEST(RingMessages, WindowsReachNeighbours) {
  for (const auto& [window, hops] :
       {std::pair<int64_t, int>{128, 1}, {512, 1}, {513, 1}, {514, 2}}) {
    RingCase c{.mesh = "seq:8", .sequence = 4096, .heads = 1, .kv_heads = 1, .d = 2};
    c.zigzag = false;
    c.window = window;
    const absl::StatusOr<MeshRun> run = RunRing(c);
    ASSERT_TRUE(run.ok()) << run.status();
    SCOPED_TRACE(window);
    EXPECT_EQ(Conversions(run->program, "attention")["part"], 2 * hops);
    EXPECT_EQ(Conversions(run->program, "attention_grad")["home"], 2 * hops);
    // k, v forward; k, v, dk, dv backward: the rows within reach, of two f32 each.
    EXPECT_EQ(run->bytes_sent[3], 6 * (window - 1) * 2 * 4);
  }
}

// Two parts of others are held at most, whatever the number of ranks: memory does not grow with it.
TEST(RingMemory, DoesNotGrowWithTheRing) {
  std::map<int, int64_t> bytes;
  for (int parts : {4, 8, 16}) {
    RingCase c{.mesh = absl::StrCat("seq:", parts), .sequence = 32 * parts, .heads = 4};
    c.kv_heads = 4;
    const absl::StatusOr<MeshRun> run = RunRing(c);
    ASSERT_TRUE(run.ok()) << run.status();
    for (int rank = 0; rank < parts; ++rank) {
      const absl::StatusOr<Plan> plan = InstantiatePlan(run->program, rank);
      ASSERT_TRUE(plan.ok()) << plan.status();
      bytes[parts] = std::max(bytes[parts], plan->arena_bytes());
    }
  }
  EXPECT_LE(bytes[8], bytes[4]);
  EXPECT_LE(bytes[16], bytes[4]);
}

// Nor with a window that reaches many parts.
TEST(RingMemory, DoesNotGrowWithTheWindow) {
  std::map<int64_t, int64_t> bytes;
  for (int64_t window : {0, 512}) {
    RingCase c{.mesh = "seq:16", .sequence = 512, .heads = 4, .kv_heads = 4, .zigzag = false};
    c.window = window;
    const absl::StatusOr<MeshRun> run = RunRing(c);
    ASSERT_TRUE(run.ok()) << run.status();
    for (int rank = 0; rank < 16; ++rank) {
      const absl::StatusOr<Plan> plan = InstantiatePlan(run->program, rank);
      ASSERT_TRUE(plan.ok()) << plan.status();
      bytes[window] = std::max(bytes[window], plan->arena_bytes());
    }
  }
  EXPECT_LE(bytes[512], bytes[0] * 5 / 4);
}

}  // namespace
}  // namespace weft::testing

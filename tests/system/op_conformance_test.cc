// Runs the table of op_rows.h: every row is compiled, planned and executed by real ranks, forward
// and backward, and what every rank holds is compared with the logical result, computed on the host
// by one rank's kernel.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "graph/grad_context.h"
#include "graph/graph_builder.h"
#include "kernels/all_ops.h"
#include "tests/system/mesh_run.h"
#include "tests/system/op_rows.h"

namespace weft::testing {
namespace {

Sbp ParseWord(const std::string& word) {
  if (word == "B") return Sbp::B();
  if (word == "P") return Sbp::P(Monoid::kSum);
  if (word == "Pmax") return Sbp::P(Monoid::kMax);
  if (word == "Plse") return Sbp::P(Monoid::kLogAddExp);
  EXPECT_TRUE(word.size() == 2 && (word[0] == 'S' || word[0] == 'Z')) << word;
  return Sbp::S(word[1] - '0', word[0] == 'S' ? IndexOrder::kContiguous : IndexOrder::kZigzag);
}

// "S0.B" as a layout.
Layout ParseShort(const std::string& text) {
  Layout layout;
  for (const std::string& word : std::vector<std::string>(absl::StrSplit(text, '.'))) {
    layout.push_back(ParseWord(word));
  }
  return layout;
}

std::vector<std::string> Words(const std::string& text) {
  return absl::StrSplit(text, ' ', absl::SkipEmpty());
}

// The mesh of a row: four ranks as one axis, or as 2 x 2.
Mesh MeshOfRow(const OpRow& row) {
  const std::string first = Words(row.out.empty() ? row.in : row.out)[0];
  return *Mesh::Parse(std::count(first.begin(), first.end(), '.') == 0 ? "x:4" : "x:2,y:2");
}

const OpRegistry& Registry() {
  static const OpRegistry* ops = [] {
    auto* made = new OpRegistry;
    DefineAllOps(*made);
    return made;
  }();
  return *ops;
}

const KernelTable& Kernels() {
  static const KernelTable* kernels = [] {
    auto* made = new KernelTable;
    FillCpuKernels(Registry(), *made);
    return made;
  }();
  return *kernels;
}

// The graph of a row and the logical tensors of its inputs.
struct RowGraph {
  Graph graph;
  std::map<std::string, HostTensor> inputs;
};

class RowBuilder {
 public:
  explicit RowBuilder(const OpRow& row)
      : row_(row), op_(*Registry().Find(row.op)), mesh_(MeshOfRow(row)), g_(Registry(), mesh_) {}

  absl::StatusOr<RowGraph> Build() {
    const std::vector<std::string> in = Words(row_.in), out = Words(row_.out);
    std::vector<Value> inputs;
    for (size_t i = 0; i < row_.inputs.size(); ++i) {
      inputs.push_back(Input(NameOf(i), row_.inputs[i], in.at(i)));
    }
    const std::vector<Value> results = g_.Emit(row_.op, inputs, row_.attrs, "y");
    if (!g_.status().ok()) return g_.status();
    for (size_t o = 0; o < results.size(); ++o) {
      if (o < out.size() && out[o] != "-") Annotate(results[o], out[o]);
      g_.Output(absl::StrCat("y", o), results[o]);
    }
    if (!row_.grads.empty()) AddGradients(results, out);
    absl::StatusOr<Graph> graph = g_.Build();
    if (!graph.ok()) return graph.status();
    return RowGraph{*std::move(graph), std::move(tensors_)};
  }

 private:
  std::string NameOf(size_t input) const {
    if (input < op_.inputs.size() && op_.inputs[input].back() != '*') {
      std::string name = op_.inputs[input];
      if (name.back() == '?') name.pop_back();
      return name;
    }
    return absl::StrCat("x", input);
  }
  void Annotate(Value v, const std::string& layout) {
    g_.Annotate(v, ToString(ParseShort(layout), mesh_));
  }
  Value Input(const std::string& name, const HostTensor& x, const std::string& layout) {
    // Optimizers run once per step.
    const Value v = g_.Input(name, x.spec, row_.id == "O16" ? Rate::kStep : Rate::kMicrobatch);
    Annotate(v, layout);
    tensors_[name] = x;
    return v;
  }
  // The op's own gradient rule, on gradients that arrive as inputs of the graph.
  void AddGradients(const std::vector<Value>& results, const std::vector<std::string>& out) {
    std::vector<Value> arriving(results.size());
    for (size_t o = 0; o < results.size(); ++o) {
      const TensorSpec spec = g_.spec(results[o]);
      // Statistics for the gradient op pass none on.
      if (!IsFloat(spec.dtype) || o >= out.size() || out[o].empty() || out[o] == "-") continue;
      if (o > 0 && op_.name != "head_cross_entropy") continue;
      std::vector<std::string> words = absl::StrSplit(out[o], '.');
      for (std::string& word : words) {
        if (word[0] == 'P') word = "B";
      }
      arriving[o] =
          Input(absl::StrCat("dy", o), Sixteenths(spec, 500 + o), absl::StrJoin(words, "."));
    }
    const Node node = g_.graph().nodes.back();
    GradContext context(g_, node, arriving);
    const std::vector<Value> grads = op_.gradient(context);
    const std::vector<std::string> layouts = Words(row_.grads);
    ASSERT_EQ(layouts.size(), row_.inputs.size()) << row_.grads;
    for (size_t i = 0; i < grads.size() && g_.status().ok(); ++i) {
      ASSERT_EQ(static_cast<bool>(grads[i]), layouts[i] != "-") << "gradient of " << NameOf(i);
      if (!grads[i]) continue;
      // An op that hands its gradient on emits nothing.
      if (g_.graph().info(grads[i]).node >= 0) Annotate(grads[i], layouts[i]);
      g_.Output(absl::StrCat("d_", NameOf(i)), grads[i]);
    }
  }

  const OpRow& row_;
  const OpDef& op_;
  const Mesh mesh_;
  GraphBuilder g_;
  std::map<std::string, HostTensor> tensors_;
};

// All outputs of the graph, by unsplit kernels.
absl::StatusOr<std::map<std::string, HostTensor>> Evaluate(const RowGraph& row) {
  std::map<int, HostTensor> values;
  for (const GraphInput& input : row.graph.inputs) {
    values[input.value.id] = row.inputs.at(input.name);
  }
  for (const Node& node : row.graph.nodes) {
    std::vector<HostTensor> inputs;
    for (Value v : node.inputs) inputs.push_back(values.at(v.id));
    auto results = RunKernel(*node.op, node.attrs, inputs);
    if (!results.ok()) return results.status();
    for (size_t o = 0; o < node.outputs.size(); ++o) {
      values[node.outputs[o].id] = std::move((*results)[o]);
    }
  }
  std::map<std::string, HostTensor> outputs;
  for (const GraphOutput& output : row.graph.outputs) {
    outputs[output.name] = values.at(output.value.id);
  }
  return outputs;
}

void ExpectEqual(const HostTensor& got, const HostTensor& want, double tolerance) {
  ASSERT_EQ(got.spec, want.spec);
  double scale = 1;
  for (double v : want.values) scale = std::isfinite(v) ? std::max(scale, std::abs(v)) : scale;
  for (size_t i = 0; i < want.values.size(); ++i) {
    if (got.values[i] == want.values[i]) continue;
    ASSERT_NEAR(got.values[i], want.values[i], tolerance * scale) << "element " << i;
  }
}

// "x [x:P(sum)]->[x:B] all-reduce over x".
std::vector<std::string> ConversionsOf(const Program& program) {
  std::vector<std::string> all;
  for (const Conversion& c : program.conversions) {
    all.push_back(absl::StrCat(c.value, " ", c.from, "->", c.to, " ", c.how));
  }
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<std::string> ExpectedConversions(const OpRow& row, const Mesh& mesh) {
  std::vector<std::string> all;
  for (const std::string& text : row.conversions) {
    const std::vector<std::string> words = absl::StrSplit(text, absl::MaxSplits(' ', 2));
    const std::vector<std::string> ends = absl::StrSplit(words[1], "->");
    all.push_back(absl::StrCat(words[0], " ", ToString(ParseShort(ends[0]), mesh), "->",
                               ToString(ParseShort(ends[1]), mesh), " ", words[2]));
  }
  std::sort(all.begin(), all.end());
  return all;
}

// One row, forward, backward and converted, on real ranks.
void CheckRow(const OpRow& row) {
  const absl::StatusOr<RowGraph> graph = RowBuilder(row).Build();
  ASSERT_TRUE(graph.ok()) << graph.status();
  const auto want = Evaluate(*graph);
  ASSERT_TRUE(want.ok()) << want.status();
  MeshRunOptions options;
  options.input = [&](std::string_view name, int64_t, int64_t) {
    return graph->inputs.at(std::string(name));
  };
  const auto run = RunOnMesh(graph->graph, Registry(), Kernels(), options);
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(ConversionsOf(run->program), ExpectedConversions(row, MeshOfRow(row)));
  EXPECT_EQ(run->bytes_sent, run->bytes_predicted);
  for (const auto& [name, tensor] : *want) {
    SCOPED_TRACE(name);
    ASSERT_EQ(run->outputs.at(name).size(), 1u);
    ExpectEqual(run->outputs.at(name)[0], tensor, row.tolerance);
  }
}

std::string Describe(const OpRow& row) {
  std::string shapes;
  for (const HostTensor& x : row.inputs) absl::StrAppend(&shapes, " ", x.spec.ToString());
  return absl::StrCat(row.id, " ", row.op, shapes, " ", row.attrs.ToString(), ": ", row.in, " -> ",
                      row.out, " grads ", row.grads);
}

// The counts say that no row was forgotten on the way; a row added to the table adds to them.
TEST(OpConformance, EveryRowOfTheTable) {
  std::map<std::string, std::array<int, 4>> counts;  // 1-D, 2-D, with gradient, illegal
  int cases = 0, failed = 0;
  for (const OpRow& row : AllOpRows()) {
    SCOPED_TRACE(Describe(row));
    const int before =
        ::testing::UnitTest::GetInstance()->current_test_info()->result()->total_part_count();
    CheckRow(row);
    const bool fails =
        ::testing::UnitTest::GetInstance()->current_test_info()->result()->total_part_count() >
        before;
    failed += fails;
    std::array<int, 4>& count = counts[row.id];
    ++cases;
    ++count[MeshOfRow(row).num_axes() == 1 ? 0 : 1];
    count[2] += !row.grads.empty();
    count[3] += row.illegal;
  }
  for (int id = 1; id <= 17; ++id) {
    const std::array<int, 4>& c = counts[absl::StrCat("O", id)];
    std::printf("O%-2d: %3d on 4 ranks, %3d on 2x2; %3d with gradients, %d to be converted\n", id,
                c[0], c[1], c[2], c[3]);
    EXPECT_GT(c[0], 0) << id;
    EXPECT_GT(c[1], 0) << id;
  }
  std::printf("op conformance: %d cases run, %d failed, 0 skipped\n", cases, failed);
  EXPECT_EQ(cases, kOpRows);
}

}  // namespace
}  // namespace weft::testing

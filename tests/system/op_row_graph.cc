#include "tests/system/op_row_graph.h"

#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "graph/grad_context.h"
#include "graph/graph_builder.h"
#include "gtest/gtest.h"
#include "kernels/all_ops.h"

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

std::vector<std::string> Words(const std::string& text) {
  return absl::StrSplit(text, ' ', absl::SkipEmpty());
}

class RowBuilder {
 public:
  RowBuilder(const OpRow& row, const Mesh& mesh)
      : row_(row), op_(*AllOps().Find(row.op)), mesh_(mesh), g_(AllOps(), mesh_) {}

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

}  // namespace

const OpRegistry& AllOps() {
  static const OpRegistry* ops = [] {
    auto* made = new OpRegistry;
    DefineAllOps(*made);
    return made;
  }();
  return *ops;
}

const KernelTable& AllKernels() {
  static const KernelTable* kernels = [] {
    auto* made = new KernelTable;
    FillCpuKernels(AllOps(), *made);
    return made;
  }();
  return *kernels;
}

Layout ParseShort(const std::string& text) {
  Layout layout;
  for (const std::string& word : std::vector<std::string>(absl::StrSplit(text, '.'))) {
    layout.push_back(ParseWord(word));
  }
  return layout;
}

Mesh MeshOfRow(const OpRow& row, int first_rank) {
  const std::string first = Words(row.out.empty() ? row.in : row.out)[0];
  const bool one_axis = first.find('.') == std::string::npos;
  std::vector<int> ranks(4);
  std::iota(ranks.begin(), ranks.end(), first_rank);
  return one_axis ? *Mesh::Create({{"x", 4}}, ranks) : *Mesh::Create({{"x", 2}, {"y", 2}}, ranks);
}

absl::StatusOr<RowGraph> BuildRow(const OpRow& row, const Mesh& mesh) {
  return RowBuilder(row, mesh).Build();
}

absl::StatusOr<std::map<std::string, HostTensor>> EvaluateRow(const RowGraph& row) {
  std::map<int, HostTensor> values;
  for (const GraphInput& input : row.graph.inputs) {
    values[input.value.id] = row.inputs.at(input.name);
  }
  for (const Node& node : row.graph.nodes) {
    std::vector<HostTensor> inputs;
    for (Value v : node.inputs) inputs.push_back(v ? values.at(v.id) : Absent());
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

}  // namespace weft::testing

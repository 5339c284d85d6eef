#include "tests/system/graph_recipe.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "graph/graph_builder.h"
#include "graph/graph_text.h"

namespace weft::testing {
namespace {

uint64_t SeedOf(std::string_view name, uint64_t seed) {
  for (char c : name) seed = HashOf(seed, static_cast<uint64_t>(c));
  return seed;
}

class RecipeBuilder {
 public:
  RecipeBuilder(const GraphRecipe& recipe, const OpRegistry& ops, bool whole)
      : recipe_(recipe),
        whole_(whole),
        mesh_(whole ? Mesh() : *Mesh::Parse(recipe.MeshText())),
        g_(ops, mesh_, static_cast<int64_t>(recipe.seed)) {}

  absl::StatusOr<Graph> Build() {
    for (size_t v = 0; v < recipe_.values.size() && g_.status().ok(); ++v)
      Make(static_cast<int>(v));
    const Value loss = Loss();
    if (!g_.status().ok()) return g_.status();
    if (absl::Status status = AddOptimizer(g_, loss, recipe_.optimizer); !status.ok()) {
      return status;
    }
    return g_.Build();
  }

 private:
  void Make(int v) {
    const ValueRecipe& value = recipe_.values[v];
    const std::string name = absl::StrCat("v", v);
    Value made;
    switch (value.kind) {
      case ValueRecipe::Kind::kInput: made = g_.Input(name, value.spec); break;
      case ValueRecipe::Kind::kParameter: made = g_.Parameter(name, value.spec, Normal(0.4)); break;
      case ValueRecipe::Kind::kOp: made = MakeOp(value, name); break;
    }
    if (!value.layout.empty() && !whole_ && g_.status().ok()) {
      g_.Annotate(made, ToString(Layout(value.layout.begin(), value.layout.end()), mesh_));
    }
    made_.push_back(made);
  }

  Value MakeOp(const ValueRecipe& value, const std::string& name) {
    std::vector<Value> operands;
    for (int operand : value.operands) operands.push_back(made_[operand]);
    if (value.op != "cross_entropy") return g_.Emit(value.op, operands, value.attrs, name)[0];
    const std::vector<Value> parts =
        g_.Emit("head_cross_entropy", {operands[0], operands[1], operands[2]}, {}, name + ".head");
    return g_.Op("token_loss", {parts[0], parts[1], operands[2], operands[3]}, {}, name);
  }

  Value Loss() {
    std::vector<bool> read(made_.size());
    for (const ValueRecipe& value : recipe_.values) {
      for (int operand : value.operands) read[operand] = true;
    }
    Value loss;
    for (size_t v = 0; v < made_.size() && g_.status().ok(); ++v) {
      if (read[v] || recipe_.values[v].kind != ValueRecipe::Kind::kOp) continue;
      const TensorSpec spec = g_.spec(made_[v]);
      const Value weights = g_.Input(absl::StrCat("weights", v), spec);
      const Value mean = g_.Op("reduce_mean", {g_.Op("mul", {made_[v], weights})});
      loss = loss ? g_.Op("add", {loss, mean}) : mean;
    }
    return loss;
  }

  const GraphRecipe& recipe_;
  const bool whole_;
  const Mesh mesh_;
  GraphBuilder g_;
  std::vector<Value> made_;
};

}  // namespace

int GraphRecipe::ranks() const {
  int n = 1;
  for (int size : mesh) n *= size;
  return n;
}

int GraphRecipe::ops() const {
  int n = 0;
  for (const ValueRecipe& value : values) {
    n += value.kind == ValueRecipe::Kind::kOp ? 1 + (value.op == "cross_entropy") : 0;
  }
  return n;
}

std::string GraphRecipe::MeshText() const {
  std::vector<std::string> axes;
  for (size_t a = 0; a < mesh.size(); ++a) {
    axes.push_back(absl::StrCat(std::string(1, static_cast<char>('x' + a)), ":", mesh[a]));
  }
  return absl::StrJoin(axes, ",");
}

absl::StatusOr<Graph> BuildRecipe(const GraphRecipe& recipe, const OpRegistry& ops, bool whole) {
  return RecipeBuilder(recipe, ops, whole).Build();
}

HostTensor RecipeInput(const Graph& graph, const GraphRecipe& recipe, std::string_view name,
                       int64_t step, int64_t microbatch) {
  TensorSpec spec;
  for (const GraphInput& input : graph.inputs) {
    if (input.name == name) spec = graph.spec(input.value);
  }
  if (name == "learning_rate") return Whole(spec, {0.015625});
  if (name == "step") return Whole(spec, {static_cast<double>(step + 1)});
  const uint64_t seed = SeedOf(name, recipe.seed * 64 + step * 8 + microbatch);
  HostTensor x = Sixteenths(spec, seed, -1, 1);
  if (IsFloat(spec.dtype)) return x;
  int64_t below = 100;
  for (size_t v = 0; v < recipe.values.size(); ++v) {
    if (name == absl::StrCat("v", v)) below = recipe.values[v].below;
  }
  const int64_t low = spec.rank() == 0 ? 0 : -1;  // a scalar is a seed, all else indices
  for (size_t i = 0; i < x.values.size(); ++i) {
    x.values[i] = static_cast<double>(low) + static_cast<double>(HashOf(seed, i) % (below - low));
  }
  return x;
}

std::string Describe(const GraphRecipe& recipe, const OpRegistry& ops) {
  const absl::StatusOr<Graph> graph = BuildRecipe(recipe, ops, false);
  return absl::StrCat("seed ", recipe.seed, ", mesh \"", recipe.MeshText(), "\", ",
                      recipe.microbatches, " microbatches, ", recipe.ops(), " ops:\n",
                      graph.ok() ? GraphText(*graph) : graph.status().ToString());
}

}  // namespace weft::testing

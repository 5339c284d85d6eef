#include "tests/system/shrink_recipe.h"

#include <algorithm>
#include <utility>

namespace weft::testing {
namespace {

// Removes value v, which nothing reads, and renumbers.
void Erase(GraphRecipe& recipe, int v) {
  recipe.values.erase(recipe.values.begin() + v);
  for (ValueRecipe& value : recipe.values) {
    for (int& operand : value.operands) operand -= operand > v;
  }
}

bool IsRead(const GraphRecipe& recipe, int v) {
  return std::any_of(recipe.values.begin(), recipe.values.end(), [&](const ValueRecipe& value) {
    return std::count(value.operands.begin(), value.operands.end(), v) > 0;
  });
}

// Inputs and parameters that nothing reads any more.
void DropUnread(GraphRecipe& recipe) {
  for (int v = static_cast<int>(recipe.values.size()) - 1; v >= 0; --v) {
    if (recipe.values[v].kind != ValueRecipe::Kind::kOp && !IsRead(recipe, v)) Erase(recipe, v);
  }
}

// The recipe without op v: its readers read an operand of the same spec (if `bypass`, where there
// is one) or a new input that lies as the op's result did.
GraphRecipe WithoutOp(GraphRecipe recipe, int v, bool bypass) {
  const ValueRecipe op = recipe.values[v];
  for (int operand : op.operands) {
    if (!bypass || !(recipe.values[operand].spec == op.spec)) continue;
    for (ValueRecipe& value : recipe.values) {
      std::replace(value.operands.begin(), value.operands.end(), v, operand);
    }
    break;
  }
  if (IsRead(recipe, v)) {
    ValueRecipe input{.kind = ValueRecipe::Kind::kInput, .spec = op.spec};
    input.layout = op.layout;
    recipe.values[v] = std::move(input);
  } else {
    Erase(recipe, v);
  }
  DropUnread(recipe);
  return recipe;
}

GraphRecipe WithoutAxis(GraphRecipe recipe, size_t axis) {
  recipe.mesh.erase(recipe.mesh.begin() + static_cast<int64_t>(axis));
  for (ValueRecipe& value : recipe.values) {
    if (!value.layout.empty())
      value.layout.erase(value.layout.begin() + static_cast<int64_t>(axis));
  }
  return recipe;
}

// Everything that is one step smaller, the largest steps first.
std::vector<GraphRecipe> Smaller(const GraphRecipe& recipe) {
  std::vector<GraphRecipe> all;
  for (int v = static_cast<int>(recipe.values.size()) - 1; v >= 0; --v) {
    if (recipe.values[v].kind != ValueRecipe::Kind::kOp) continue;
    all.push_back(WithoutOp(recipe, v, true));
    all.push_back(WithoutOp(recipe, v, false));
  }
  if (recipe.microbatches > 1) {
    all.push_back(recipe);
    all.back().microbatches = 1;
  }
  for (size_t a = 0; a < recipe.mesh.size(); ++a) {
    if (recipe.mesh.size() > 1) all.push_back(WithoutAxis(recipe, a));
    if (recipe.mesh[a] > 2) {
      all.push_back(recipe);
      --all.back().mesh[a];
    }
  }
  for (size_t v = 0; v < recipe.values.size(); ++v) {
    if (recipe.values[v].layout.empty()) continue;
    all.push_back(recipe);
    all.back().values[v].layout.clear();
    for (size_t a = 0; a < recipe.mesh.size(); ++a) {
      if (recipe.values[v].layout[a].is_broadcast()) continue;
      all.push_back(recipe);
      all.back().values[v].layout[a] = Sbp::B();
    }
  }
  if (recipe.optimizer.kind != OptimizerConfig::Kind::kSgd) {
    all.push_back(recipe);
    all.back().optimizer.kind = OptimizerConfig::Kind::kSgd;
  }
  return all;
}

}  // namespace

GraphRecipe Shrink(GraphRecipe recipe, const std::function<bool(const GraphRecipe&)>& fails,
                   int budget) {
  for (bool smaller = true; smaller && budget > 0;) {
    smaller = false;
    for (GraphRecipe& candidate : Smaller(recipe)) {
      if (--budget < 0) break;
      if (!fails(candidate)) continue;
      recipe = std::move(candidate);
      smaller = true;
      break;
    }
  }
  return recipe;
}

}  // namespace weft::testing

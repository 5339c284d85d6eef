// A training graph as data that a test can make at random and make smaller: values in the order of
// their making, each an input, a parameter or the first result of an op. The same recipe is built
// for any mesh.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/graph.h"
#include "graph/optimizer.h"
#include "tests/support/host_tensor.h"

namespace weft::testing {

struct ValueRecipe {
  enum class Kind : uint8_t { kInput, kParameter, kOp };
  Kind kind = Kind::kOp;
  TensorSpec spec;  // of inputs and parameters; of ops as they infer it
  std::string op;   // or "cross_entropy": the head's loss, two ops
  Attrs attrs;
  std::vector<int> operands;  // earlier values
  int64_t below = 0;          // of an i32 input: indices lie in [-1, below)
  std::vector<Sbp> layout;    // the annotation, one per mesh axis; empty: none
};

struct GraphRecipe {
  uint64_t seed = 0;
  std::vector<int> mesh;  // sizes of the axes x, y, z
  int microbatches = 1;
  OptimizerConfig optimizer;
  std::vector<ValueRecipe> values;

  int ranks() const;
  int ops() const;
  // "x:2,y:3".
  std::string MeshText() const;
};

// The training graph: the loss is the sum over all values that no op reads of their mean, weighted
// at random. On one rank if `whole`: without mesh and annotations. Errors: those of the builder.
absl::StatusOr<Graph> BuildRecipe(const GraphRecipe& recipe, const OpRegistry& ops, bool whole);

// What the recipe feeds to an input; the same on every mesh.
HostTensor RecipeInput(const Graph& graph, const GraphRecipe& recipe, std::string_view name,
                       int64_t step, int64_t microbatch);

// Seed, mesh and graph text: all that repeats a failure.
std::string Describe(const GraphRecipe& recipe, const OpRegistry& ops);

}  // namespace weft::testing

// OpDef: all that weft knows of an op, in one plain struct (designated initialisers). Kernels, layout
// signatures, gradients and costs follow from it; no other file names an op.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/factor_map.h"
#include "graph/value.h"
#include "runtime/attrs.h"
#include "runtime/kernel.h"
#include "runtime/tensor_spec.h"

namespace weft {

class GradContext;  // graph/grad_context.h
class RingContext;  // graph/ring_context.h

// Logical operand specs and attributes at graph-building time.
struct InferContext {
  absl::Span<const TensorSpec> inputs;
  const Attrs& attrs;

  int num_inputs() const { return static_cast<int>(inputs.size()); }
  const TensorSpec& in(int i) const { return inputs[i]; }
  // Attribute `name` as a dimension of input 0, negative counting from the end.
  int Axis(std::string_view name, int input = 0) const {
    const int64_t axis = attrs.Int(name);
    return static_cast<int>(axis < 0 ? axis + inputs[input].rank() : axis);
  }
  // One output with the spec of input i.
  std::vector<TensorSpec> Like(int i) const { return {inputs[i]}; }
};

// As InferContext, with the results' logical specs.
struct LayoutContext : InferContext {
  absl::Span<const TensorSpec> outputs;

  // Every dimension its own factor, operands aligned at the right as in broadcasting; a dimension of
  // extent 1 against a larger one is kWhole. No linearity.
  FactorMap Elementwise() const;
  // Elementwise, but dimension `dim` of output 0 (and what aligns with it) must be whole.
  FactorMap ElementwiseExcept(int dim) const;
};

// Specs of one rank's parts (local shapes), for costs and workspace.
struct CostContext {
  absl::Span<const TensorSpec> inputs;
  absl::Span<const TensorSpec> outputs;
  const Attrs& attrs;
  int64_t bytes() const;  // of all operands, once each
};

// Work of one firing on one rank: arithmetic operations and bytes touched in memory.
struct Cost {
  double flops = 0;
  double bytes = 0;
};

// An op and the op of its gradient, by name.
struct ForwardAndGradient {
  std::string forward, gradient;
};

struct OpDef {
  std::string name;
  // Operand names; "x?" may be absent (trailing only; where one behind it is there, it is Value(),
  // and its spec TensorSpec()), "xs*" takes any number >= 1 (last only).
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  // Every attribute with its default; the default also fixes the type.
  std::map<std::string, Attr> attrs;

  // Logical specs in, logical specs out, or InvalidArgument naming shapes and the remedy.
  absl::StatusOr<std::vector<TensorSpec>> (*infer)(const InferContext&) = nullptr;
  FactorMap (*layout)(const LayoutContext&) = nullptr;
  // One gradient per input; Value() where an input has none. nullptr: not differentiable.
  std::vector<Value> (*gradient)(GradContext&) = nullptr;
  Cost (*cost)(const CostContext&) = nullptr;
  // Of an op with a factor that meets another (Factor::meets): emits the ops of a ring in its place,
  // by which each rank's part meets the parts of all others.
  void (*unroll)(RingContext&) = nullptr;
  // Scratch bytes on one rank; nullptr: none.
  int64_t (*workspace)(const CostContext&) = nullptr;
  // The same on a CUDA device; nullptr: as `workspace`. Known without CUDA, as plans for GPUs are made
  // on machines without one. (The kernel itself is in the table of FillCudaKernels.)
  int64_t (*cuda_workspace)(const CostContext&) = nullptr;

  Kernel cpu = nullptr;

  // (input, output) pairs that may share memory; the kernel is correct either way.
  std::vector<std::pair<int, int>> in_place = {};
  // Outputs whose kernel can add to present contents (KernelContext::accumulate).
  std::vector<int> accumulates = {};
  // The optional operand that is added to result 0 as it is, or -1. It has the result's spec,
  // dimensions that carry its factors, and is partial where splitting a factor leaves the result
  // partial. A sum of such a result and something else is made by the op itself
  // (parallel/fuse_sums.h).
  int addend = -1;
  // Result 0 is the sum of all operands.
  bool sums_operands = false;
  // Result 0 is operand 0, converted to the dtype of the result.
  bool converts = false;
  // The attribute that names the dtype of the one result, where the kernel can make it in a wider
  // float dtype than that of the operands (`infer` says in which): never rounded then. A conversion
  // to that dtype is made by the op itself (parallel/fuse_casts.h). Empty: there is none.
  std::string wide_result = {};
  // Operands that `infer` takes in a narrower float dtype too, the results being as if that had been
  // converted first, their dtypes the same. No conversion is needed for them.
  std::vector<int> takes_narrow = {};
  // Two ops, both named, that this one stands for where what the gradient op takes besides does not
  // depend on the forward op (parallel/merge_gradients.h). By name it has the forward op's results,
  // then the gradient op's, and the gradient op's operands but the results of the forward op; the
  // attributes of all three are the same.
  ForwardAndGradient merges = {};
  // Results depend on logical index and a seed operand; equality laws still hold across splits.
  bool stochastic = false;
  // The one rate change of a program: per-microbatch operand, per-step result (the sum over the
  // step's microbatches).
  bool sums_microbatches = false;
};

// Owns the definitions, by name. Filled once at start, then read-only and shared by all threads.
class OpRegistry {
 public:
  // CHECKs that the name is new and the definition complete (infer, layout, cost).
  void Add(OpDef op);
  // nullptr if unknown. Pointers stay valid while the registry lives.
  const OpDef* Find(std::string_view name) const;
  // In name order.
  std::vector<const OpDef*> All() const;

 private:
  std::map<std::string, OpDef, std::less<>> ops_;
};

}  // namespace weft

// einsum: the contraction of two tensors, which is every matrix product of a model, plus a third
// where there is one.
#include <cstring>

#include "graph/grad_context.h"
#include "kernels/device_workspace.h"
#include "kernels/dispatch.h"
#include "kernels/einsum_plan.h"
#include "kernels/gemm.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"
#include "kernels/vector_loops.h"
#include "kernels/wide_row.h"

namespace weft {
namespace {

constexpr int64_t kAlignment = 64;  // bytes, between packed copies

int64_t AlignedBytes(int64_t elements, DType dtype) {
  return (elements * SizeOf(dtype) + kAlignment - 1) / kAlignment * kAlignment;
}

// Calls f(packed offset, operand offset, n, operand stride) for each innermost row.
template <typename F>
void ForEachPackedRow(const EinsumPacking& packing, F f) {
  const int last = static_cast<int>(packing.dims.size()) - 1;
  if (last < 0) {
    f(0, 0, 1, 1);
    return;
  }
  const int64_t n = packing.dims[last].extent;
  absl::InlinedVector<int64_t, 6> index(last, 0);
  int64_t from = 0;
  for (int64_t to = 0; to < packing.elements; to += n) {
    f(to, from, n, packing.dims[last].stride);
    for (int d = last - 1; d >= 0; --d) {
      from += packing.dims[d].stride;
      if (++index[d] < packing.dims[d].extent) break;
      from -= packing.dims[d].stride * packing.dims[d].extent;
      index[d] = 0;
    }
  }
}

// The operand as the products read it: in place, or its copy at `scratch`, which moves on.
template <typename T>
const T* Packed(const EinsumPacking& packing, const Operand& operand, char*& scratch) {
  const T* from = operand.as<T>();
  if (!packing.used) return from;
  T* to = reinterpret_cast<T*>(scratch);
  scratch += AlignedBytes(packing.elements, operand.dtype());
  ForEachPackedRow(packing, [=](int64_t i, int64_t j, int64_t n, int64_t stride) {
    for (int64_t x = 0; x < n; ++x) to[i + x] = from[j + x * stride];
  });
  return to;
}

template <typename T>
void Scatter(const EinsumPacking& packing, const T* from, bool adds, T* to) {
  ForEachPackedRow(packing, [=](int64_t i, int64_t j, int64_t n, int64_t stride) {
    for (int64_t x = 0; x < n; ++x) {
      T& y = to[j + x * stride];
      y = adds ? static_cast<T>(Load(y) + Load(from[i + x])) : from[i + x];
    }
  });
}

template <typename T, typename C>
absl::Status Contract(const EinsumPlan& plan, const T* a, const T* b, bool adds, C* c) {
  const GemmSize size{plan.m.extent, plan.n.extent, plan.k.extent};
  absl::InlinedVector<int64_t, 6> index(plan.batch.size(), 0);
  while (true) {
    WEFT_RETURN_IF_ERROR(Gemm(size, 1, Matrix<const T>{a, plan.m.a, plan.k.a},
                              Matrix<const T>{b, plan.k.b, plan.n.b}, adds,
                              Matrix<C>{c, plan.m.c, plan.n.c}));
    int d = static_cast<int>(plan.batch.size()) - 1;
    for (; d >= 0; --d) {
      const EinsumDim& dim = plan.batch[d];
      a += dim.a;
      b += dim.b;
      c += dim.c;
      if (++index[d] < dim.extent) break;
      a -= dim.a * dim.extent;
      b -= dim.b * dim.extent;
      c -= dim.c * dim.extent;
      index[d] = 0;
    }
    if (d < 0) return absl::OkStatus();
  }
}

// Whether the product is added to contents of the result: present ones, or those of the addend,
// which go there first.
template <typename T>
bool StartsFromContents(const KernelContext& k) {
  const Operand& out = k.out(0);
  const T* addend = k.inputs.size() > 2 ? k.in(2).as<T>() : nullptr;
  if (addend == nullptr) return k.adds(0);
  if (k.adds(0)) {
    AddLoop(out.as<T>(), addend, out.as<T>(), out.elements());
  } else if (addend != out.as<T>()) {
    std::memcpy(out.data, addend, out.elements() * sizeof(T));
  }
  return true;
}

// Operands of type T, a result of type C.
template <typename T, typename C>
absl::Status EinsumOf(const KernelContext& k, const EinsumPlan& plan) {
  const Operand& out = k.out(0);
  const bool adds = StartsFromContents<C>(k);
  if (plan.empty) {  // all bits zero is 0 in every float type
    if (!adds) std::memset(out.data, 0, out.elements() * sizeof(C));
    return absl::OkStatus();
  }
  char* scratch = static_cast<char*>(k.workspace);
  const T* a = Packed<T>(plan.a, k.in(0), scratch);
  const T* b = Packed<T>(plan.b, k.in(1), scratch);
  if (!plan.c.used) return Contract(plan, a, b, adds, out.as<C>());
  C* c = reinterpret_cast<C*>(scratch);
  WEFT_RETURN_IF_ERROR(Contract(plan, a, b, false, c));
  Scatter(plan.c, c, adds, out.as<C>());
  return absl::OkStatus();
}

absl::Status EinsumCpu(const KernelContext& k) {
  WEFT_ASSIGN_OR_RETURN(const EinsumEquation equation, ParseEinsum(k.attrs->String("equation")));
  const Operand& out = k.out(0);
  if (out.data == nullptr) return absl::OkStatus();
  const EinsumPlan plan = PlanEinsum(equation, k.in(0).shape, k.in(1).shape);
  const DType in = k.in(0).dtype();
  const bool wide = out.dtype() == DType::kF32;
  if (wide && in == DType::kBF16) return EinsumOf<BFloat16, float>(k, plan);
  if (wide && in == DType::kF16) return EinsumOf<Float16, float>(k, plan);
  return RunForFloat(in,
                     [&](auto type) { return EinsumOf<decltype(type), decltype(type)>(k, plan); });
}

// Extent of a label, from whichever operand has it; -1 if none.
int64_t Extent(char label, const EinsumEquation& e, const TensorSpec& a, const TensorSpec& b) {
  const size_t in_a = e.a.find(label), in_b = e.b.find(label);
  if (in_a != std::string_view::npos) return a.shape[in_a];
  return in_b != std::string_view::npos ? b.shape[in_b] : -1;
}

// That of the attribute, or of the operands.
absl::StatusOr<DType> ResultDType(DType operands, const Attrs& attrs) {
  const std::string& name = attrs.String("dtype");
  if (name.empty()) return operands;
  WEFT_ASSIGN_OR_RETURN(const DType result, ParseDType(name));
  if (result == operands || (IsHalf(operands) && result == DType::kF32)) return result;
  return absl::InvalidArgumentError(
      absl::StrCat("a product of ", std::string(Name(operands)), " operands cannot be made in ",
                   name, "; its dtype may be theirs, or f32 for bf16 and f16"));
}

InferredSpecs InferEinsum(const InferContext& c) {
  const TensorSpec &a = c.in(0), &b = c.in(1);
  WEFT_ASSIGN_OR_RETURN(const EinsumEquation e, ParseEinsum(c.attrs.String("equation")));
  const auto error = [&](std::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("einsum \"", c.attrs.String("equation"),
                                                   "\" of ", a.ToString(), " and ", b.ToString(),
                                                   ": ", std::string(what)));
  };
  if (a.rank() != static_cast<int>(e.a.size()) || b.rank() != static_cast<int>(e.b.size())) {
    return error("each operand needs one label per dimension");
  }
  WEFT_RETURN_IF_ERROR(RequireFloat(a));
  if (a.dtype != b.dtype) return error("operands must have one dtype; cast one of them");
  for (size_t i = 0; i < e.b.size(); ++i) {
    if (Extent(e.b[i], e, a, b) != b.shape[i]) {
      return error(absl::StrCat("label '", std::string(1, e.b[i]), "' has two extents"));
    }
  }
  const absl::StatusOr<DType> dtype = ResultDType(a.dtype, c.attrs);
  if (!dtype.ok()) return error(std::string(dtype.status().message()));
  TensorSpec out{{}, *dtype};
  for (char label : e.out) out.shape.push_back(Extent(label, e, a, b));
  if (c.num_inputs() > 2 && !(c.in(2) == out)) {
    return error(absl::StrCat("the addend is ", c.in(2).ToString(), "; it must be ", out.ToString(),
                              " as the product is"));
  }
  return std::vector<TensorSpec>{out};
}

FactorMap EinsumLayout(const LayoutContext& c) {
  const std::string& text = c.attrs.String("equation");
  const absl::StatusOr<EinsumEquation> e = ParseEinsum(text);
  FactorMap map;
  std::string names;
  const auto factors_of = [&](std::string_view labels) {
    std::vector<int> ids;
    for (char label : labels) {
      size_t id = names.find(label);
      if (id == std::string::npos) {
        Factor factor;
        factor.name = std::string(1, label);
        if (e->out.find(label) == std::string_view::npos) factor.reduce = {Monoid::kSum};
        id = map.Add(std::move(factor));
        names += label;
      }
      ids.push_back(static_cast<int>(id));
    }
    return ids;
  };
  map.inputs = {factors_of(e->a), factors_of(e->b)};
  map.outputs = {factors_of(e->out)};
  map.linear = {{Monoid::kSum, {0}}, {Monoid::kSum, {1}}};
  if (c.num_inputs() > 2) {
    map.inputs.push_back(map.outputs[0]);
    for (Linearity& linear : map.linear) linear.inputs.push_back(2);
  }
  return map;
}

// Gradient of the operand labelled `self`, given the other: contract dy with it; labels that only
// `self` has were summed, so their gradient is repeated along them.
Value OperandGradient(GradContext& g, const EinsumEquation& e, Value dy, std::string_view self,
                      Value value, std::string_view other, Value other_value) {
  const TensorSpec& spec = g.spec(value);
  std::string known;
  std::vector<int64_t> with_ones;
  for (size_t i = 0; i < self.size(); ++i) {
    const bool found = e.out.find(self[i]) != std::string_view::npos ||
                       other.find(self[i]) != std::string_view::npos;
    if (found) known += self[i];
    with_ones.push_back(found ? spec.shape[i] : 1);
  }
  const std::string equation =
      absl::StrCat(std::string(e.out), ",", std::string(other), "->", known);
  Value grad = g.Emit1("einsum", {dy, other_value}, {{"equation", equation}});
  if (known.size() == self.size()) return grad;
  grad = g.Emit1("reshape", {grad}, {{"shape", with_ones}});
  return g.Emit1("broadcast_to", {grad},
                 {{"shape", std::vector<int64_t>(spec.shape.begin(), spec.shape.end())}});
}

std::vector<Value> EinsumGradient(GradContext& g) {
  const std::string text = g.attrs().String("equation");
  const absl::StatusOr<EinsumEquation> e = ParseEinsum(text);
  const DType operands = g.spec(g.input(0)).dtype;
  Value dy = g.output_grad(0);
  if (g.spec(dy).dtype != operands) {
    dy = g.Emit1("cast", {dy}, {{"dtype", std::string(Name(operands))}});
  }
  std::vector<Value> gradients = {OperandGradient(g, *e, dy, e->a, g.input(0), e->b, g.input(1)),
                                  OperandGradient(g, *e, dy, e->b, g.input(1), e->a, g.input(0))};
  if (g.num_inputs() > 2) gradients.push_back(g.output_grad(0));
  return gradients;
}

Cost EinsumCost(const CostContext& c) {
  const absl::StatusOr<EinsumEquation> e = ParseEinsum(c.attrs.String("equation"));
  double flops = 2;
  for (int64_t extent : c.inputs[0].shape) flops *= static_cast<double>(extent);
  for (size_t i = 0; i < e->b.size(); ++i) {
    if (e->a.find(e->b[i]) == std::string_view::npos) {
      flops *= static_cast<double>(c.inputs[1].shape[i]);
    }
  }
  if (c.inputs.size() > 2) flops += static_cast<double>(c.inputs[2].elements());
  return {.flops = flops, .bytes = static_cast<double>(c.bytes())};
}

int64_t EinsumWorkspace(const CostContext& c) {
  const absl::StatusOr<EinsumEquation> e = ParseEinsum(c.attrs.String("equation"));
  const EinsumPlan plan = PlanEinsum(*e, c.inputs[0].shape, c.inputs[1].shape);
  const DType dtype = c.inputs[0].dtype;
  return AlignedBytes(plan.a.elements, dtype) + AlignedBytes(plan.b.elements, dtype) +
         AlignedBytes(plan.c.elements, c.outputs[0].dtype);
}

}  // namespace

void DefineEinsum(OpRegistry& ops) {
  ops.Add({
      .name = "einsum",
      .inputs = {"a", "b", "addend?"},
      .outputs = {"c"},
      // "dtype" is that of the result where it is not the operands': f32 for bf16 and f16, whose
      // sums are formed in f32 and then never rounded.
      .attrs = {{"equation", std::string()}, {"dtype", std::string()}},
      .infer = InferEinsum,
      .layout = EinsumLayout,
      .gradient = EinsumGradient,
      .cost = EinsumCost,
      .workspace = EinsumWorkspace,
      .cuda_workspace = EinsumCudaWorkspace,
      .cpu = EinsumCpu,
      .in_place = {{2, 0}},
      .accumulates = {0},
      .addend = 2,
      .wide_result = "dtype",
  });
}

}  // namespace weft

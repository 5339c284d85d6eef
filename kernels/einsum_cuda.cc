// einsum on CUDA: the CPU's plan, whose products cuBLASLt reads and writes in place through
// strides.
#include "kernels/cuda_copy.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_matmul.h"
#include "kernels/einsum_plan.h"
#include "kernels/scratch.h"
#include "kernels/strided.h"
#include "runtime/status.h"

namespace weft {
namespace {

struct PackedShape {
  explicit PackedShape(const EinsumPacking& packing) {
    for (const EinsumPacking::Dim& dim : packing.dims) {
      extents.push_back(dim.extent);
      strides.push_back(dim.stride);
    }
  }
  Shape extents, strides;  // strides of the operand
};

// Where the products find the operand: in place, or in its copy.
absl::StatusOr<const char*> Packed(const KernelContext& k, const EinsumPacking& packing,
                                   const Operand& operand, Scratch& scratch) {
  if (!packing.used) return operand.as<char>();
  const int64_t bytes = SizeOf(operand.dtype());
  char* to = scratch.Take<char>(packing.elements * bytes);
  const PackedShape shape(packing);
  WEFT_RETURN_IF_ERROR(CopyStridedCuda(k, bytes, operand.data, shape.strides, to,
                                       DenseStrides(shape.extents), shape.extents));
  return to;
}

// All batches: those of the longest dimension in one call, the others one after the other.
absl::Status Contract(const KernelContext& k, const EinsumPlan& plan, const char* a, const char* b,
                      const char* addend, char* c, void* workspace, int64_t workspace_bytes) {
  const DType in = k.in(0).dtype(), out = k.out(0).dtype();
  EinsumDims loops = plan.batch;
  EinsumDim inner{1, 0, 0, 0};
  const auto longest =
      std::max_element(loops.begin(), loops.end(),
                       [](const EinsumDim& x, const EinsumDim& y) { return x.extent < y.extent; });
  if (longest != loops.end()) {
    inner = *longest;
    loops.erase(longest);
  }
  const MatmulSize size{plan.m.extent, plan.n.extent, plan.k.extent, inner.extent};
  int64_t count = 1;
  for (const EinsumDim& dim : loops) count *= dim.extent;
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, at_a = 0, at_b = 0, at_c = 0;
    for (const EinsumDim& dim : loops) {
      const int64_t index = rest % dim.extent;
      rest /= dim.extent;
      at_a += index * dim.a;
      at_b += index * dim.b;
      at_c += index * dim.c;
    }
    WEFT_RETURN_IF_ERROR(MatmulCuda(
        k, size, {a + at_a * SizeOf(in), in, plan.m.a, plan.k.a, inner.a},
        {b + at_b * SizeOf(in), in, plan.k.b, plan.n.b, inner.b},
        addend == nullptr ? nullptr : addend + at_c * SizeOf(out),
        {c + at_c * SizeOf(out), out, plan.m.c, plan.n.c, inner.c}, workspace, workspace_bytes));
  }
  return absl::OkStatus();
}

absl::Status CopyAddend(const KernelContext& k, const void* addend) {
  const Operand& out = k.out(0);
  const int64_t bytes = out.elements() * SizeOf(out.dtype());
  if (addend == out.data || bytes == 0 || OnlyLists(k)) return absl::OkStatus();
  return CudaStatus(cudaMemcpyAsync(out.data, addend, bytes, cudaMemcpyDeviceToDevice, StreamOf(k)),
                    "addend");
}

// What the product is added to: the addend, or present contents of the result with the addend added
// to them; nullptr: nothing.
absl::StatusOr<const char*> AddendOf(const KernelContext& k) {
  const Operand& out = k.out(0);
  const char* addend = k.inputs.size() > 2 ? k.in(2).as<char>() : nullptr;
  if (!k.adds(0)) return addend;
  if (addend != nullptr) {
    const Shape dense = DenseStrides(out.shape);
    WEFT_RETURN_IF_ERROR(AddStridedCuda(k, out.dtype(), addend, dense, out.data, dense, out.shape));
  }
  return out.as<char>();
}

absl::Status EinsumCuda(const KernelContext& k) {
  WEFT_ASSIGN_OR_RETURN(const EinsumEquation equation, ParseEinsum(k.attrs->String("equation")));
  const Operand& out = k.out(0);
  if (out.data == nullptr || out.elements() == 0) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(const char* addend, AddendOf(k));
  const EinsumPlan plan = PlanEinsum(equation, k.in(0).shape, k.in(1).shape);
  const int64_t bytes = SizeOf(out.dtype());
  if (plan.empty) {  // all bits zero is 0 in every float type
    if (addend != nullptr) return CopyAddend(k, addend);
    if (OnlyLists(k)) return absl::OkStatus();
    return CudaStatus(cudaMemsetAsync(out.data, 0, out.elements() * bytes, StreamOf(k)),
                      "einsum of nothing");
  }
  Scratch scratch(k.workspace);
  WEFT_ASSIGN_OR_RETURN(const char* a, Packed(k, plan.a, k.in(0), scratch));
  WEFT_ASSIGN_OR_RETURN(const char* b, Packed(k, plan.b, k.in(1), scratch));
  char* c = plan.c.used ? scratch.Take<char>(plan.c.elements * bytes) : out.as<char>();
  const int64_t left = k.workspace_bytes - scratch.used();
  void* workspace = left > 0 ? static_cast<char*>(k.workspace) + scratch.used() : nullptr;
  WEFT_RETURN_IF_ERROR(Contract(k, plan, a, b, plan.c.used ? nullptr : addend, c, workspace, left));
  if (!plan.c.used) return absl::OkStatus();
  const PackedShape shape(plan.c);
  const Shape dense = DenseStrides(shape.extents);
  if (addend != nullptr) {
    WEFT_RETURN_IF_ERROR(CopyAddend(k, addend));
    return AddStridedCuda(k, out.dtype(), c, dense, out.data, shape.strides, shape.extents);
  }
  return CopyStridedCuda(k, bytes, c, dense, out.data, shape.strides, shape.extents);
}

}  // namespace

void AddEinsumCuda(KernelTable& kernels) { kernels.Add("einsum", EinsumCuda); }

}  // namespace weft

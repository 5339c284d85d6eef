// reshape, transpose, slice, pad, concat and broadcast_to on CUDA: each is one strided copy, or one
// an operand.
#include "kernels/cuda_copy.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/strided.h"
#include "runtime/status.h"

namespace weft {
namespace {

absl::Status ReshapeCuda(const KernelContext& c) {
  const Operand &x = c.in(0), &y = c.out(0);
  if (x.elements() != y.elements()) {
    return absl::InternalError(absl::StrCat("boxes ", x.box->ToString(), " and ", y.box->ToString(),
                                            " hold different counts"));
  }
  const Shape strides(1, 1), shape(1, y.elements());
  return CopyStridedCuda(c, SizeOf(y.dtype()), x.data, strides, y.data, strides, shape);
}

absl::Status TransposeCuda(const KernelContext& c) {
  const Operand &x = c.in(0), &y = c.out(0);
  const Shape dense = DenseStrides(x.shape);
  Shape from;
  for (int64_t d : c.attrs->Ints("perm")) from.push_back(dense[d < 0 ? d + dense.size() : d]);
  return CopyStridedCuda(c, SizeOf(y.dtype()), x.data, from, y.data, DenseStrides(y.shape),
                         y.shape);
}

absl::Status BroadcastToCuda(const KernelContext& c) {
  const Operand &x = c.in(0), &y = c.out(0);
  return CopyStridedCuda(c, SizeOf(y.dtype()), x.data, BroadcastStrides(x, y), y.data,
                         DenseStrides(y.shape), y.shape);
}

// Where the rectangle's corner lies in the larger tensor.
char* Corner(const KernelContext& c, const Operand& larger, const Shape& strides) {
  const std::vector<int64_t>& begins = c.attrs->Ints("begins");
  int64_t offset = 0;
  for (size_t d = 0; d < begins.size(); ++d) offset += begins[d] * strides[d];
  return larger.as<char>() + offset * SizeOf(larger.dtype());
}

absl::Status SliceCuda(const KernelContext& c) {
  const Operand &x = c.in(0), &y = c.out(0);
  if (y.elements() == 0) return absl::OkStatus();
  const Shape strides = DenseStrides(x.shape);
  return CopyStridedCuda(c, SizeOf(y.dtype()), Corner(c, x, strides), strides, y.data,
                         DenseStrides(y.shape), y.shape);
}

absl::Status PadCuda(const KernelContext& c) {
  const Operand &x = c.in(0), &y = c.out(0);
  if (y.elements() == 0) return absl::OkStatus();
  WEFT_RETURN_IF_ERROR(CudaStatus(
      cudaMemsetAsync(y.data, 0, y.elements() * SizeOf(y.dtype()), StreamOf(c)), "pad with zeros"));
  if (x.elements() == 0) return absl::OkStatus();
  const Shape strides = DenseStrides(y.shape);
  return CopyStridedCuda(c, SizeOf(y.dtype()), x.data, DenseStrides(x.shape), Corner(c, y, strides),
                         strides, x.shape);
}

absl::Status ConcatCuda(const KernelContext& c) {
  const Operand& y = c.out(0);
  if (y.elements() == 0) return absl::OkStatus();
  const int64_t attr = c.attrs->Int("axis");
  const size_t axis = attr < 0 ? attr + y.shape.size() : attr;
  const Shape strides = DenseStrides(y.shape);
  int64_t begin = 0;
  for (const Operand& x : c.inputs) {
    char* to = y.as<char>() + begin * strides[axis] * SizeOf(y.dtype());
    WEFT_RETURN_IF_ERROR(
        CopyStridedCuda(c, SizeOf(y.dtype()), x.data, DenseStrides(x.shape), to, strides, x.shape));
    begin += x.shape[axis];
  }
  return absl::OkStatus();
}

}  // namespace

void AddMovementCuda(KernelTable& kernels) {
  kernels.Add("reshape", ReshapeCuda);
  kernels.Add("transpose", TransposeCuda);
  kernels.Add("broadcast_to", BroadcastToCuda);
  kernels.Add("slice", SliceCuda);
  kernels.Add("pad", PadCuda);
  kernels.Add("concat", ConcatCuda);
  kernels.Add("token", [](const KernelContext&) { return absl::OkStatus(); });
}

}  // namespace weft

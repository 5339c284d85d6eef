// attention_block and attention_block_grad on CUDA. Where cuDNN has the mask of all pairs that see
// each other, it makes them into scratch, and one kernel adds that to what came before; else the
// own kernels, which need no scratch.
#include <cmath>
#include <limits>

#include "kernels/attention_block_scratch.h"
#include "kernels/attention_choice_cuda.h"
#include "kernels/attention_specs.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_handles.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr int kRows = kBlockThreads / kWarp;
constexpr int kPack = 4;  // elements that a lane merges at once; cuDNN's widths are multiples of 8

// What of the rows `part` made, and where all rows go. dv is a multiple of kPack.
template <typename T, typename O>
struct MergeOperands {
  int64_t batch, s, heads, dv;
  int64_t first, rows;                 // of the part
  const T* o_part;                     // [batch,rows,heads,dv]
  const float* lse_part;               // [batch,heads,rows]
  const float *o_before, *lse_before;  // [batch,s,heads,dv], [batch,s,heads]; nullptr: nothing
  O* o;
  float* lse;
};

// A warp has a row of one head. o may be the memory of o_before, and lse that of lse_before.
template <typename T, typename O>
__global__ void __launch_bounds__(kBlockThreads) MergeKernel(MergeOperands<T, O> p) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const int lane = threadIdx.x % kWarp;
  const int64_t total = p.batch * p.s * p.heads, step = static_cast<int64_t>(gridDim.x) * kRows;
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.x / kWarp; at < total;
       at += step) {
    const int64_t head = at % p.heads, row = at / p.heads % p.s - p.first;
    const int64_t batch = at / p.heads / p.s;
    const bool inside = row >= 0 && row < p.rows;
    float part = inside ? p.lse_part[(batch * p.heads + head) * p.rows + row] : kNone;
    // Rows of which a library says that they saw nothing, whichever way.
    if (part == std::numeric_limits<float>::infinity()) part = kNone;
    const float before = p.lse_before == nullptr ? kNone : p.lse_before[at];
    const float high = fmaxf(part, before), low = fminf(part, before);
    const float ratio = low == kNone ? 0.0f : expf(low - high);
    const float larger = 1 / (1 + ratio), smaller = ratio / (1 + ratio);
    const float of_part = part == kNone ? 0.0f : part == high ? larger : smaller;
    const float of_before = before == kNone ? 0.0f : part == high ? smaller : larger;
    const T* from = p.o_part + ((batch * p.rows + row) * p.heads + head) * p.dv;
    for (int64_t c = lane * kPack; c < p.dv && p.o != nullptr; c += kWarp * kPack) {
      float sum[kPack] = {};
      if (of_before != 0) {
        LoadPack<kPack>(p.o_before + at * p.dv + c, sum);
        for (float& value : sum) value *= of_before;
      }
      if (of_part != 0) {
        float made[kPack];
        LoadPack<kPack>(from + c, made);
        for (int i = 0; i < kPack; ++i) sum[i] += of_part * made[i];
      }
      StorePack<kPack>(sum, p.o + at * p.dv + c);
    }
    __syncwarp();  // every lane has read lse_before
    if (lane == 0 && p.lse != nullptr) p.lse[at] = high == kNone ? kNone : high + log1pf(ratio);
  }
}

// to = before + part for rows [first, first + rows) of each batch entry of `stride` rows, and
// before (0 if nullptr) for the others; `to` may be the memory of `before`. Rows are of `width`
// packs.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    AddPartKernel(const T* part, const float* before, float* to, int64_t batch, int64_t stride,
                  int64_t first, int64_t rows, int64_t width) {
  const int64_t total = batch * stride * width, step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < total;
       i += step) {
    const int64_t row = i / width % stride - first, b = i / width / stride;
    float sum[kPack] = {};
    if (before != nullptr) LoadPack<kPack>(before + i * kPack, sum);
    if (row >= 0 && row < rows) {
      float made[kPack];
      LoadPack<kPack>(part + ((b * rows + row) * width + i % width) * kPack, made);
      for (int c = 0; c < kPack; ++c) sum[c] += made[c];
    }
    StorePack<kPack>(sum, to + i * kPack);
  }
}

template <typename T, typename O>
absl::Status Merge(const KernelContext& c, const AttentionOnCuda& a, const CudnnPart& part,
                   const AttentionTensors& x, const AttentionBlockScratch& scratch) {
  const MergeOperands<T, O> p{a.batch,
                              a.s,
                              a.heads,
                              a.dv,
                              part.row,
                              part.rows,
                              static_cast<const T*>(scratch.o),
                              scratch.lse,
                              DataOf<float>(x.o_before),
                              DataOf<float>(x.lse_before),
                              x.o.as<O>(),
                              x.lse.as<float>()};
  const int64_t rows = a.batch * a.s * a.heads;
  return Launch(c, &MergeKernel<T, O>, {GridFor((rows + kRows - 1) / kRows, 1), kBlockThreads}, p);
}

template <typename T>
absl::Status AddPart(const KernelContext& c, const void* part, const Operand* before,
                     const Operand& to, int64_t first, int64_t rows) {
  if (to.data == nullptr) return absl::OkStatus();
  const int64_t width = to.shape[2] * to.shape[3] / kPack;
  return Launch(c, &AddPartKernel<T>, {GridFor(to.shape[0] * to.shape[1] * width), kBlockThreads},
                static_cast<const T*>(part), DataOf<float>(before), to.as<float>(), to.shape[0],
                to.shape[1], first, rows, width);
}

const void* From(const Operand& x, int64_t row) {
  return x.as<char>() + row * x.shape[2] * x.shape[3] * SizeOf(x.dtype());
}

// f(T()) for the operand types that cuDNN takes.
template <typename F>
absl::Status DispatchNarrow(DType dtype, F&& f) {
  return DispatchCudaFloat(dtype, [&](auto t) -> absl::Status {
    if constexpr (sizeof(t) == 2) {
      return f(t);
    } else {
      return absl::InternalError("cuDNN's attention takes no such dtype");
    }
  });
}

bool TakesWidths(const AttentionOnCuda& a) { return a.d % 8 == 0 && a.dv % 8 == 0; }

// False if cuDNN has no plan.
absl::StatusOr<bool> BlockByCudnn(const KernelContext& c, CudaHandles& handles,
                                  const AttentionOnCuda& a, const AttentionTensors& x) {
  const std::optional<CudnnPart> part = CudnnPartOf(a, x.q);
  if (handles.attention() == nullptr || !part || !TakesWidths(a)) return false;
  Scratch memory(c.workspace);
  const AttentionSize size(x.q.shape, x.k.shape, x.v.shape);
  const AttentionBlockScratch scratch(memory, size, x.q.dtype());
  if (part->rows > 0) {
    WEFT_ASSIGN_OR_RETURN(
        const bool ran,
        handles.attention()->Run(handles, ShapeOfPart(a, *part, x.q.dtype()),
                                 {From(x.q, part->row), x.k.data, x.v.data, scratch.o, scratch.lse},
                                 StreamOf(c)));
    if (!ran) return false;
  }
  WEFT_RETURN_IF_ERROR(DispatchNarrow(x.q.dtype(), [&](auto t) {
    using T = decltype(t);
    return x.wide ? Merge<T, float>(c, a, *part, x, scratch) : Merge<T, T>(c, a, *part, x, scratch);
  }));
  return true;
}

absl::Status AttentionBlockCuda(const KernelContext& c) {
  WEFT_ASSIGN_OR_RETURN(const AttentionOnCuda a, AttentionOnCuda::Of(c, 0, 5));
  WEFT_ASSIGN_OR_RETURN(CudaHandles * handles, HandlesOf(c));
  const DType dtype = c.in(0).dtype();
  const AttentionTensors x{
      c.in(0),          c.in(1),  c.in(2),  GivenInput(c, 3),
      GivenInput(c, 4), c.out(0), c.out(1), BlockResultDType(*c.attrs, dtype) == WideDType(dtype)};
  WEFT_ASSIGN_OR_RETURN(const bool ran, BlockByCudnn(c, *handles, a, x));
  return ran ? absl::OkStatus() : AttentionByBlocks(c, a, x);
}

// cuDNN makes delta of do and `o`. False if it has no plan, or was not given o.
absl::StatusOr<bool> BlockGradByCudnn(const KernelContext& c, CudaHandles& handles,
                                      const AttentionOnCuda& a, const AttentionGradTensors& x,
                                      const Operand* o) {
  const std::optional<CudnnPart> part = CudnnPartOf(a, x.q);
  if (handles.attention() == nullptr || !part || !TakesWidths(a) || o == nullptr) return false;
  Scratch memory(c.workspace);
  const AttentionSize size(x.q.shape, x.k.shape, x.v.shape);
  const AttentionBlockGradScratch scratch(memory, size, x.q.dtype());
  if (part->rows > 0) {
    AttentionShape shape = ShapeOfPart(a, *part, x.q.dtype());
    shape.backward = true;
    shape.deterministic = handles.deterministic();
    WEFT_RETURN_IF_ERROR(LseToCudnn(c, a, *part, x.lse.as<float>(), scratch.lse));
    WEFT_ASSIGN_OR_RETURN(
        const bool ran,
        handles.attention()->Run(
            handles, shape,
            {From(x.q, part->row), x.k.data, x.v.data, const_cast<void*>(From(*o, part->row)),
             scratch.lse, From(x.doo, part->row), scratch.dq, scratch.dk, scratch.dv},
            StreamOf(c)));
    if (!ran) return false;
  }
  WEFT_RETURN_IF_ERROR(DispatchNarrow(x.q.dtype(), [&](auto t) -> absl::Status {
    using T = decltype(t);
    WEFT_RETURN_IF_ERROR(AddPart<T>(c, scratch.dq, x.dq_before, x.dq, part->row, part->rows));
    WEFT_RETURN_IF_ERROR(AddPart<T>(c, scratch.dk, x.dk_before, x.dk, 0, part->keys));
    return AddPart<T>(c, scratch.dv, x.dv_before, x.dv, 0, part->keys);
  }));
  return true;
}

absl::Status AttentionBlockGradCuda(const KernelContext& c) {
  WEFT_ASSIGN_OR_RETURN(const AttentionOnCuda a, AttentionOnCuda::Of(c, 1, 6));
  WEFT_ASSIGN_OR_RETURN(CudaHandles * handles, HandlesOf(c));
  const AttentionGradTensors x{c.in(0),
                               c.in(1),
                               c.in(2),
                               c.in(3),
                               c.in(4),
                               c.in(5).data,
                               GivenInput(c, 7),
                               GivenInput(c, 8),
                               GivenInput(c, 9),
                               c.out(0),
                               c.out(1),
                               c.out(2),
                               true};
  WEFT_ASSIGN_OR_RETURN(const bool ran, BlockGradByCudnn(c, *handles, a, x, GivenInput(c, 10)));
  return ran ? absl::OkStatus() : AttentionGradByBlocks(c, a, x);
}

}  // namespace

void AddAttentionBlockCuda(KernelTable& kernels) {
  kernels.Add("attention_block", AttentionBlockCuda);
  kernels.Add("attention_block_grad", AttentionBlockGradCuda);
}

}  // namespace weft

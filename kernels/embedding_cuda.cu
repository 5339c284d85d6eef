// embedding and its gradient on CUDA. The gradient sorts token positions by table row, so that each
// row is added up by one block in token order: equal inputs give equal bits.
#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_fault.h"
#include "kernels/cuda_handles.h"
#include "kernels/cuda_index_set.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/scratch.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr int kScanThreads = 1024;

// Which table row each token has here.
struct Tokens {
  const int32_t* ids;
  int64_t count;
  CudaIndexSet rows;
  int64_t vocabulary;
  CudaFault* fault;
  CudaFault::Op op;

  // -1: padding, or the row is on another rank.
  __device__ int64_t RowOf(int64_t i) const {
    const int32_t id = ids[i];
    if (id < 0) return -1;
    if (id < vocabulary) return rows.ToLocal(id);
    ReportFault(fault, op, id, vocabulary);
    return -1;
  }
};

// Reads the operands of either op; asks for faults of earlier firings.
absl::StatusOr<Tokens> TokensOf(const KernelContext& c, const Operand& table, CudaFault::Op op) {
  WEFT_ASSIGN_OR_RETURN(CudaHandles * handles, HandlesOf(c));
  WEFT_RETURN_IF_ERROR(handles->TakeFault());
  WEFT_ASSIGN_OR_RETURN(const CudaIndexSet rows, CudaIndexSet::Of(table.box->dims[0]));
  return Tokens{c.in(0).as<int32_t>(),   c.in(0).elements(), rows,
                table.logical->shape[0], handles->fault(),   op};
}

// Unit: what a thread copies at once.
template <typename Unit>
__global__ void __launch_bounds__(kBlockThreads)
    EmbeddingKernel(Tokens tokens, const Unit* table, Unit* y, int64_t row_units) {
  const int64_t total = tokens.count * row_units;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < total;
       i += step) {
    const int64_t row = tokens.RowOf(i / row_units);
    y[i] = row < 0 ? Unit{} : table[row * row_units + i % row_units];
  }
}

absl::Status EmbeddingCuda(const KernelContext& c) {
  const Operand &table = c.in(1), &y = c.out(0);
  WEFT_ASSIGN_OR_RETURN(const Tokens tokens, TokensOf(c, table, CudaFault::kEmbedding));
  const int64_t row_bytes = table.shape[1] * SizeOf(table.dtype());
  const auto run = [&](auto unit) {
    using Unit = decltype(unit);
    const int64_t units = row_bytes / static_cast<int64_t>(sizeof(Unit));
    return Launch(c, &EmbeddingKernel<Unit>, {GridFor(tokens.count * units), kBlockThreads}, tokens,
                  table.as<Unit>(), y.as<Unit>(), units);
  };
  if (row_bytes % 16 == 0 && AlignedToPack(table.data, y.data)) return run(Pack<uint64_t, 2>());
  switch (SizeOf(table.dtype())) {
    case 2: return run(uint16_t());
    case 4: return run(uint32_t());
    default: return run(uint64_t());
  }
}

// Positions of the tokens sorted by row: those of row r are sorted[first[r] .. first[r + 1]).
struct SortedTokens {
  SortedTokens(Scratch& scratch, int64_t rows, int64_t tokens)
      : left(scratch.Take<int>(rows)),
        first(scratch.Take<int>(rows + 1)),
        placed(scratch.Take<int>(tokens)),
        sorted(scratch.Take<int>(tokens)) {}
  int* left;  // how many positions of a row are yet to be placed
  int* first;
  int* placed;  // by row, in any order
  int* sorted;
};

__global__ void __launch_bounds__(kBlockThreads) CountKernel(Tokens tokens, int* counts) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < tokens.count;
       i += step) {
    const int64_t row = tokens.RowOf(i);
    if (row >= 0) atomicAdd(&counts[row], 1);
  }
}

// first = sums of the counts before each row, by one block.
__global__ void __launch_bounds__(kScanThreads)
    ScanKernel(const int* counts, int64_t rows, int* first) {
  __shared__ int sums[kScanThreads];
  const int64_t each = (rows + kScanThreads - 1) / kScanThreads;
  const int64_t begin = min(rows, threadIdx.x * each), end = min(rows, begin + each);
  int sum = 0;
  for (int64_t i = begin; i < end; ++i) sum += counts[i];
  sums[threadIdx.x] = sum;
  for (int reach = 1; reach < kScanThreads; reach *= 2) {
    __syncthreads();
    const int before = threadIdx.x >= reach ? sums[threadIdx.x - reach] : 0;
    __syncthreads();
    sums[threadIdx.x] += before;
  }
  int at = sums[threadIdx.x] - sum;
  for (int64_t i = begin; i < end; ++i) {
    first[i] = at;
    at += counts[i];
  }
  if (threadIdx.x == kScanThreads - 1) first[rows] = at;
}

__global__ void __launch_bounds__(kBlockThreads) PlaceKernel(Tokens tokens, SortedTokens s) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < tokens.count;
       i += step) {
    const int64_t row = tokens.RowOf(i);
    if (row >= 0) s.placed[s.first[row] + atomicSub(&s.left[row], 1) - 1] = static_cast<int>(i);
  }
}

// Each position goes to its rank among those of its row.
__global__ void __launch_bounds__(kBlockThreads)
    SortKernel(Tokens tokens, int64_t rows, SortedTokens s) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < s.first[rows];
       i += step) {
    const int position = s.placed[i];
    const int64_t row = tokens.RowOf(position);
    int rank = s.first[row];
    for (int j = s.first[row]; j < s.first[row + 1]; ++j) rank += s.placed[j] < position;
    s.sorted[rank] = position;
  }
}

template <int N, typename T>
__global__ void __launch_bounds__(kBlockThreads)
    AddRowsKernel(SortedTokens s, const T* dy, T* to, int64_t rows, int64_t h, bool adds) {
  const int64_t packs = h / N, total = rows * packs;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < total;
       i += step) {
    const int64_t row = i / packs, column = i % packs * N;
    const int first = s.first[row], end = s.first[row + 1];
    if (adds && first == end) continue;
    WideOf<T> sum[N] = {};
    if (adds) LoadPack<N>(to + row * h + column, sum);
    for (int j = first; j < end; ++j) {
      WideOf<T> v[N];
      LoadPack<N>(dy + static_cast<int64_t>(s.sorted[j]) * h + column, v);
#pragma unroll
      for (int k = 0; k < N; ++k) sum[k] += v[k];
    }
    StorePack<N>(sum, to + row * h + column);
  }
}

absl::Status EmbeddingGradCuda(const KernelContext& c) {
  const Operand &dy = c.in(1), &out = c.out(0);
  if (out.elements() == 0) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(const Tokens tokens, TokensOf(c, out, CudaFault::kEmbeddingGrad));
  const int64_t rows = out.shape[0], h = out.shape[1];
  Scratch scratch(c.workspace);
  const SortedTokens s(scratch, rows, tokens.count);
  const LaunchShape each{GridFor(tokens.count), kBlockThreads};
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaMemsetAsync(s.left, 0, rows * sizeof(int), StreamOf(c)),
                                  "embedding_grad's counts"));
  WEFT_RETURN_IF_ERROR(Launch(c, &CountKernel, each, tokens, s.left));
  WEFT_RETURN_IF_ERROR(Launch(c, &ScanKernel, {1, kScanThreads}, s.left, rows, s.first));
  WEFT_RETURN_IF_ERROR(Launch(c, &PlaceKernel, each, tokens, s));
  WEFT_RETURN_IF_ERROR(Launch(c, &SortKernel, each, tokens, rows, s));
  return DispatchCudaFloat(out.dtype(), [&](auto t) {
    using T = decltype(t);
    constexpr int N = kPackOf<T>;
    const bool packs = h % N == 0 && AlignedToPack(dy.data, out.data);
    const auto kernel = packs ? &AddRowsKernel<N, T> : &AddRowsKernel<1, T>;
    return Launch(c, kernel, {GridFor(rows * (packs ? h / N : h)), kBlockThreads}, s, dy.as<T>(),
                  out.as<T>(), rows, h, c.adds(0));
  });
}

}  // namespace

void AddEmbeddingCuda(KernelTable& kernels) {
  kernels.Add("embedding", EmbeddingCuda);
  kernels.Add("embedding_grad", EmbeddingGradCuda);
}

}  // namespace weft

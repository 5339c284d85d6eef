// embedding and its gradient on CUDA. The gradient sorts token positions by table row, so that each
// row is added up by one block in token order: equal inputs give equal bits.
#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_fault.h"
#include "kernels/cuda_handles.h"
#include "kernels/cuda_index_set.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_team.h"
#include "kernels/scratch.h"
#include "runtime/status.h"

namespace weft {
namespace {

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

// Reads the operands of either op.
absl::StatusOr<Tokens> TokensOf(const KernelContext& c, const Operand& table, CudaFault::Op op) {
  WEFT_ASSIGN_OR_RETURN(CudaHandles * handles, HandlesOf(c));
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

// Positions of the tokens sorted by row: those of row r are the counts[r] ones before ends[r].
struct SortedTokens {
  SortedTokens(Scratch& scratch, int64_t rows, int64_t tokens)
      : counts(scratch.Take<int>(rows + 1)),
        taken(counts + rows),
        ends(scratch.Take<int>(rows)),
        placed(scratch.Take<int>(tokens)),
        sorted(scratch.Take<int>(tokens)) {}
  int* counts;
  int* taken;  // how many positions have been given to rows, at last all of them
  int* ends;
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

// Gives each row as many neighbouring positions as it has tokens. Which ones is of no consequence,
// so that warps take them as they come. ends are the first ones yet.
__global__ void __launch_bounds__(kBlockThreads) TakeKernel(int64_t rows, SortedTokens s) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int lane = threadIdx.x % kWarp;
  for (int64_t base = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x - lane;
       base < rows; base += step) {
    const int64_t row = base + lane;
    const int count = row < rows ? s.counts[row] : 0;
    int sum = count;  // of the lanes up to this one
    for (int reach = 1; reach < kWarp; reach *= 2) {
      const int before = __shfl_up_sync(kAllLanes, sum, reach);
      if (lane >= reach) sum += before;
    }
    int first = 0;
    if (lane == kWarp - 1 && sum > 0) first = atomicAdd(s.taken, sum);
    first = __shfl_sync(kAllLanes, first, kWarp - 1);
    if (row < rows) s.ends[row] = first + sum - count;
  }
}

// Moves each row's end behind its tokens.
__global__ void __launch_bounds__(kBlockThreads) PlaceKernel(Tokens tokens, SortedTokens s) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < tokens.count;
       i += step) {
    const int64_t row = tokens.RowOf(i);
    if (row >= 0) s.placed[atomicAdd(&s.ends[row], 1)] = static_cast<int>(i);
  }
}

// Each position goes to its rank among those of its row.
__global__ void __launch_bounds__(kBlockThreads) SortKernel(Tokens tokens, SortedTokens s) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < *s.taken;
       i += step) {
    const int position = s.placed[i];
    const int64_t row = tokens.RowOf(position);
    const int end = s.ends[row], first = end - s.counts[row];
    int rank = first;
    for (int j = first; j < end; ++j) rank += s.placed[j] < position;
    s.sorted[rank] = position;
  }
}

// A team has a row at a time, each thread kHeldPacks packs of it; sums are in token order.
template <int N, typename T>
__global__ void __launch_bounds__(kBlockThreads)
    AddRowsKernel(SortedTokens s, const T* dy, T* to, int64_t rows, int64_t h, bool adds,
                  int team_size) {
  using W = WideOf<T>;
  const Team team(team_size);
  const int packs = static_cast<int>(h / N);
  const int64_t step = static_cast<int64_t>(gridDim.x) * team.teams();
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * team.teams() + team.index; row < rows;
       row += step) {
    const int end = s.ends[row], count = s.counts[row];
    if (adds && count == 0) continue;
    for (int first = 0; first < packs; first += team.size * kHeldPacks) {
      W sum[kHeldPacks][N] = {};
      const auto for_each = [&](auto&& f) {
        ForEachPack<true>(team, packs - first, [&](int slot, int pack) {
          f(slot, static_cast<int64_t>(first + pack) * N);
        });
      };
      if (adds) for_each([&](int slot, int64_t at) { LoadPack<N>(to + row * h + at, sum[slot]); });
      for (int j = end - count; j < end; ++j) {
        const T* from = dy + static_cast<int64_t>(s.sorted[j]) * h;
        for_each([&](int slot, int64_t at) {
          W v[N];
          LoadPack<N>(from + at, v);
#pragma unroll
          for (int k = 0; k < N; ++k) sum[slot][k] += v[k];
        });
      }
      for_each([&](int slot, int64_t at) { StorePack<N>(sum[slot], to + row * h + at); });
    }
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
  WEFT_RETURN_IF_ERROR(
      CudaStatus(cudaMemsetAsync(s.counts, 0, (rows + 1) * sizeof(int), StreamOf(c)),
                 "embedding_grad's counts"));
  WEFT_RETURN_IF_ERROR(Launch(c, &CountKernel, each, tokens, s.counts));
  WEFT_RETURN_IF_ERROR(Launch(c, &TakeKernel, {GridFor(rows), kBlockThreads}, rows, s));
  WEFT_RETURN_IF_ERROR(Launch(c, &PlaceKernel, each, tokens, s));
  WEFT_RETURN_IF_ERROR(Launch(c, &SortKernel, each, tokens, s));
  return DispatchCudaFloat(out.dtype(), [&](auto t) {
    using T = decltype(t);
    constexpr int N = kPackOf<T>;
    const bool aligned = h % N == 0 && AlignedToPack(dy.data, out.data);
    const int team = TeamSizeFor(aligned ? h / N : h);
    const auto kernel = aligned ? &AddRowsKernel<N, T> : &AddRowsKernel<1, T>;
    return Launch(c, kernel, {TeamGridFor(rows, team), kBlockThreads}, s, dy.as<T>(), out.as<T>(),
                  rows, h, c.adds(0), team);
  });
}

}  // namespace

void AddEmbeddingCuda(KernelTable& kernels) {
  kernels.Add("embedding", EmbeddingCuda);
  kernels.Add("embedding_grad", EmbeddingGradCuda);
}

}  // namespace weft

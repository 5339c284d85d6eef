// adamw on CUDA: one pass over parameter, moments and gradient of all tensors, by tiles, whose
// squares of the gradient are summed on the way if somebody reads the sum. Nothing here is read
// again before the next step, so all of it passes the caches by.
#include <cstring>

#include "kernels/cuda_batch.h"
#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_moments.h"
#include "kernels/cuda_squares.h"
#include "kernels/device_workspace.h"
#include "runtime/status.h"

namespace weft {
namespace {

// One call. Results that nobody reads are nullptr. `sums` has one element per tile; nullptr if
// nobody reads the sum of squares.
template <typename P, typename G>
struct AdamWTensor {
  const P* in[3];  // parameter, m, v
  const G* grad;
  P* out[3];
  double* sums;
  int64_t n;
  Moments rule;
  bool aligned;  // all operands, to packs
};

// N elements, in words of 16 bytes where N > 1; N of them are then a multiple of 16 bytes.
template <int N, typename T>
__device__ inline void LoadOnce(const T* from, T (&to)[N]) {
  if constexpr (N == 1) {
    to[0] = *from;
  } else {
    constexpr int kWords = N * static_cast<int>(sizeof(T)) / 16;
    uint4 words[kWords];
#pragma unroll
    for (int i = 0; i < kWords; ++i) words[i] = __ldcs(reinterpret_cast<const uint4*>(from) + i);
    memcpy(to, words, sizeof(words));
  }
}

template <int N, typename T>
__device__ inline void StoreOnce(const T (&from)[N], T* to) {
  if constexpr (N == 1) {
    *to = from[0];
  } else {
    constexpr int kWords = N * static_cast<int>(sizeof(T)) / 16;
    uint4 words[kWords];
    memcpy(words, from, sizeof(words));
#pragma unroll
    for (int i = 0; i < kWords; ++i) __stcs(reinterpret_cast<uint4*>(to) + i, words[i]);
  }
}

// What a thread has loaded before it writes anything at the same place: results may share memory
// with operands.
template <int N, typename P, typename G>
struct Loaded {
  P in[3][N];
  G grad[N];

  __device__ void Load(const AdamWTensor<P, G>& t, int64_t at) {
#pragma unroll
    for (int k = 0; k < 3; ++k) LoadOnce<N>(t.in[k] + at, in[k]);
    LoadOnce<N>(t.grad + at, grad);
  }

  // Squares of the gradient, summed in Run.
  template <typename Run>
  __device__ double Squares() const {
    WideOf<G> wide[N];
#pragma unroll
    for (int i = 0; i < N; ++i) wide[i] = Widen(grad[i]);
    return SquaresOf<Run>(wide);
  }

  // The new parameter and moments in place of the old.
  __device__ void Step(const Moments::Scalars<P>& s) {
    if (s.skip) return;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const P x[3] = {in[0][i], in[1][i], in[2][i]};
      const P u = Moments::Direction(s, x, static_cast<P>(Widen(grad[i])), in[1][i], in[2][i]);
      in[0][i] = x[0] - s.lr * u;
    }
  }

  __device__ void Store(const AdamWTensor<P, G>& t, int64_t at) const {
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      if (t.out[k] != nullptr) StoreOnce<N>(in[k], t.out[k] + at);
    }
  }
};

// One tile: threads take packs of N in turn, in the order of sum_squares, then single elements. The
// next pack is on its way while a thread works on one, and the first while the block gets its
// scalars. The thread's sum of squares.
template <int N, typename P, typename G>
__device__ inline double UpdateTile(const AdamWTensor<P, G>& t, int64_t begin, int count,
                                    Moments::Scalars<P>& shared) {
  constexpr int kStride = kBlockThreads * N;
  double sum = 0;
  Loaded<N, P, G> x;
  int i = threadIdx.x * N;
  if (i + N <= count) x.Load(t, begin + i);
  if (threadIdx.x == 0) shared = t.rule.template Read<P>();
  __syncthreads();
  const Moments::Scalars<P> s = shared;
#pragma unroll 2
  for (; i + N <= count; i += kStride) {
    Loaded<N, P, G> next;
    if (i + kStride + N <= count) next.Load(t, begin + i + kStride);
    sum += x.template Squares<RunOf<G>>();
    x.Step(s);
    x.Store(t, begin + i);
    x = next;
  }
  for (i = count / N * N + threadIdx.x; i < count; i += kBlockThreads) {
    Loaded<1, P, G> single;
    single.Load(t, begin + i);
    sum += single.template Squares<double>();
    single.Step(s);
    single.Store(t, begin + i);
  }
  return sum;
}

// A block for each tile.
template <typename P, typename G, int kBytes>
__global__ void __launch_bounds__(kBlockThreads, 3)
    AdamWKernel(const __grid_constant__ CudaBatch<AdamWTensor<P, G>, kBytes> batch) {
  __shared__ Moments::Scalars<P> shared;
  const int item = batch.Find(blockIdx.x);
  const AdamWTensor<P, G>& t = batch.items[item];
  const int64_t tile = blockIdx.x - batch.begins[item];
  const int64_t begin = tile * kSumTile;
  const int count = static_cast<int>(min(t.n - begin, kSumTile));
  double sum = t.aligned ? UpdateTile<kPackOf<G>>(t, begin, count, shared)
                         : UpdateTile<1>(t, begin, count, shared);
  if (t.sums == nullptr) return;
  sum = BlockSum(sum);
  if (threadIdx.x == 0) t.sums[tile] = sum;
}

int64_t TilesOf(const KernelContext& c) { return (c.in(0).elements() + kSumTile - 1) / kSumTile; }

template <typename P, typename G>
AdamWTensor<P, G> TensorOf(const KernelContext& c) {
  AdamWTensor<P, G> t;
  t.aligned = AlignedToPack(c.in(3).data);
  for (int k = 0; k < 3; ++k) {
    t.in[k] = c.in(k).as<P>();
    t.out[k] = c.out(k).as<P>();
    t.aligned = t.aligned && AlignedToPack(t.in[k], t.out[k]);
  }
  t.grad = c.in(3).as<G>();
  t.sums = c.out(3).data == nullptr ? nullptr : static_cast<double*>(c.workspace);
  t.n = c.in(0).elements();
  t.rule = {c.in(4).as<float>(),
            c.in(5).as<float>(),
            c.in(6).as<float>(),
            SkipOf(c, 7),
            c.attrs->Float("beta1"),
            c.attrs->Float("beta2"),
            c.attrs->Float("eps"),
            c.attrs->Float("weight_decay"),
            true};
  return t;
}

using Calls = absl::Span<const KernelContext* const>;

template <typename P, typename G, int kBytes>
absl::Status Update(Calls calls) {
  CudaBatches<AdamWTensor<P, G>, kBytes> batches(*calls[0], &AdamWKernel<P, G, kBytes>,
                                                 kBlockThreads);
  for (const KernelContext* c : calls) {
    if (c->in(0).dtype() != kDTypeOf<P> || c->in(3).dtype() != kDTypeOf<G>) continue;
    WEFT_RETURN_IF_ERROR(batches.Add(TensorOf<P, G>(*c), TilesOf(*c)));
  }
  return batches.Finish();
}

// Those of the calls that have these types.
template <typename P, typename G>
absl::Status UpdateTypes(Calls calls) {
  constexpr size_t kFew = CudaBatch<AdamWTensor<P, G>, kParameterBytes>::kMost;
  if (calls.size() <= kFew || !LargeParametersWork()) return Update<P, G, kParameterBytes>(calls);
  return Update<P, G, kLargeParameterBytes>(calls);
}

absl::Status AdamWCuda(Calls calls) {
  WEFT_RETURN_IF_ERROR((UpdateTypes<double, double>(calls)));
  WEFT_RETURN_IF_ERROR((UpdateTypes<float, __nv_bfloat16>(calls)));
  WEFT_RETURN_IF_ERROR((UpdateTypes<float, __half>(calls)));
  WEFT_RETURN_IF_ERROR((UpdateTypes<float, float>(calls)));
  TileSumBatches totals = AddTilesCuda(*calls[0]);
  for (const KernelContext* c : calls) {
    if (c->out(3).data == nullptr) continue;
    const auto* sums = static_cast<const double*>(c->workspace);
    WEFT_RETURN_IF_ERROR(totals.Add({sums, TilesOf(*c), c->out(3).as<double>()}, 1));
  }
  return totals.Finish();
}

}  // namespace

void AddAdamWCuda(KernelTable& kernels) { kernels.Add("adamw", OneOf<AdamWCuda>, AdamWCuda); }

}  // namespace weft

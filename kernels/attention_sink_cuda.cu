// attention_sink and its gradient on CUDA: a warp has a row of one head. dsink is summed over rows
// by one block a head, in a fixed order.
#include <cmath>
#include <limits>

#include "kernels/attention_cuda.h"
#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr int kRows = kBlockThreads / kWarp;

// As on the CPU (attention_sink.cc).
template <typename W>
struct SinkWeights {
  W both, keys, of_sink;
  __device__ SinkWeights(W lse, W sink) {
    const W high = lse > sink ? lse : sink, low = lse > sink ? sink : lse;
    const W ratio = low == -std::numeric_limits<W>::infinity() ? W(0) : std::exp(low - high);
    both = high + std::log1p(ratio);
    keys = (lse > sink ? W(1) : ratio) / (1 + ratio);
    of_sink = (lse > sink ? ratio : W(1)) / (1 + ratio);
  }
};

// o_out may be the memory of o, and lse_out that of lse.
template <typename T, typename S>
__global__ void __launch_bounds__(kBlockThreads)
    SinkKernel(int64_t rows, int64_t heads, int64_t width, const T* o, const WideOf<T>* lse,
               const S* sink, T* o_out, WideOf<T>* lse_out) {
  using W = WideOf<T>;
  const int lane = threadIdx.x % kWarp;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kRows;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.x / kWarp; row < rows;
       row += step) {
    const SinkWeights<W> weights(lse[row], static_cast<W>(Widen(sink[row % heads])));
    for (int64_t c = row * width + lane; o_out != nullptr && c < (row + 1) * width; c += kWarp) {
      o_out[c] = Narrow<T>(weights.keys == 0 ? W(0) : Widen(o[c]) * weights.keys);
    }
    __syncwarp();  // every lane has read lse
    if (lane == 0 && lse_out != nullptr) lse_out[row] = weights.both;
  }
}

template <typename T, typename S>
struct SinkGradOperands {
  int64_t rows, heads, width;
  const T *doo, *o;
  const WideOf<T>*dlse, *lse;  // dlse may be nullptr
  const S* sink;
  T* do_in;            // may be the memory of doo
  WideOf<T>* dlse_in;  // may be that of dlse
  WideOf<T>* of_row;   // what each row adds to dsink
};

template <typename T, typename S>
__global__ void __launch_bounds__(kBlockThreads) SinkGradKernel(SinkGradOperands<T, S> p) {
  using W = WideOf<T>;
  const int lane = threadIdx.x % kWarp;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kRows;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.x / kWarp; row < p.rows;
       row += step) {
    const SinkWeights<W> weights(p.lse[row], static_cast<W>(Widen(p.sink[row % p.heads])));
    const W both = p.dlse == nullptr ? W(0) : p.dlse[row];
    W g = 0;
    for (int64_t c = row * p.width + lane; c < (row + 1) * p.width; c += kWarp) {
      const W d_o = Widen(p.doo[c]);
      if (weights.keys != 0) g += d_o * Widen(p.o[c]);
      if (p.do_in != nullptr) p.do_in[c] = Narrow<T>(d_o * weights.keys);
    }
    g = WarpReduce(g, SumOf()) * weights.keys;
    __syncwarp();  // every lane has read dlse
    if (lane != 0) continue;
    if (p.dlse_in != nullptr) p.dlse_in[row] = g * weights.of_sink + both * weights.keys;
    p.of_row[row] = (both - g) * weights.of_sink;
  }
}

// A block a head.
template <typename W, typename S>
__global__ void __launch_bounds__(kBlockThreads)
    SumRowsKernel(int64_t rows, int64_t heads, const W* of_row, S* dsink) {
  for (int64_t head = blockIdx.x; head < heads; head += gridDim.x) {
    double sum = 0;
    for (int64_t row = head + threadIdx.x * heads; row < rows; row += blockDim.x * heads) {
      sum += static_cast<double>(of_row[row]);
    }
    sum = BlockSum(sum);
    if (threadIdx.x == 0) dsink[head] = Narrow<S>(static_cast<WideOf<S>>(sum));
  }
}

// f(T(), S()) by the dtypes of o and of the sink.
template <typename F>
absl::Status DispatchSink(const Operand& o, const Operand& sink, F&& f) {
  const bool wide = sink.dtype() != o.dtype();
  return DispatchCudaFloat(o.dtype(), [&](auto t) {
    using T = decltype(t);
    return wide ? f(T(), WideOf<T>()) : f(T(), T());
  });
}

absl::Status AttentionSinkCuda(const KernelContext& c) {
  return DispatchSink(c.in(0), c.in(2), [&](auto t, auto s) {
    using T = decltype(t);
    using S = decltype(s);
    const int64_t rows = c.in(1).elements();
    return Launch(c, &SinkKernel<T, S>, {GridFor((rows + kRows - 1) / kRows, 1), kBlockThreads},
                  rows, c.in(0).shape[2], c.in(0).shape[3], c.in(0).as<T>(),
                  c.in(1).as<WideOf<T>>(), c.in(2).as<S>(), c.out(0).as<T>(),
                  c.out(1).as<WideOf<T>>());
  });
}

absl::Status AttentionSinkGradCuda(const KernelContext& c) {
  return DispatchSink(c.in(2), c.in(4), [&](auto t, auto s) -> absl::Status {
    using T = decltype(t);
    using S = decltype(s);
    using W = WideOf<T>;
    const int64_t rows = c.in(3).elements(), heads = c.in(2).shape[2];
    const SinkGradOperands<T, S> p{rows,
                                   heads,
                                   c.in(2).shape[3],
                                   c.in(0).as<T>(),
                                   c.in(2).as<T>(),
                                   DataOf<W>(GivenInput(c, 1)),
                                   c.in(3).as<W>(),
                                   c.in(4).as<S>(),
                                   c.out(0).as<T>(),
                                   c.out(1).as<W>(),
                                   static_cast<W*>(c.workspace)};
    WEFT_RETURN_IF_ERROR(Launch(c, &SinkGradKernel<T, S>,
                                {GridFor((rows + kRows - 1) / kRows, 1), kBlockThreads}, p));
    if (c.out(2).data == nullptr) return absl::OkStatus();
    return Launch(c, &SumRowsKernel<W, S>, {GridFor(heads, 1), kBlockThreads}, rows, heads,
                  static_cast<const W*>(c.workspace), c.out(2).as<S>());
  });
}

}  // namespace

void AddAttentionSinkCuda(KernelTable& kernels) {
  kernels.Add("attention_sink", AttentionSinkCuda);
  kernels.Add("attention_sink_grad", AttentionSinkGradCuda);
}

}  // namespace weft

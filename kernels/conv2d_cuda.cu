// conv2d and its two gradients on CUDA, each result element a sum by one thread or, for weights,
// one block: any stride, padding, dilation and groups. Sums are in f32 for 16-bit operands.
#include "kernels/conv2d_geometry.h"
#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"

namespace weft {
namespace {

// ConvGeometry as kernels read it, with element strides of images in the order (n, channel, y, x).
struct ConvSize {
  struct Strides {
    int64_t n, c, y, x;
  };
  explicit ConvSize(const ConvGeometry& g)
      : batch(g.batch),
        channels(g.channels),
        filters(g.filters),
        group_channels(g.group_channels),
        group_filters(g.empty() ? 1 : g.group_filters()),
        in(StridesOf(g.channels_last, g.channels, g.size)),
        to(StridesOf(g.channels_last, g.filters, g.out)) {
    for (int d = 0; d < 2; ++d) {
      size[d] = g.size[d];
      out[d] = g.out[d];
      kernel[d] = g.kernel[d];
      stride[d] = g.stride[d];
      padding[d] = g.padding[d];
      dilation[d] = g.dilation[d];
    }
  }
  static Strides StridesOf(bool last, int64_t channels, const int64_t* size) {
    return {channels * size[0] * size[1], last ? 1 : size[0] * size[1],
            last ? size[1] * channels : size[1], last ? channels : 1};
  }
  __device__ int64_t Filter(int64_t o, int64_t c, int64_t ky, int64_t kx) const {
    return ((o * group_channels + c) * kernel[0] + ky) * kernel[1] + kx;
  }

  int64_t batch, channels, filters, group_channels, group_filters;
  Strides in, to;
  int64_t size[2], out[2], kernel[2], stride[2], padding[2], dilation[2];
};

// Splits the linear index of an image tensor's element by the order of its strides.
struct Place {
  int64_t n, c, y, x;
  __device__ Place(int64_t i, int64_t channels, const int64_t (&size)[2],
                   const ConvSize::Strides& strides) {
    n = i / strides.n;
    i %= strides.n;
    if (strides.c == 1 && strides.x == channels) {  // channels last
      c = i % channels;
      x = i / channels % size[1];
      y = i / channels / size[1];
    } else {
      x = i % size[1];
      y = i / size[1] % size[0];
      c = i / size[1] / size[0];
    }
  }
};

template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    ForwardKernel(ConvSize g, const T* x, const T* w, T* y, int64_t total) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < total;
       i += step) {
    const Place p(i, g.filters, g.out, g.to);
    const int64_t first = p.c / g.group_filters * g.group_channels;
    WideOf<T> sum = 0;
    for (int64_t ky = 0; ky < g.kernel[0]; ++ky) {
      const int64_t iy = p.y * g.stride[0] + ky * g.dilation[0] - g.padding[0];
      if (iy < 0 || iy >= g.size[0]) continue;
      for (int64_t kx = 0; kx < g.kernel[1]; ++kx) {
        const int64_t ix = p.x * g.stride[1] + kx * g.dilation[1] - g.padding[1];
        if (ix < 0 || ix >= g.size[1]) continue;
        for (int64_t c = 0; c < g.group_channels; ++c) {
          sum += Widen(x[p.n * g.in.n + (first + c) * g.in.c + iy * g.in.y + ix * g.in.x]) *
                 Widen(w[g.Filter(p.c, c, ky, kx)]);
        }
      }
    }
    y[i] = Narrow<T>(sum);
  }
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    DataGradKernel(ConvSize g, const T* dy, const T* w, T* dx, int64_t total) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < total;
       i += step) {
    const Place p(i, g.channels, g.size, g.in);
    const int64_t group = p.c / g.group_channels;
    WideOf<T> sum = 0;
    for (int64_t ky = 0; ky < g.kernel[0]; ++ky) {
      const int64_t down = p.y + g.padding[0] - ky * g.dilation[0];
      if (down < 0 || down % g.stride[0] != 0 || down / g.stride[0] >= g.out[0]) continue;
      for (int64_t kx = 0; kx < g.kernel[1]; ++kx) {
        const int64_t right = p.x + g.padding[1] - kx * g.dilation[1];
        if (right < 0 || right % g.stride[1] != 0 || right / g.stride[1] >= g.out[1]) continue;
        for (int64_t o = group * g.group_filters; o < (group + 1) * g.group_filters; ++o) {
          sum += Widen(dy[p.n * g.to.n + o * g.to.c + down / g.stride[0] * g.to.y +
                          right / g.stride[1] * g.to.x]) *
                 Widen(w[g.Filter(o, p.c % g.group_channels, ky, kx)]);
        }
      }
    }
    dx[i] = Narrow<T>(sum);
  }
}

// A block has one weight: its threads deal the places of the result's images.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    WeightGradKernel(ConvSize g, const T* x, const T* dy, T* dw, int64_t total, bool adds) {
  const int64_t area = g.out[0] * g.out[1];
  for (int64_t i = blockIdx.x; i < total; i += gridDim.x) {
    const int64_t kx = i % g.kernel[1], ky = i / g.kernel[1] % g.kernel[0];
    const int64_t c = i / (g.kernel[0] * g.kernel[1]) % g.group_channels;
    const int64_t o = i / (g.kernel[0] * g.kernel[1]) / g.group_channels;
    const int64_t channel = o / g.group_filters * g.group_channels + c;
    WideOf<T> sum = 0;
    for (int64_t place = threadIdx.x; place < g.batch * area; place += blockDim.x) {
      const int64_t n = place / area, oy = place % area / g.out[1], ox = place % g.out[1];
      const int64_t iy = oy * g.stride[0] + ky * g.dilation[0] - g.padding[0];
      const int64_t ix = ox * g.stride[1] + kx * g.dilation[1] - g.padding[1];
      if (iy < 0 || iy >= g.size[0] || ix < 0 || ix >= g.size[1]) continue;
      sum += Widen(x[n * g.in.n + channel * g.in.c + iy * g.in.y + ix * g.in.x]) *
             Widen(dy[n * g.to.n + o * g.to.c + oy * g.to.y + ox * g.to.x]);
    }
    sum = BlockSum(sum);
    if (threadIdx.x == 0) dw[i] = Narrow<T>(adds ? sum + Widen(dw[i]) : sum);
  }
}

template <ConvProduct product>
absl::Status Conv2dCuda(const KernelContext& c) {
  const Operand& out = c.out(0);
  if (out.data == nullptr || out.elements() == 0) return absl::OkStatus();
  const Operand &a = c.in(0), &b = c.in(1);
  const ConvGeometry geometry =
      product == ConvProduct::kForward    ? ConvGeometry(a.shape, b.shape, out.shape, *c.attrs)
      : product == ConvProduct::kDataGrad ? ConvGeometry(out.shape, b.shape, a.shape, *c.attrs)
                                          : ConvGeometry(a.shape, out.shape, b.shape, *c.attrs);
  if (geometry.empty()) {
    if (c.adds(0)) return absl::OkStatus();
    return CudaStatus(
        cudaMemsetAsync(out.data, 0, out.elements() * SizeOf(out.dtype()), StreamOf(c)),
        "convolution of nothing");
  }
  return DispatchCudaFloat(out.dtype(), [&](auto t) {
    using T = decltype(t);
    const ConvSize g(geometry);
    const int64_t n = out.elements();
    if constexpr (product == ConvProduct::kWeightGrad) {
      return Launch(c, &WeightGradKernel<T>, {GridFor(n, 1), kBlockThreads}, g, a.as<T>(),
                    b.as<T>(), out.as<T>(), n, c.adds(0));
    } else {
      const auto kernel = product == ConvProduct::kForward ? &ForwardKernel<T> : &DataGradKernel<T>;
      return Launch(c, kernel, {GridFor(n), kBlockThreads}, g, a.as<T>(), b.as<T>(), out.as<T>(),
                    n);
    }
  });
}

}  // namespace

void AddConv2dCuda(KernelTable& kernels) {
  kernels.Add("conv2d", Conv2dCuda<ConvProduct::kForward>);
  kernels.Add("conv2d_data_grad", Conv2dCuda<ConvProduct::kDataGrad>);
  kernels.Add("conv2d_weight_grad", Conv2dCuda<ConvProduct::kWeightGrad>);
}

}  // namespace weft

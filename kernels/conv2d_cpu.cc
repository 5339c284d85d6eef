#include "kernels/conv2d_cpu.h"

#include <cstring>
#include <utility>

#include "kernels/conv2d_dnnl.h"
#include "kernels/dnnl_handles.h"
#include "kernels/wide_row.h"
#include "runtime/logging.h"

namespace weft {
namespace {

// Element strides of an image tensor in the order (n, channel, y, x).
struct ImageStrides {
  ImageStrides(bool channels_last, int64_t channels, const int64_t* size)
      : n(channels * size[0] * size[1]),
        c(channels_last ? 1 : size[0] * size[1]),
        y(channels_last ? size[1] * channels : size[1]),
        x(channels_last ? channels : 1) {}
  int64_t n, c, y, x;
};

// Calls f(index in x, index in w, index in y) for every product that the convolution sums.
template <typename F>
void ForEachProduct(const ConvGeometry& g, F&& f) {
  const ImageStrides in(g.channels_last, g.channels, g.size);
  const ImageStrides out(g.channels_last, g.filters, g.out);
  const int64_t taps = g.kernel[0] * g.kernel[1];
  for (int64_t n = 0; n < g.batch; ++n) {
    for (int64_t o = 0; o < g.filters; ++o) {
      const int64_t first = o / g.group_filters() * g.group_channels;
      for (int64_t i = 0; i < g.out[0] * g.out[1]; ++i) {
        const int64_t to = n * out.n + o * out.c + i / g.out[1] * out.y + i % g.out[1] * out.x;
        for (int64_t t = 0; t < taps; ++t) {
          const int64_t y =
              i / g.out[1] * g.stride[0] + t / g.kernel[1] * g.dilation[0] - g.padding[0];
          const int64_t x =
              i % g.out[1] * g.stride[1] + t % g.kernel[1] * g.dilation[1] - g.padding[1];
          if (y < 0 || y >= g.size[0] || x < 0 || x >= g.size[1]) continue;
          for (int64_t c = 0; c < g.group_channels; ++c) {
            f(n * in.n + (first + c) * in.c + y * in.y + x * in.x,
              (o * g.group_channels + c) * taps + t, to);
          }
        }
      }
    }
  }
}

void ConvF64(const ConvGeometry& g, ConvProduct product, const double* a, const double* b,
             double* c) {
  ForEachProduct(g, [&](int64_t x, int64_t w, int64_t y) {
    switch (product) {
      case ConvProduct::kForward: c[y] += a[x] * b[w]; break;
      case ConvProduct::kDataGrad: c[x] += a[y] * b[w]; break;
      case ConvProduct::kWeightGrad: c[w] += a[x] * b[y]; break;
    }
  });
}

// The operands of a product, a and b read and c written, in the type that oneDNN computes in.
struct ConvBuffers {
  const void* a;
  const void* b;
  void* c;
};

int64_t Elements(absl::Span<const int64_t> shape) { return NumElements(shape); }

// Whether oneDNN cannot convolve operands of this dtype as they are stored.
bool IsWidened(DType dtype) {
  return dtype == DType::kF16 || (dtype == DType::kBF16 && !DnnlComputesBF16());
}

// Takes what one product of bf16, f16 or f32 operands needs besides oneDNN's own; null: the operand
// itself serves.
struct ConvCopies {
  ConvCopies(Scratch& scratch, bool widened, ConvProduct product, int64_t a_elements,
             int64_t b_elements, int64_t c_elements) {
    if (widened) {
      a = scratch.Take<float>(a_elements);
      b = scratch.Take<float>(b_elements);
    }
    if (widened || product == ConvProduct::kWeightGrad) c = scratch.Take<float>(c_elements);
  }
  float* a = nullptr;
  float* b = nullptr;
  float* c = nullptr;
};

template <typename T>
absl::Status ConvByDnnl(const KernelContext& k, const ConvGeometry& g, ConvProduct product) {
  const Operand &a = k.in(0), &b = k.in(1), &c = k.out(0);
  const bool widened = IsWidened(c.dtype());
  Scratch scratch(k.workspace);
  const ConvCopies copies(scratch, widened, product, a.elements(), b.elements(), c.elements());
  ConvBuffers buffers{a.data, b.data, c.data};
  if (widened) {
    ConvertRow(copies.a, a.as<T>(), a.elements());
    ConvertRow(copies.b, b.as<T>(), b.elements());
    buffers.a = copies.a;
    buffers.b = copies.b;
  }
  if (copies.c != nullptr) buffers.c = copies.c;
  const bool bf16 = c.dtype() == DType::kBF16 && !widened;
  WEFT_RETURN_IF_ERROR(RunConv(g, product, bf16, buffers.a, buffers.b, buffers.c, scratch));
  if (copies.c == nullptr) return absl::OkStatus();
  T* to = c.as<T>();
  if (!k.adds(0)) {
    ConvertRow(to, copies.c, c.elements());
    return absl::OkStatus();
  }
  for (int64_t i = 0; i < c.elements(); ++i) to[i] = static_cast<T>(Load(to[i]) + copies.c[i]);
  return absl::OkStatus();
}

}  // namespace

ConvGeometry ConvGeometryOf(ConvProduct product, absl::Span<const int64_t> a,
                            absl::Span<const int64_t> b, absl::Span<const int64_t> c,
                            const Attrs& attrs) {
  switch (product) {
    case ConvProduct::kForward: return {a, b, c, attrs};
    case ConvProduct::kDataGrad: return {c, b, a, attrs};
    case ConvProduct::kWeightGrad: return {a, c, b, attrs};
  }
  LOG(FATAL) << "no such product";
}

absl::Status Conv2dCpu(const KernelContext& k, ConvProduct product) {
  const Operand& out = k.out(0);
  if (out.data == nullptr) return absl::OkStatus();
  const ConvGeometry g = ConvGeometryOf(product, k.in(0).shape, k.in(1).shape, out.shape, *k.attrs);
  if (g.empty()) {  // all bits zero is 0 in every float type
    if (!k.adds(0)) std::memset(out.data, 0, out.elements() * SizeOf(out.dtype()));
    return absl::OkStatus();
  }
  switch (out.dtype()) {
    case DType::kF64:
      if (!k.adds(0)) std::memset(out.data, 0, out.elements() * sizeof(double));
      ConvF64(g, product, k.in(0).as<double>(), k.in(1).as<double>(), out.as<double>());
      return absl::OkStatus();
    case DType::kF32: return ConvByDnnl<float>(k, g, product);
    case DType::kF16: return ConvByDnnl<Float16>(k, g, product);
    default: return ConvByDnnl<BFloat16>(k, g, product);
  }
}

int64_t Conv2dWorkspace(const CostContext& c, ConvProduct product) {
  const DType dtype = c.outputs[0].dtype;
  const ConvGeometry g =
      ConvGeometryOf(product, c.inputs[0].shape, c.inputs[1].shape, c.outputs[0].shape, c.attrs);
  if (dtype == DType::kF64 || g.empty()) return 0;
  const bool widened = IsWidened(dtype);
  Scratch scratch(nullptr);
  ConvCopies(scratch, widened, product, Elements(c.inputs[0].shape), Elements(c.inputs[1].shape),
             Elements(c.outputs[0].shape));
  const absl::StatusOr<int64_t> own = ConvWorkspace(g, product, dtype == DType::kBF16 && !widened);
  // What oneDNN refuses here it refuses when the kernel runs, which can say so.
  return scratch.used() + (own.ok() ? *own : 0);
}

}  // namespace weft

// The element-wise ops on CUDA: functions of one tensor, their gradients, and functions of two
// tensors that broadcast. One pass over memory each.
#include <cmath>

#include "kernels/cuda_kernels.h"
#include "kernels/cuda_map.h"
#include "kernels/cuda_silu_gate.h"

namespace weft {
namespace {

struct Neg {
  template <class C>
  __device__ C operator()(C x) const {
    return -x;
  }
};
struct Exp {
  template <class C>
  __device__ C operator()(C x) const {
    return std::exp(x);
  }
};
struct Log {
  template <class C>
  __device__ C operator()(C x) const {
    return std::log(x);
  }
};
struct Sqrt {
  template <class C>
  __device__ C operator()(C x) const {
    return std::sqrt(x);
  }
};
struct Rsqrt {
  template <class C>
  __device__ C operator()(C x) const {
    return C(1) / std::sqrt(x);
  }
};
struct Square {
  template <class C>
  __device__ C operator()(C x) const {
    return x * x;
  }
};
struct Sigmoid {
  template <class C>
  __device__ C operator()(C x) const {
    return Logistic<false>(x);
  }
};
struct Tanh {
  template <class C>
  __device__ C operator()(C x) const {
    return std::tanh(x);
  }
};
struct Relu {
  template <class C>
  __device__ C operator()(C x) const {
    return x < C(0) ? C(0) : x;
  }
};
struct Silu {
  template <class C>
  __device__ C operator()(C x) const {
    return x * Logistic<false>(x);
  }
};

// gelu in its tanh form, x sigmoid(2u).
template <class C>
__device__ C GeluSigmoid(C x) {
  return Logistic<false>(C(1.5957691216057308) * x * (C(1) + C(0.044715) * x * x));
}
struct Gelu {
  template <class C>
  __device__ C operator()(C x) const {
    return x * GeluSigmoid(x);
  }
};

struct RsqrtGrad {
  template <class C>
  __device__ C operator()(C y, C dy) const {
    return C(-0.5) * y * y * y * dy;
  }
};
struct SigmoidGrad {
  template <class C>
  __device__ C operator()(C y, C dy) const {
    return y * (C(1) - y) * dy;
  }
};
struct TanhGrad {
  template <class C>
  __device__ C operator()(C y, C dy) const {
    return (C(1) - y * y) * dy;
  }
};
struct ReluGrad {
  template <class C>
  __device__ C operator()(C y, C dy) const {
    return y > C(0) ? dy : C(0);
  }
};
struct SiluGrad {
  template <class C>
  __device__ C operator()(C x, C dy) const {
    const C s = Logistic<false>(x);
    return s * (C(1) + x * (C(1) - s)) * dy;
  }
};
struct GeluGrad {
  template <class C>
  __device__ C operator()(C x, C dy) const {
    const C s = GeluSigmoid(x);
    const C slope = C(1.5957691216057308) * (C(1) + C(0.134145) * x * x);
    return dy * (s + x * s * (C(1) - s) * slope);
  }
};

struct Add {
  template <class C>
  __device__ C operator()(C a, C b) const {
    return a + b;
  }
};
struct Sub {
  template <class C>
  __device__ C operator()(C a, C b) const {
    return a - b;
  }
};
struct Mul {
  template <class C>
  __device__ C operator()(C a, C b) const {
    return a * b;
  }
};
struct Div {
  template <class C>
  __device__ C operator()(C a, C b) const {
    return a / b;
  }
};
struct Maximum {
  template <class C>
  __device__ C operator()(C a, C b) const {
    return a < b ? b : a;
  }
};
struct Equal {
  template <class C>
  __device__ C operator()(C a, C b) const {
    return C(a == b);
  }
};

struct Scale {
  double factor;
  template <class C>
  __device__ C operator()(C x) const {
    return x * static_cast<C>(factor);
  }
};

// Functions of one or two values as MapDense calls them.
template <typename F>
struct OfOne {
  F f;
  template <class C>
  __device__ void operator()(const C (&in)[1], C (&out)[1]) const {
    out[0] = f(in[0]);
  }
};
template <typename F>
struct OfTwo {
  F f;
  template <class C>
  __device__ void operator()(const C (&in)[2], C (&out)[1]) const {
    out[0] = f(in[0], in[1]);
  }
};

template <typename F>
absl::Status Unary(const KernelContext& c, F f = {}) {
  return DispatchCudaFloat(c.out(0).dtype(), [&](auto t) {
    using T = decltype(t);
    return MapDense<T, 1, 1>(c, {{c.in(0).as<T>()}, {c.out(0).as<T>()}}, c.out(0).elements(),
                             OfOne<F>{f});
  });
}
template <typename F>
absl::Status UnaryCuda(const KernelContext& c) {
  return Unary<F>(c);
}

template <typename F>
absl::Status SameShapesCuda(const KernelContext& c) {
  return DispatchCudaFloat(c.out(0).dtype(), [&](auto t) {
    using T = decltype(t);
    return MapDense<T, 2, 1>(c, {{c.in(0).as<T>(), c.in(1).as<T>()}, {c.out(0).as<T>()}},
                             c.out(0).elements(), OfTwo<F>{});
  });
}

template <typename F>
absl::Status BroadcastingCuda(const KernelContext& c) {
  if (c.in(0).shape == c.out(0).shape && c.in(1).shape == c.out(0).shape &&
      c.in(0).logical->shape == c.in(1).logical->shape) {
    return SameShapesCuda<F>(c);
  }
  return DispatchCudaFloat(c.out(0).dtype(),
                           [&](auto t) { return MapBroadcast<decltype(t)>(c, F()); });
}

absl::Status SiluGateCuda(const KernelContext& c) {
  return DispatchCudaFloat(c.out(0).dtype(), [&](auto t) {
    using T = decltype(t);
    return MapDense<T, 2, 1>(c, {{c.in(0).as<T>(), c.in(1).as<T>()}, {c.out(0).as<T>()}},
                             c.out(0).elements(), SiluGate<T>());
  });
}

absl::Status SiluGateGradCuda(const KernelContext& c) {
  return DispatchCudaFloat(c.in(0).dtype(), [&](auto t) {
    using T = decltype(t);
    return MapDense<T, 3, 2>(
        c,
        {{c.in(0).as<T>(), c.in(1).as<T>(), c.in(2).as<T>()}, {c.out(0).as<T>(), c.out(1).as<T>()}},
        c.in(0).elements(), SiluGateGrad<T>());
  });
}

absl::Status ScaleCuda(const KernelContext& c) { return Unary(c, Scale{c.attrs->Float("factor")}); }

}  // namespace

void AddPointwiseCuda(KernelTable& kernels) {
  kernels.Add("neg", UnaryCuda<Neg>);
  kernels.Add("exp", UnaryCuda<Exp>);
  kernels.Add("log", UnaryCuda<Log>);
  kernels.Add("sqrt", UnaryCuda<Sqrt>);
  kernels.Add("rsqrt", UnaryCuda<Rsqrt>);
  kernels.Add("square", UnaryCuda<Square>);
  kernels.Add("sigmoid", UnaryCuda<Sigmoid>);
  kernels.Add("tanh", UnaryCuda<Tanh>);
  kernels.Add("relu", UnaryCuda<Relu>);
  kernels.Add("silu", UnaryCuda<Silu>);
  kernels.Add("gelu", UnaryCuda<Gelu>);
  kernels.Add("scale", ScaleCuda);
  kernels.Add("rsqrt_grad", SameShapesCuda<RsqrtGrad>);
  kernels.Add("sigmoid_grad", SameShapesCuda<SigmoidGrad>);
  kernels.Add("tanh_grad", SameShapesCuda<TanhGrad>);
  kernels.Add("relu_grad", SameShapesCuda<ReluGrad>);
  kernels.Add("silu_grad", SameShapesCuda<SiluGrad>);
  kernels.Add("gelu_grad", SameShapesCuda<GeluGrad>);
  kernels.Add("silu_gate", SiluGateCuda);
  kernels.Add("silu_gate_grad", SiluGateGradCuda);
  kernels.Add("add", BroadcastingCuda<Add>);
  kernels.Add("sub", BroadcastingCuda<Sub>);
  kernels.Add("mul", BroadcastingCuda<Mul>);
  kernels.Add("div", BroadcastingCuda<Div>);
  kernels.Add("maximum", BroadcastingCuda<Maximum>);
  kernels.Add("equal", BroadcastingCuda<Equal>);
}

}  // namespace weft

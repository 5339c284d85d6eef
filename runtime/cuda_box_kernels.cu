#include "runtime/cuda_box_kernels.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace weft {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 132 * 16;

unsigned BlocksFor(int64_t items) {
  return static_cast<unsigned>(std::min((items + kThreads - 1) / kThreads, kMostBlocks));
}

template <typename T>
__device__ auto Wide(T value) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __bfloat162float(value);
  } else if constexpr (std::is_same_v<T, __half>) {
    return __half2float(value);
  } else {
    return value;
  }
}

template <typename T, typename A>
__device__ T Narrowed(A value) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(value);
  } else if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(value);
  } else {
    return value;
  }
}

template <typename A>
__device__ A Larger(A a, A b) {
  const A larger = a > b ? a : b;  // b if either is NaN
  return a == a ? larger : a;
}

template <typename A>
__device__ A CombinePair(Monoid monoid, A a, A b) {
  if (monoid == Monoid::kMax) return Larger(a, b);
  if constexpr (std::is_floating_point_v<A>) {
    if (monoid == Monoid::kSum) return a + b;
    const A larger = Larger(a, b);
    const A distance = abs(a - b);  // NaN where both are the same infinity, or one is NaN
    return distance == distance ? larger + log1p(exp(-distance)) : larger;
  } else {
    using U = std::make_unsigned_t<A>;
    return static_cast<A>(static_cast<U>(static_cast<U>(a) + static_cast<U>(b)));
  }
}

// Where item number `item` lies, in bytes.
__device__ void Locate(const CudaBoxTable& table, int64_t item, int64_t* from, int64_t* to) {
  *from = 0;
  *to = 0;
  for (int l = table.levels - 1; l >= 0; --l) {
    const CudaBoxTable::Level& level = table.level[l];
    int64_t position = item;
    if (l > 0) {
      const int64_t outer = (item >> 31) == 0 && (level.count >> 31) == 0
                                ? static_cast<uint32_t>(item) / static_cast<uint32_t>(level.count)
                                : item / level.count;
      position = item - outer * level.count;
      item = outer;
    }
    int low = level.first_run, high = low + level.runs - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (table.runs[middle].begin <= position) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    const CudaBoxRun& run = table.runs[low];
    *from += (run.from + position - run.begin) * level.from_stride;
    *to += (run.to + position - run.begin) * level.to_stride;
  }
}

template <typename Item>
__global__ void BoxCopyKernel(CudaBoxTable table, const char* from, char* to) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < table.items;
       i += step) {
    int64_t source, target;
    Locate(table, i, &source, &target);
    *reinterpret_cast<Item*>(to + target) = *reinterpret_cast<const Item*>(from + source);
  }
}

template <typename T>
__global__ void BoxCombineKernel(CudaBoxTable table, Monoid monoid, const char* from, char* to) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < table.items;
       i += step) {
    int64_t source, target;
    Locate(table, i, &source, &target);
    T* const there = reinterpret_cast<T*>(to + target);
    const T value = *reinterpret_cast<const T*>(from + source);
    *there = Narrowed<T>(CombinePair(monoid, Wide(*there), Wide(value)));
  }
}

// Elements that a thread takes at once, in words of 16 bytes.
template <typename T>
inline constexpr int kPack = 16 / sizeof(T);

// Packs of N, then what is left one by one. No __restrict__, as below.
template <int N, typename T>
__global__ void CombineKernel(Monoid monoid, const T* a, const T* b, T* to, int64_t count) {
  struct alignas(N * sizeof(T)) Pack {
    T element[N];
  };
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t thread = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  for (int64_t i = thread; i < count / N; i += step) {
    const Pack x = reinterpret_cast<const Pack*>(a)[i], y = reinterpret_cast<const Pack*>(b)[i];
    Pack z;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      z.element[k] = Narrowed<T>(CombinePair(monoid, Wide(x.element[k]), Wide(y.element[k])));
    }
    reinterpret_cast<Pack*>(to)[i] = z;
  }
  for (int64_t i = count / N * N + thread; i < count; i += step) {
    to[i] = Narrowed<T>(CombinePair(monoid, Wide(a[i]), Wide(b[i])));
  }
}

// No __restrict__: out may be one of the parts, of which a thread touches its own elements alone.
template <typename T>
__global__ void ReduceKernel(Monoid monoid, const T* parts, int num_parts, T* out, int64_t count) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < count;
       i += step) {
    auto value = Wide(parts[i]);
    for (int p = 1; p < num_parts; ++p)
      value = CombinePair(monoid, value, Wide(parts[p * count + i]));
    out[i] = Narrowed<T>(value);
  }
}

template <typename T>
__global__ void FillKernel(T value, T* data, int64_t count) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < count;
       i += step) {
    data[i] = value;
  }
}

template <typename T>
T IdentityAs(Monoid monoid) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(static_cast<float>(IdentityOf(monoid)));
  } else if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(static_cast<float>(IdentityOf(monoid)));
  } else if constexpr (std::is_integral_v<T>) {
    return monoid == Monoid::kSum ? T{0} : std::numeric_limits<T>::lowest();
  } else {
    return static_cast<T>(IdentityOf(monoid));
  }
}

// Starts a loop over `items` and answers what CUDA says of this launch: cudaGetLastError would hand
// on what an earlier call has left there as well.
template <typename... Params, typename... Args>
cudaError_t Start(void (*kernel)(Params...), int64_t items, cudaStream_t stream, Args... args) {
  cudaLaunchConfig_t config = {};
  config.gridDim = BlocksFor(items);
  config.blockDim = kThreads;
  config.stream = stream;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, Params(args)...);
  if (error != cudaSuccess) (void)cudaGetLastError();  // it is reported here
  return error;
}

// Answers `f` of a null pointer of the type that holds `dtype` on the device; bool is 0 or 1 in a
// byte, whose "or" is the larger.
template <typename F>
cudaError_t WithDeviceType(DType dtype, F f) {
  switch (dtype) {
    case DType::kF32: return f(static_cast<float*>(nullptr));
    case DType::kF64: return f(static_cast<double*>(nullptr));
    case DType::kBF16: return f(static_cast<__nv_bfloat16*>(nullptr));
    case DType::kF16: return f(static_cast<__half*>(nullptr));
    case DType::kI32: return f(static_cast<int32_t*>(nullptr));
    case DType::kI64: return f(static_cast<int64_t*>(nullptr));
    case DType::kU8:
    case DType::kBool: return f(static_cast<uint8_t*>(nullptr));
  }
  return cudaErrorInvalidValue;
}

}  // namespace

cudaError_t LaunchBoxCopy(const CudaBoxTable& table, int item_bytes, const void* from, void* to,
                          cudaStream_t stream) {
  if (table.items == 0) return cudaSuccess;
  const auto* source = static_cast<const char*>(from);
  auto* target = static_cast<char*>(to);
  const auto start = [&](auto* kernel) {
    return Start(kernel, table.items, stream, table, source, target);
  };
  switch (item_bytes) {
    case 16: return start(&BoxCopyKernel<uint4>);
    case 8: return start(&BoxCopyKernel<uint2>);
    case 4: return start(&BoxCopyKernel<uint32_t>);
    case 2: return start(&BoxCopyKernel<uint16_t>);
    default: return start(&BoxCopyKernel<uint8_t>);
  }
}

cudaError_t LaunchBoxCombine(const CudaBoxTable& table, DType dtype, Monoid monoid,
                             const void* from, void* to, cudaStream_t stream) {
  if (table.items == 0) return cudaSuccess;
  return WithDeviceType(dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    return Start(&BoxCombineKernel<T>, table.items, stream, table, monoid,
                 static_cast<const char*>(from), static_cast<char*>(to));
  });
}

cudaError_t LaunchCombine(DType dtype, Monoid monoid, const void* a, const void* b, void* to,
                          int64_t count, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  const bool aligned = (reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b) |
                        reinterpret_cast<uintptr_t>(to)) %
                           16 ==
                       0;
  return WithDeviceType(dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    constexpr int N = kPack<T>;
    const auto kernel = aligned ? &CombineKernel<N, T> : &CombineKernel<1, T>;
    return Start(kernel, aligned ? (count + N - 1) / N : count, stream, monoid,
                 static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(to), count);
  });
}

cudaError_t LoadBoxKernels(DType dtype) {
  cudaError_t error = cudaSuccess;
  const auto load = [&](auto* kernel) {
    cudaFuncAttributes attributes;
    if (error == cudaSuccess) error = cudaFuncGetAttributes(&attributes, kernel);
  };
  load(&BoxCopyKernel<uint4>);
  load(&BoxCopyKernel<uint2>);
  load(&BoxCopyKernel<uint32_t>);
  load(&BoxCopyKernel<uint16_t>);
  load(&BoxCopyKernel<uint8_t>);
  return WithDeviceType(dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    load(&BoxCombineKernel<T>);
    load(&CombineKernel<kPack<T>, T>);
    load(&CombineKernel<1, T>);
    load(&FillKernel<T>);
    if (error != cudaSuccess) (void)cudaGetLastError();
    return error;
  });
}

cudaError_t LaunchReduceInOrder(DType dtype, Monoid monoid, const void* parts, int num_parts,
                                void* out, int64_t count, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  return WithDeviceType(dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    return Start(&ReduceKernel<T>, count, stream, monoid, static_cast<const T*>(parts), num_parts,
                 static_cast<T*>(out), count);
  });
}

cudaError_t LaunchFillIdentity(DType dtype, Monoid monoid, void* data, int64_t count,
                               cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  return WithDeviceType(dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    return Start(&FillKernel<T>, count, stream, IdentityAs<T>(monoid), static_cast<T*>(data),
                 count);
  });
}

}  // namespace weft

// Element types on the device: storage type, the type that is computed in, and conversion.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/dtype.h"

namespace weft {

// The type in which elements of T are computed: float for the 16-bit floats, else T.
template <typename T>
using WideOf =
    std::conditional_t<std::is_same_v<T, __nv_bfloat16> || std::is_same_v<T, __half>, float, T>;

// What a handful of elements is combined in before f64: their sum is nearly exact in f32 if they
// have 16 bits, and conversions to f64 are slow.
template <typename T>
using RunOf = std::conditional_t<std::is_same_v<T, WideOf<T>>, double, float>;

template <typename T>
__host__ __device__ inline WideOf<T> Widen(T value) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __bfloat162float(value);
  } else if constexpr (std::is_same_v<T, __half>) {
    return __half2float(value);
  } else {
    return value;
  }
}

// Rounds to nearest even.
template <typename T>
__host__ __device__ inline T Narrow(WideOf<T> value) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(value);
  } else if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(value);
  } else {
    return value;
  }
}

// N elements that are loaded and stored at once.
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];
};

// Elements of 16 bytes.
template <typename T>
inline constexpr int kPackOf = 16 / static_cast<int>(sizeof(T));

// A pack as the words that it is loaded in. What is kept for later is kept so: compilers take packs
// that cross a branch apart as soon as they arrive, and wait for them.
template <typename T, int N>
using WordsOf = std::conditional_t<sizeof(Pack<T, N>) == sizeof(uint4), uint4, Pack<T, N>>;

template <int N, typename T>
__device__ inline WordsOf<T, N> ReadWords(const T* from) {
  return *reinterpret_cast<const WordsOf<T, N>*>(from);
}

template <typename T, int N>
__device__ inline Pack<T, N> PackOfWords(const WordsOf<T, N>& words) {
  Pack<T, N> pack;
  memcpy(&pack, &words, sizeof(pack));
  return pack;
}

template <int N, typename T>
__device__ inline Pack<T, N> ReadPack(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}

template <int N, typename T>
__device__ inline void LoadPack(const T* from, WideOf<T> (&to)[N]) {
  const Pack<T, N> pack = ReadPack<N>(from);
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = Widen(pack.at[i]);
}

template <int N, typename T>
__device__ inline void StorePack(const WideOf<T> (&from)[N], T* to) {
  Pack<T, N> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) pack.at[i] = Narrow<T>(from[i]);
  if constexpr (sizeof(pack) == sizeof(uint4)) {  // as one word, or it may be stored in several
    uint4 words;
    memcpy(&words, &pack, sizeof(words));
    *reinterpret_cast<uint4*>(to) = words;
  } else {
    *reinterpret_cast<Pack<T, N>*>(to) = pack;
  }
}

// Whether every one of the pointers (nullptr too) is aligned to 16 bytes.
template <typename... Pointers>
bool AlignedToPack(Pointers... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

// The dtype of float elements.
template <typename T>
inline constexpr DType kDTypeOf = std::is_same_v<T, double>          ? DType::kF64
                                  : std::is_same_v<T, __nv_bfloat16> ? DType::kBF16
                                  : std::is_same_v<T, __half>        ? DType::kF16
                                                                     : DType::kF32;

// f(T()) with the device type of a float dtype.
template <typename F>
absl::Status DispatchCudaFloat(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF32: return f(float());
    case DType::kBF16: return f(__nv_bfloat16());
    case DType::kF16: return f(__half());
    case DType::kF64: return f(double());
    default:
      return absl::UnimplementedError(absl::StrCat("no CUDA kernel for ", std::string(Name(dtype)),
                                                   "; cast to f32, bf16, f16 or f64"));
  }
}

// As DispatchCudaFloat, over every dtype.
template <typename F>
absl::Status DispatchCudaAny(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF32: return f(float());
    case DType::kF64: return f(double());
    case DType::kBF16: return f(__nv_bfloat16());
    case DType::kF16: return f(__half());
    case DType::kI32: return f(int32_t());
    case DType::kI64: return f(int64_t());
    case DType::kU8: return f(uint8_t());
    case DType::kBool: return f(bool());
  }
  return absl::InternalError("unknown dtype");
}

}  // namespace weft

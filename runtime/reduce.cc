#include "runtime/reduce.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "runtime/logging.h"

namespace weft {
namespace {

// Elements accumulated at a time: they stay in L1. The loops below have this constant trip count so
// that compilers vectorise them at -O2 as well.
constexpr int kTile = 256;

// What values of T accumulate in. Integers wrap, hence unsigned sums.
template <typename T>
struct AccumulatorOf {
  using type = T;
};
template <>
struct AccumulatorOf<BFloat16> {
  using type = float;
};
template <>
struct AccumulatorOf<Float16> {
  using type = float;
};
template <typename T>
using Accumulator = typename AccumulatorOf<T>::type;

struct Sum {
  template <typename A>
  static A Combine(A a, A b) {
    if constexpr (std::is_integral_v<A>) {
      using U = std::make_unsigned_t<A>;
      return static_cast<A>(static_cast<U>(static_cast<U>(a) + static_cast<U>(b)));
    } else {
      return a + b;
    }
  }
};

struct Max {
  template <typename A>
  static A Combine(A a, A b) {
    const A larger = a > b ? a : b;  // b if either is NaN
    return a == a ? larger : a;
  }
};

struct LogAddExp {
  template <typename A>
  static A Combine(A a, A b) {
    const A larger = Max::Combine(a, b);
    const A distance = std::abs(a - b);  // NaN where both are the same infinity, or one is NaN
    return distance == distance ? larger + std::log1p(std::exp(-distance)) : larger;
  }
};

// Conversions without branches, so that loops over them vectorise. They give what dtype.h's do.
template <typename A, typename T>
A Widen(T value) {
  return static_cast<A>(value);
}
template <>
float Widen<float, BFloat16>(BFloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}
template <>
float Widen<float, Float16>(Float16 value) {
  const uint32_t magnitude = (value.bits & 0x7fffu) << 13;
  const uint32_t rebiased = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  const uint32_t infinite = magnitude >= 0x0f800000u ? 0x7f800000u : 0u;
  return std::bit_cast<float>(rebiased | infinite | (value.bits & 0x8000u) << 16);
}

template <typename T, typename A>
T Narrow(A value) {
  return T(value);
}
template <>
BFloat16 Narrow<BFloat16, float>(float value) {
  const uint32_t u = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const uint32_t nan = (u >> 16) | 0x40u;
  BFloat16 result;
  result.bits = static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
  return result;
}
template <>
Float16 Narrow<Float16, float>(float value) {
  const uint32_t u = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = u & 0x7fffffffu;
  const uint32_t normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // Adding 0.5 rounds to units of 2^-24, those of subnormals.
  const uint32_t subnormal =
      std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  uint32_t bits = magnitude < 0x38800000u ? subnormal : normal;
  bits = magnitude >= 0x477ff000u ? 0x7c00u : bits;
  bits = magnitude > 0x7f800000u ? 0x7e00u : bits;
  Float16 result;
  result.bits = static_cast<uint16_t>(bits | (u >> 16 & 0x8000u));
  return result;
}

// Copies `count` values at `source` into the first `count` of the tile.
template <typename T, typename A>
void Load(const T* source, int count, A* __restrict tile) {
  if constexpr (std::is_same_v<T, A>) {
    std::memcpy(tile, source, count * sizeof(T));
  } else {
    for (int i = 0; i < count; ++i) tile[i] = Widen<A>(source[i]);
  }
}

template <typename M, typename T, typename A>
void AddTile(const T* __restrict source, A* __restrict tile) {
  for (int i = 0; i < kTile; ++i) tile[i] = M::Combine(tile[i], Widen<A>(source[i]));
}

template <typename T, typename A>
void Store(const A* __restrict tile, int count, T* __restrict out) {
  if constexpr (std::is_same_v<T, A>) {
    std::memcpy(out, tile, count * sizeof(T));
  } else if (count == kTile) {
    for (int i = 0; i < kTile; ++i) out[i] = Narrow<T>(tile[i]);
  } else {
    for (int i = 0; i < count; ++i) out[i] = Narrow<T>(tile[i]);
  }
}

template <typename M, typename T>
void Reduce(absl::Span<const void* const> sources, void* out_data, int64_t count) {
  using A = Accumulator<T>;
  alignas(64) A tile[kTile];
  T* const out = static_cast<T*>(out_data);
  int64_t begin = 0;
  for (; begin + kTile <= count; begin += kTile) {
    Load(static_cast<const T*>(sources[0]) + begin, kTile, tile);
    for (size_t s = 1; s < sources.size(); ++s) {
      AddTile<M>(static_cast<const T*>(sources[s]) + begin, tile);
    }
    Store(tile, kTile, out + begin);
  }
  const int rest = static_cast<int>(count - begin);
  if (rest == 0) return;
  Load(static_cast<const T*>(sources[0]) + begin, rest, tile);
  for (size_t s = 1; s < sources.size(); ++s) {
    const T* const source = static_cast<const T*>(sources[s]) + begin;
    for (int i = 0; i < rest; ++i) tile[i] = M::Combine(tile[i], Widen<A>(source[i]));
  }
  Store(tile, rest, out + begin);
}

template <typename T>
void ReduceAs(Monoid monoid, absl::Span<const void* const> sources, void* out, int64_t count) {
  switch (monoid) {
    case Monoid::kSum: return Reduce<Sum, T>(sources, out, count);
    case Monoid::kMax: return Reduce<Max, T>(sources, out, count);
    case Monoid::kLogAddExp:
      if constexpr (!std::is_integral_v<T>) {
        return Reduce<LogAddExp, T>(sources, out, count);
      }
      break;
  }
  LOG(FATAL) << "reduction was not checked";
}

}  // namespace

absl::Status CheckReducible(DType dtype, Monoid monoid) {
  const bool legal =
      monoid == Monoid::kMax || (monoid == Monoid::kSum ? dtype != DType::kBool : IsFloat(dtype));
  if (legal) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("values of ", std::string(Name(dtype)),
                                                 " do not combine by ", std::string(Name(monoid))));
}

void ReduceInOrder(DType dtype, Monoid monoid, absl::Span<const void* const> sources, void* out,
                   int64_t count) {
  switch (dtype) {
    case DType::kF32: return ReduceAs<float>(monoid, sources, out, count);
    case DType::kF64: return ReduceAs<double>(monoid, sources, out, count);
    case DType::kBF16: return ReduceAs<BFloat16>(monoid, sources, out, count);
    case DType::kF16: return ReduceAs<Float16>(monoid, sources, out, count);
    case DType::kI32: return ReduceAs<int32_t>(monoid, sources, out, count);
    case DType::kI64: return ReduceAs<int64_t>(monoid, sources, out, count);
    case DType::kU8:
    case DType::kBool: return ReduceAs<uint8_t>(monoid, sources, out, count);
  }
}

}  // namespace weft

// Conformance of communicators against a host oracle. Values are small integers, so that every sum
// is exact in every dtype and results are compared bit for bit; only logaddexp has a tolerance.
#pragma once

#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "runtime/communicator.h"
#include "runtime/dtype.h"
#include "runtime/monoid.h"

namespace weft::testing {

inline constexpr DType kAllDTypes[] = {DType::kF32, DType::kF64, DType::kBF16, DType::kF16,
                                       DType::kI32, DType::kI64, DType::kU8,   DType::kBool};

// Calls `f` with a null pointer of the type that holds `dtype`.
template <typename F>
auto WithType(DType dtype, F f) {
  switch (dtype) {
    case DType::kF32: return f(static_cast<float*>(nullptr));
    case DType::kF64: return f(static_cast<double*>(nullptr));
    case DType::kBF16: return f(static_cast<BFloat16*>(nullptr));
    case DType::kF16: return f(static_cast<Float16*>(nullptr));
    case DType::kI32: return f(static_cast<int32_t*>(nullptr));
    case DType::kI64: return f(static_cast<int64_t*>(nullptr));
    case DType::kU8:
    case DType::kBool: break;
  }
  return f(static_cast<uint8_t*>(nullptr));
}

inline void Put(DType dtype, double value, std::byte* at) {
  WithType(dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T typed = T(static_cast<float>(value));
    std::memcpy(at, &typed, sizeof(T));
  });
}

inline double Get(DType dtype, const std::byte* at) {
  return WithType(dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    T typed;
    std::memcpy(&typed, at, sizeof(T));
    if constexpr (std::is_class_v<T>) {
      return static_cast<double>(static_cast<float>(typed));
    } else {
      return static_cast<double>(typed);
    }
  });
}

// Element i of what rank r holds.
inline double ValueOf(DType dtype, int r, int64_t i) {
  const int64_t mixed = (r * 7 + i * 3 + (i >> 5)) % 23;
  if (dtype == DType::kBool) return static_cast<double>(mixed == r + 1);
  return static_cast<double>(dtype == DType::kU8 ? mixed : mixed - 11);
}

inline std::vector<std::byte> ValuesOf(DType dtype, int r, int64_t begin, int64_t count) {
  std::vector<std::byte> values(count * SizeOf(dtype));
  for (int64_t i = 0; i < count; ++i) {
    Put(dtype, ValueOf(dtype, r, begin + i), values.data() + i * SizeOf(dtype));
  }
  return values;
}

inline double Reduced(DType dtype, Monoid monoid, int size, int64_t i) {
  double result = ValueOf(dtype, 0, i);
  double exponentials = std::exp(result);
  for (int r = 1; r < size; ++r) {
    const double value = ValueOf(dtype, r, i);
    exponentials += std::exp(value);
    result = monoid == Monoid::kSum ? result + value : std::max(result, value);
  }
  return monoid == Monoid::kLogAddExp ? std::log(exponentials) : result;
}

inline double ToleranceOf(DType dtype, Monoid monoid) {
  if (monoid != Monoid::kLogAddExp) return 0;
  if (dtype == DType::kF64) return 1e-14;
  return dtype == DType::kF32 ? 1e-6 : dtype == DType::kF16 ? 1e-3 : 1e-2;
}

inline void ExpectReduced(const std::byte* got, DType dtype, Monoid monoid, int size, int64_t begin,
                          int64_t count) {
  const double tolerance = ToleranceOf(dtype, monoid);
  for (int64_t i = 0; i < count; ++i) {
    const double expected = Reduced(dtype, monoid, size, begin + i);
    ASSERT_NEAR(Get(dtype, got + i * SizeOf(dtype)), expected,
                tolerance * std::max(1.0, std::abs(expected)))
        << "element " << begin + i;
  }
}

inline bool Reducible(DType dtype, Monoid monoid) {
  if (monoid == Monoid::kMax) return true;
  return monoid == Monoid::kSum ? dtype != DType::kBool : IsFloat(dtype);
}

inline void CheckAllReduce(Communicator& c, int64_t count, DType dtype, Monoid monoid) {
  SCOPED_TRACE(absl::StrCat("all_reduce ", count, " ", std::string(Name(dtype)), " ",
                            std::string(Name(monoid))));
  const std::vector<std::byte> in = ValuesOf(dtype, c.rank(), 0, count);
  if (!Reducible(dtype, monoid)) {
    std::vector<std::byte> out(in.size());
    EXPECT_EQ(c.AllReduce(in.data(), out.data(), count, dtype, monoid).code(),
              absl::StatusCode::kInvalidArgument);
    return;
  }
  std::vector<std::byte> out(in.size());
  ASSERT_EQ(c.AllReduce(in.data(), out.data(), count, dtype, monoid), absl::OkStatus());
  ExpectReduced(out.data(), dtype, monoid, c.size(), 0, count);
  std::vector<std::byte> in_place = in;
  ASSERT_EQ(c.AllReduce(in_place.data(), in_place.data(), count, dtype, monoid), absl::OkStatus());
  EXPECT_TRUE(in_place == out) << "in place differs";
  std::vector<std::byte> first = out;
  ASSERT_EQ(c.Broadcast(first.data(), count, dtype, 0), absl::OkStatus());
  EXPECT_TRUE(first == out) << "ranks differ";
}

inline void CheckReduceScatter(Communicator& c, const std::vector<int64_t>& counts, DType dtype,
                               Monoid monoid) {
  SCOPED_TRACE(
      absl::StrCat("reduce_scatter ", std::string(Name(dtype)), " ", std::string(Name(monoid))));
  const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  const int64_t begin = std::accumulate(counts.begin(), counts.begin() + c.rank(), int64_t{0});
  const int64_t own = counts[c.rank()];
  std::vector<std::byte> in = ValuesOf(dtype, c.rank(), 0, total);
  std::vector<std::byte> out(own * SizeOf(dtype));
  ASSERT_EQ(c.ReduceScatter(in.data(), out.data(), counts, dtype, monoid), absl::OkStatus());
  ExpectReduced(out.data(), dtype, monoid, c.size(), begin, own);
  std::byte* const block = in.data() + begin * SizeOf(dtype);
  ASSERT_EQ(c.ReduceScatter(in.data(), block, counts, dtype, monoid), absl::OkStatus());
  EXPECT_TRUE(own == 0 || std::memcmp(block, out.data(), out.size()) == 0) << "in place differs";
}

inline void CheckAllGather(Communicator& c, const std::vector<int64_t>& counts, DType dtype) {
  SCOPED_TRACE(absl::StrCat("all_gather ", std::string(Name(dtype))));
  std::vector<std::byte> expected;
  int64_t begin = 0;
  for (int r = 0; r < c.size(); ++r) {
    const std::vector<std::byte> block = ValuesOf(dtype, r, 0, counts[r]);
    expected.insert(expected.end(), block.begin(), block.end());
    if (r < c.rank()) begin += block.size();
  }
  const std::vector<std::byte> own = ValuesOf(dtype, c.rank(), 0, counts[c.rank()]);
  std::vector<std::byte> out(expected.size());
  ASSERT_EQ(c.AllGather(own.data(), out.data(), counts, dtype), absl::OkStatus());
  EXPECT_TRUE(out == expected);
  std::vector<std::byte> in_place(expected.size());
  std::copy(own.begin(), own.end(), in_place.begin() + begin);
  ASSERT_EQ(c.AllGather(in_place.data() + begin, in_place.data(), counts, dtype), absl::OkStatus());
  EXPECT_TRUE(in_place == expected) << "in place differs";
}

// Rank r sends (r + 2 to) % 4 * `scale` elements to rank `to`, with gaps between the parts.
inline void CheckAllToAll(Communicator& c, int64_t scale, DType dtype) {
  SCOPED_TRACE(absl::StrCat("all_to_all ", scale, " ", std::string(Name(dtype))));
  const auto count = [scale](int from, int to) { return (from + 2 * to) % 4 * scale; };
  const int64_t stride = 3 * scale + 1;
  std::vector<int64_t> send_counts, receive_counts, offsets;
  for (int peer = 0; peer < c.size(); ++peer) {
    send_counts.push_back(count(c.rank(), peer));
    receive_counts.push_back(count(peer, c.rank()));
    offsets.push_back(peer * stride);
  }
  const std::vector<std::byte> in = ValuesOf(dtype, c.rank(), 0, c.size() * stride);
  std::vector<std::byte> out(in.size());
  std::vector<std::byte> expected(in.size());
  for (int peer = 0; peer < c.size(); ++peer) {
    const std::vector<std::byte> part =
        ValuesOf(dtype, peer, c.rank() * stride, receive_counts[peer]);
    std::copy(part.begin(), part.end(), expected.begin() + offsets[peer] * SizeOf(dtype));
  }
  ASSERT_EQ(
      c.AllToAll(in.data(), {send_counts, offsets}, out.data(), {receive_counts, offsets}, dtype),
      absl::OkStatus());
  EXPECT_TRUE(out == expected);
}

inline void CheckBroadcast(Communicator& c, int64_t count, DType dtype, int root) {
  SCOPED_TRACE(absl::StrCat("broadcast ", count, " ", std::string(Name(dtype)), " from ", root));
  std::vector<std::byte> data = ValuesOf(dtype, c.rank(), 0, count);
  ASSERT_EQ(c.Broadcast(data.data(), count, dtype, root), absl::OkStatus());
  EXPECT_TRUE(data == ValuesOf(dtype, root, 0, count));
}

// Counts per rank, uneven: some 0, one large.
inline std::vector<int64_t> UnevenCounts(int size, int64_t scale) {
  std::vector<int64_t> counts;
  for (int r = 0; r < size; ++r)
    counts.push_back((r * 5 + 3) % 7 * scale % (3 * scale + 1) + r % 2);
  return counts;
}

// All collectives in one dtype; `large` adds counts that go in many pieces.
inline void CheckCollectives(Communicator& c, DType dtype, bool large) {
  for (const Monoid monoid : {Monoid::kSum, Monoid::kMax, Monoid::kLogAddExp}) {
    for (const int64_t count : {0, 1, 5, 257, 3000}) CheckAllReduce(c, count, dtype, monoid);
    if (!Reducible(dtype, monoid)) continue;
    CheckReduceScatter(c, UnevenCounts(c.size(), 1), dtype, monoid);
    CheckReduceScatter(c, UnevenCounts(c.size(), 300), dtype, monoid);
  }
  for (const int64_t scale : {0, 1, 400}) {
    CheckAllGather(c, UnevenCounts(c.size(), scale), dtype);
    CheckAllToAll(c, scale, dtype);
  }
  for (int root = 0; root < c.size(); ++root) CheckBroadcast(c, 100, dtype, root);
  if (!large) return;
  const Monoid monoid = dtype == DType::kBool ? Monoid::kMax : Monoid::kSum;
  CheckAllReduce(c, 700001, dtype, monoid);
  CheckReduceScatter(c, UnevenCounts(c.size(), 150001), dtype, monoid);
  CheckAllGather(c, UnevenCounts(c.size(), 50001), dtype);
  CheckBroadcast(c, 300007, dtype, c.size() - 1);
}

}  // namespace weft::testing

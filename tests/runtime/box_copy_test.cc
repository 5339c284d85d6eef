#include "runtime/box_copy.h"

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace weft {
namespace {

// A random index set within [0, extent), of up to two intervals.
IndexSet RandomSet(std::mt19937& random, int64_t extent) {
  int64_t cuts[4];
  for (int64_t& cut : cuts) cut = static_cast<int64_t>(random() % (extent + 1));
  std::sort(cuts, cuts + 4);
  IndexSet set;
  if (random() % 4 == 0) {
    set.Append({0, extent});
  } else {
    set.Append({cuts[0], cuts[1]});
    set.Append({cuts[2], cuts[3]});
  }
  return set;
}

Box RandomBox(std::mt19937& random, const Shape& shape) {
  Box box;
  for (int64_t extent : shape) box.dims.push_back(RandomSet(random, extent));
  return box;
}

// Calls visit(logical index as one number, local index) for every element of the box.
template <typename Visit>
void ForEach(const Box& box, const Shape& shape, const Visit& visit) {
  const Shape local = box.shape();
  for (int64_t i = 0; i < box.elements(); ++i) {
    int64_t rest = i, logical = 0, stride = 1;
    for (size_t d = shape.size(); d-- > 0;) {
      logical += box.dims[d].ToLogical(rest % local[d]) * stride;
      rest /= local[d];
      stride *= shape[d];
    }
    visit(logical, i);
  }
}

std::vector<float> Values(const Box& box, const Shape& shape) {
  std::vector<float> values(box.elements());
  ForEach(box, shape, [&](int64_t logical, int64_t i) { values[i] = static_cast<float>(logical); });
  return values;
}

TEST(BoxCopyTest, CopiesAndCombinesRandomBoxes) {
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    Shape shape;
    for (int d = static_cast<int>(random() % 4); d-- > 0;) shape.push_back(1 + random() % 6);
    const Box from = RandomBox(random, shape), to = RandomBox(random, shape);
    const Box region = RandomBox(random, shape);
    const Box shared = from.Intersect(to).Intersect(region);
    const BoxCopy copy(from, to, region, DType::kF32);
    ASSERT_EQ(copy.elements(), shared.elements());
    const std::vector<float> source = Values(from, shape);
    std::vector<float> target(to.elements(), -1), sum(to.elements(), 1000);
    copy.Copy(source.data(), target.data());
    copy.Combine(Monoid::kSum, source.data(), sum.data());
    std::vector<bool> inside(NumElements(shape), false);
    ForEach(shared, shape, [&](int64_t logical, int64_t) { inside[logical] = true; });
    ForEach(to, shape, [&](int64_t logical, int64_t i) {
      ASSERT_EQ(target[i], inside[logical] ? static_cast<float>(logical) : -1);
      ASSERT_EQ(sum[i], inside[logical] ? static_cast<float>(1000 + logical) : 1000);
    });
    if (shared.empty()) continue;
    // What is said to be one run is one.
    std::vector<float> packed(shared.elements());
    BoxCopy(from, shared, shared, DType::kF32).Copy(source.data(), packed.data());
    ASSERT_EQ(packed, Values(shared, shape));
    const int64_t first = copy.from_offset() / 4;
    bool is_run = first + shared.elements() <= static_cast<int64_t>(source.size());
    for (int64_t i = 0; is_run && i < shared.elements(); ++i) {
      is_run = source[first + i] == packed[i];
    }
    ASSERT_EQ(copy.from_contiguous(), is_run) << from.ToString() << " " << shared.ToString();
  }
}

TEST(BoxCopyTest, RowsAreOneRunAndColumnsAreNot) {
  const Box whole = Box::Whole({4, 6});
  Box rows = whole, columns = whole;
  rows.dims[0] = IndexSet({1, 3});
  columns.dims[1] = IndexSet({0, 3});
  EXPECT_TRUE(BoxCopy(whole, rows, rows, DType::kF32).from_contiguous());
  EXPECT_EQ(BoxCopy(whole, rows, rows, DType::kF32).from_offset(), 24);
  EXPECT_FALSE(BoxCopy(whole, columns, columns, DType::kF32).from_contiguous());
  EXPECT_TRUE(BoxCopy(whole, columns, columns, DType::kF32).to_contiguous());
}

TEST(BoxCopyTest, ScalarsAndEmptyBoxes) {
  const float one = 1;
  float to = 0;
  BoxCopy(Box{}, Box{}, Box{}, DType::kF32).Copy(&one, &to);
  EXPECT_EQ(to, 1);
  const Box none = Box::Whole({0, 3});
  EXPECT_EQ(BoxCopy(none, none, none, DType::kBF16).bytes(), 0);
  BoxCopy(none, none, none, DType::kBF16).Copy(nullptr, nullptr);
}

TEST(BoxCopyTest, IdentityLosesAgainstEverything) {
  float f[2];
  FillIdentity(DType::kF32, Monoid::kMax, f, 2);
  EXPECT_EQ(f[1], -std::numeric_limits<float>::infinity());
  int32_t i[2];
  FillIdentity(DType::kI32, Monoid::kMax, i, 2);
  EXPECT_EQ(i[0], std::numeric_limits<int32_t>::min());
  BFloat16 h[1];
  FillIdentity(DType::kBF16, Monoid::kSum, h, 1);
  EXPECT_EQ(h[0].bits, 0);
}

}  // namespace
}  // namespace weft

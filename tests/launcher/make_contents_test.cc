#include "launcher/make_contents.h"

#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/all_ops.h"
#include "runtime/box.h"

namespace weft {
namespace {

// A part of a tensor, in two pieces of its second dimension, is the same whoever makes it.
TEST(MakeContentsTest, ThreadsDoNotShow) {
  OpRegistry ops;
  DefineAllOps(ops);
  const TensorSpec spec{{1, 3001, 500}, DType::kF32};
  Box box = Box::Whole(spec.shape);
  IndexSet rows;
  rows.Append({5, 1400});
  rows.Append({1600, 3001});
  box.dims[1] = rows;
  const OpDef* normal = ops.Find("random_normal");
  ASSERT_NE(normal, nullptr);
  Attrs attrs;
  for (const auto& [name, value] : normal->attrs) attrs.Set(name, value);
  std::vector<std::vector<float>> made;
  for (int threads : {1, 2, 7}) {
    made.emplace_back(box.elements(), -1.0f);
    const Operand output{made.back().data(), &spec, &box, box.shape()};
    ASSERT_EQ(MakeContents(normal->cpu, attrs, output, threads), absl::OkStatus());
  }
  EXPECT_NE(made[0][0], made[0][1]);
  EXPECT_EQ(std::memcmp(made[0].data(), made[1].data(), 4 * made[0].size()), 0);
  EXPECT_EQ(std::memcmp(made[0].data(), made[2].data(), 4 * made[0].size()), 0);
}

TEST(MakeContentsTest, ErrorsComeOut) {
  const TensorSpec spec{{4, 1 << 20}, DType::kF32};
  const Box box = Box::Whole(spec.shape);
  std::vector<float> data(box.elements());
  const Operand output{data.data(), &spec, &box, box.shape()};
  const Kernel fails = [](const KernelContext& c) -> absl::Status {
    if (c.out(0).box->dims[0].begin() == 0) return absl::OkStatus();
    return absl::InternalError("no luck");
  };
  EXPECT_EQ(MakeContents(fails, Attrs(), output, 2).message(), "no luck");
}

}  // namespace
}  // namespace weft

// HostMemory: made once, found by name and size, then nameless.
#include "runtime/host_memory.h"

#include "gtest/gtest.h"

namespace weft {
namespace {

TEST(HostMemory, IsFoundByItsNameAndSize) {
  auto made = HostMemory::Create(10000);
  ASSERT_EQ(made.status(), absl::OkStatus());
  made->data()[9999] = std::byte{7};
  const auto found = HostMemory::Open(made->name(), 10000);
  ASSERT_EQ(found.status(), absl::OkStatus());
  EXPECT_NE(found->data(), made->data());
  EXPECT_EQ(found->data()[9999], std::byte{7});
  EXPECT_EQ(found->data()[0], std::byte{0});
  EXPECT_EQ(HostMemory::Open(made->name(), 9999).status().code(),
            absl::StatusCode::kFailedPrecondition);
  made->Unlink();
  EXPECT_EQ(HostMemory::Open(made->name(), 10000).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(made->data()[9999], std::byte{7});
}

TEST(HostMemory, TakesItsNameAlong) {
  std::string name;
  {
    auto made = HostMemory::Create(1);
    ASSERT_EQ(made.status(), absl::OkStatus());
    name = made->name();
    const HostMemory moved = *std::move(made);
    EXPECT_EQ(HostMemory::Open(name, 1).status(), absl::OkStatus());
  }
  EXPECT_EQ(HostMemory::Open(name, 1).status().code(), absl::StatusCode::kNotFound);
}

TEST(HostMemory, RefusesSizes) {
  for (const int64_t bytes : {int64_t{-1}, int64_t{0}, HostMemory::kMostBytes + 1}) {
    EXPECT_EQ(HostMemory::Create(bytes).status().code(), absl::StatusCode::kResourceExhausted);
  }
}

}  // namespace
}  // namespace weft

#include "runtime/arena.h"

#include <cstdint>
#include <utility>

#include "gtest/gtest.h"

namespace weft {
namespace {

TEST(Arena, IsZeroedAndAligned) {
  absl::StatusOr<Arena> arena = Arena::Allocate(1000);
  ASSERT_TRUE(arena.ok()) << arena.status();
  EXPECT_EQ(arena->bytes(), 1000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(arena->data()) % Arena::kAlignment, 0u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(arena->data()[i], std::byte{0});
}

// Kernels take an operand without an address for one that is absent.
TEST(Arena, OfNoBytesHasAnAddress) {
  EXPECT_EQ(Arena().data(), nullptr);
  absl::StatusOr<Arena> arena = Arena::Allocate(0);
  ASSERT_TRUE(arena.ok()) << arena.status();
  EXPECT_NE(arena->data(), nullptr);
  EXPECT_EQ(arena->bytes(), 0);
  const Arena moved = *std::move(arena);
  EXPECT_NE(moved.data(), nullptr);
}

TEST(Arena, ImpossibleSizesAreErrors) {
  EXPECT_TRUE(absl::IsInvalidArgument(Arena::Allocate(-1).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(Arena::Allocate(int64_t{1} << 60).status()));
}

}  // namespace
}  // namespace weft

// What kernels of a rank share on its GPU.
#include "kernels/cuda_handles.h"

#include <future>

#include "gtest/gtest.h"

namespace weft {
namespace {

// Work on the stream may wait for another rank, which waits for what this one has yet to enqueue:
// more scratch must not wait for it, and what it uses stays.
TEST(CudaHandles, ScratchGrowsWhileTheStreamWorks) {
  const auto made = MakeCudaHandles(0);
  ASSERT_TRUE(made.ok()) << made.status();
  auto& handles = static_cast<CudaHandles&>(**made);
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  const absl::StatusOr<void*> small = handles.Scratch(stream, 1000);
  ASSERT_TRUE(small.ok()) << small.status();
  std::promise<void> may_go_on;
  std::future<void> may_go_on_now = may_go_on.get_future();
  ASSERT_EQ(cudaLaunchHostFunc(
                stream, [](void* future) { static_cast<std::future<void>*>(future)->wait(); },
                &may_go_on_now),
            cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(*small, 1, 1000, stream), cudaSuccess);
  const absl::StatusOr<void*> large = handles.Scratch(stream, 1 << 20);
  EXPECT_EQ(cudaStreamQuery(stream), cudaErrorNotReady);
  (void)cudaGetLastError();
  may_go_on.set_value();
  ASSERT_TRUE(large.ok()) << large.status();
  EXPECT_NE(*large, *small);
  EXPECT_EQ(*handles.Scratch(stream, 1 << 20), *large);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

}  // namespace
}  // namespace weft

// Marks on CUDA streams, on GPU 0.
#include "runtime/cuda_time_marks.h"

#include <cuda_runtime.h>

#include "gtest/gtest.h"
#include "runtime/cuda_device.h"

namespace weft {
namespace {

constexpr int64_t kWorkNanoseconds = 20000000;

void Work(void*) {
  const int64_t begin = HostNanoseconds();
  while (HostNanoseconds() - begin < kWorkNanoseconds) {
  }
}

// What a task of the test needs.
struct Marked {
  Stream& stream;
  TimeMarks& marks;
};

// What the device notes is on the host's clock: not before the host began, not after the host knew
// of the end; and work lies between its marks.
TEST(CudaTimeMarks, LieBetweenWhatTheHostDidBeforeAndAfter) {
  const auto device = CudaDevice::Make(0);
  ASSERT_TRUE(device.ok()) << device.status();
  const auto marks = (*device)->MakeTimeMarks(3);
  ASSERT_TRUE(marks.ok()) << marks.status();
  const auto stream = (*device)->MakeStream("s", 10, Device::Work::kCompute);
  ASSERT_TRUE(stream.ok()) << stream.status();
  Marked marked{**stream, **marks};
  const int64_t before = HostNanoseconds();
  (*stream)->Enqueue({.run =
                          [](void* context, int64_t) {
                            const Marked& m = *static_cast<Marked*>(context);
                            auto* const native =
                                static_cast<cudaStream_t>(m.stream.native_stream());
                            m.marks.Set(0, native);
                            EXPECT_EQ(cudaLaunchHostFunc(native, &Work, nullptr), cudaSuccess);
                            m.marks.Set(1, native);
                          },
                      .context = &marked});
  (*stream)->completed().Await((*stream)->submitted());
  const int64_t after = HostNanoseconds();
  const auto begin = (*marks)->Read(0), end = (*marks)->Read(1), never = (*marks)->Read(2);
  ASSERT_TRUE(begin.ok()) << begin.status();
  ASSERT_TRUE(end.ok()) << end.status();
  ASSERT_TRUE(never.ok()) << never.status();
  // The clocks are tied by a round trip to the device, which may take a while on a busy machine;
  // the device tells time in steps of half a microsecond.
  constexpr int64_t kTie = 5000000;
  constexpr int64_t kStep = 1000;
  EXPECT_GT(begin->at, before - kTie);
  EXPECT_LT(end->at, after + kTie);
  EXPECT_GE(end->at - begin->at, kWorkNanoseconds - kStep);
  EXPECT_GE(begin->enqueued, before);
  EXPECT_LE(end->enqueued, after);
  EXPECT_EQ(never->at, 0);
}

}  // namespace
}  // namespace weft

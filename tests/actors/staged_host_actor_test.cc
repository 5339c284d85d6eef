// Actors that feed and fetch through staging memory, on a device whose calls of the host are the
// test's to make, and which can fail in the midst of them.
#include "actors/staged_host_actor.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "actors/executor.h"
#include "gtest/gtest.h"
#include "runtime/cpu_device.h"
#include "tests/support/plan_builder.h"
#include "tests/support/toy_kernels.h"

namespace weft {
namespace {

using testing::PlanBuilder;

// Set where staging memory is given back: an arena's way to do that has no context.
std::atomic<bool> staging_is_gone{false};

// Copies at once. Calls of the host wait until the test makes them.
class ManualQueue final : public DeviceQueue {
 public:
  absl::Status CopyIn(void* device, const void* host, int64_t bytes, void*) override {
    std::memcpy(device, host, bytes);
    return absl::OkStatus();
  }
  absl::Status CopyOut(void* host, const void* device, int64_t bytes, void*) override {
    std::memcpy(host, device, bytes);
    return absl::OkStatus();
  }
  absl::Status CallHost(void (*function)(void*), void* argument, void*) override {
    if (refuses_) return absl::InternalError("the device is lost");
    if (calls_at_once_) {
      function(argument);
    } else {
      calls_.push_back({function, argument});
    }
    return absl::OkStatus();
  }
  absl::Status FillIdentity(DType, Monoid, void*, int64_t, void*) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<std::unique_ptr<DeviceBoxCopies>> Prepare(absl::Span<const BoxCopy>) override {
    return absl::UnimplementedError("");
  }
  std::unique_ptr<DeviceMessenger> MakeMessenger(Transport&) override { return nullptr; }

  // Makes the call that has waited longest.
  void CallNext() {
    const Call call = calls_.front();
    calls_.pop_front();
    call.function(call.argument);
  }
  size_t waiting() const { return calls_.size(); }
  void set_calls_at_once(bool at_once) { calls_at_once_ = at_once; }
  void set_refuses(bool refuses) { refuses_ = refuses; }

 private:
  struct Call {
    void (*function)(void*);
    void* argument;
  };
  std::deque<Call> calls_;
  bool calls_at_once_ = false;
  bool refuses_ = false;
};

// Runs tasks when they are enqueued, and counts them as completed then, as streams of a device that
// has failed do.
class PromptStream final : public Stream {
 public:
  explicit PromptStream(const std::string& name) : Stream(name) {}

 private:
  void Push(const Task& task) override {
    if (task.run != nullptr) task.run(task.context, task.argument);
    completed_.Advance(submitted());
  }
};

class ManualDevice final : public Device {
 public:
  ManualDevice() : Device("manual device") {}
  ManualQueue* queue() override { return &queue_; }
  absl::StatusOr<Arena> Allocate(int64_t bytes) override { return Arena::Allocate(bytes); }
  absl::StatusOr<Arena> AllocateStaging(int64_t bytes) override {
    staging_is_gone = false;
    return Arena::Adopt(new float[bytes / 4 + 1](), bytes, [](void* data, int64_t) {
      delete[] static_cast<float*>(data);
      staging_is_gone = true;
    });
  }
  absl::Status Write(void* device, const void* host, int64_t bytes) override {
    std::memcpy(device, host, bytes);
    return absl::OkStatus();
  }
  absl::Status Read(void* host, const void* device, int64_t bytes) override {
    std::memcpy(host, device, bytes);
    return absl::OkStatus();
  }
  absl::StatusOr<std::unique_ptr<Stream>> MakeStream(const std::string& name, int64_t,
                                                     Work) override {
    return std::make_unique<PromptStream>(name);
  }
  absl::StatusOr<std::unique_ptr<Communicator>> MakeCommunicator(Transport&, std::vector<int>,
                                                                 uint32_t) override {
    return absl::UnimplementedError("");
  }
  Kernel copy_kernel() const override { return cpu_.copy_kernel(); }

 private:
  CpuDevice cpu_;
  ManualQueue queue_;
};

class StagedHostActorTest : public ::testing::Test {
 protected:
  // Feeds x and fetches it.
  static Plan Through() {
    PlanBuilder b;
    const int in = b.Stream("in"), out = b.Stream("out");
    const int feed = b.Actor("feed", in), fetch = b.Actor("fetch", out);
    const int x = b.Channel("x", feed, {{fetch}}, 1, 2);
    b.Feed(feed, "x", b.On(x));
    b.Fetch(fetch, "x", b.On(x));
    b.Order({feed, fetch});
    return b.plan();
  }
  // Feeds x, which nothing reads.
  static Plan FeedAlone() {
    PlanBuilder b;
    const int feed = b.Actor("feed", b.Stream("in"));
    const int x = b.Channel("x", feed, {}, 1, 2);
    b.Feed(feed, "x", b.On(x));
    b.Order({feed});
    return b.plan();
  }
  std::unique_ptr<Executor> MustMake(Plan plan) {
    ExecutorOptions options{.kernels = kernels_};
    options.device = &device_;
    options.feed = feed_;
    options.fetch = fetch_;
    auto executor = Executor::Create(std::move(plan), std::move(options));
    EXPECT_TRUE(executor.ok()) << executor.status();
    return executor.ok() ? *std::move(executor) : nullptr;
  }

  const KernelTable kernels_ = testing::ToyKernels();
  ManualDevice device_;
  HostFunction feed_;
  HostFunction fetch_;
};

TEST_F(StagedHostActorTest, StagesWhatIsFedAndFetched) {
  device_.queue()->set_calls_at_once(true);
  std::vector<float> got;
  feed_ = [](std::string_view, int64_t step, int64_t, const Operand& x) {
    for (int i = 0; i < 2; ++i) x.as<float>()[i] = static_cast<float>(10 * step + i);
    return absl::OkStatus();
  };
  fetch_ = [&got](std::string_view, int64_t, int64_t, const Operand& x) {
    got.insert(got.end(), {x.as<float>()[0], x.as<float>()[1]});
    return absl::OkStatus();
  };
  const auto executor = MustMake(Through());
  ASSERT_NE(executor, nullptr);
  ASSERT_TRUE(executor->RunSteps(1, 3).ok());
  EXPECT_EQ(got, (std::vector<float>{10, 11, 20, 21, 30, 31}));
}

// The device counts as done, a feed still writes to its staging memory.
TEST_F(StagedHostActorTest, WaitsForTheCallThatRuns) {
  std::promise<void> begun, may_end;
  std::future<void> may_end_now = may_end.get_future();
  bool had_memory = false;
  feed_ = [&](std::string_view, int64_t, int64_t, const Operand& x) {
    begun.set_value();
    may_end_now.wait();
    had_memory = !staging_is_gone;
    if (had_memory) x.as<float>()[1] = 1;
    return absl::OkStatus();
  };
  auto executor = MustMake(FeedAlone());
  ASSERT_NE(executor, nullptr);
  ASSERT_TRUE(executor->Run(0).ok());
  std::thread device([this] { device_.queue()->CallNext(); });
  begun.get_future().wait();
  std::promise<void> gone;
  std::thread owner([&] {
    executor.reset();
    gone.set_value();
  });
  // Long enough for an owner that does not wait; one that does is let go below.
  EXPECT_EQ(gone.get_future().wait_for(std::chrono::milliseconds(100)),
            std::future_status::timeout);
  may_end.set_value();
  owner.join();
  device.join();
  EXPECT_TRUE(had_memory);
  EXPECT_TRUE(staging_is_gone);
}

// A device may come to a call after all when the actor has gone.
TEST_F(StagedHostActorTest, GoesBeforeCallsThatDoNotRun) {
  int fed = 0;
  feed_ = [&fed](std::string_view, int64_t, int64_t, const Operand&) {
    ++fed;
    return absl::OkStatus();
  };
  auto executor = MustMake(FeedAlone());
  ASSERT_NE(executor, nullptr);
  ASSERT_TRUE(executor->RunSteps(0, 3).ok());
  device_.queue()->CallNext();
  EXPECT_EQ(fed, 1);
  executor.reset();
  EXPECT_TRUE(staging_is_gone);
  ASSERT_EQ(device_.queue()->waiting(), 2u);
  device_.queue()->CallNext();
  device_.queue()->CallNext();
  EXPECT_EQ(fed, 1);
}

TEST_F(StagedHostActorTest, CallThatTheDeviceRefusesIsNotWaitedFor) {
  feed_ = [](std::string_view, int64_t, int64_t, const Operand&) { return absl::OkStatus(); };
  auto executor = MustMake(FeedAlone());
  ASSERT_NE(executor, nullptr);
  device_.queue()->set_refuses(true);
  const absl::Status status = executor->Run(0);
  EXPECT_NE(status.message().find("actor `feed`, op `x`, step 1: the device is lost"),
            std::string::npos)
      << status;
}

}  // namespace
}  // namespace weft

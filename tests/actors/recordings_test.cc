// Recordings on a queue that keeps lists of functions.
#include "actors/recordings.h"

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace weft {
namespace {

using Work = std::vector<std::function<void()>>;

// Does at once what is enqueued, unless it records.
class ListQueue final : public DeviceQueue {
 public:
  class List final : public DeviceRecording {
   public:
    explicit List(Work work) : work_(std::move(work)) {}
    absl::Status Replay(void*) override {
      for (const auto& work : work_) work();
      return absl::OkStatus();
    }

   private:
    const Work work_;
  };

  void Enqueue(std::function<void()> work) {
    if (records_) {
      recorded_.push_back(std::move(work));
    } else {
      work();
    }
  }
  absl::Status BeginRecording(void*) override {
    ++begun_;
    records_ = true;
    return absl::OkStatus();
  }
  absl::StatusOr<std::unique_ptr<DeviceRecording>> EndRecording(void*) override {
    records_ = false;
    auto list = std::make_unique<List>(std::exchange(recorded_, {}));
    if (refusals_ > 0) {
      --refusals_;
      return absl::InternalError("this cannot be recorded");
    }
    return list;
  }
  int begun() const { return begun_; }
  void Refuse(int times) { refusals_ = times; }

  absl::Status CopyIn(void*, const void*, int64_t, void*) override { return {}; }
  absl::Status CopyOut(void*, const void*, int64_t, void*) override { return {}; }
  absl::Status CallHost(void (*)(void*), void*, void*) override { return {}; }
  absl::Status FillIdentity(DType, Monoid, void*, int64_t, void*) override { return {}; }
  absl::StatusOr<std::unique_ptr<DeviceBoxCopies>> Prepare(absl::Span<const BoxCopy>) override {
    return absl::UnimplementedError("");
  }
  std::unique_ptr<DeviceMessenger> MakeMessenger(Transport&) override { return nullptr; }

 private:
  bool records_ = false;
  int begun_ = 0;
  int refusals_ = 0;
  Work recorded_;
};

class RecordingsTest : public ::testing::Test {
 protected:
  // Runs firings [first, last) of a part that writes down, when it is done, its place in the
  // period.
  absl::Status Run(Recordings& recordings, int64_t first, int64_t last, int64_t period) {
    for (int64_t firing = first; firing < last; ++firing) {
      const absl::Status status = recordings.Run(firing, nullptr, [&] {
        ++enqueued_;
        const int64_t place = firing % period;
        queue_.Enqueue([this, place] { done_ += std::to_string(place); });
        return result_;
      });
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  ListQueue queue_;
  int enqueued_ = 0;
  std::string done_;
  absl::Status result_;
};

TEST_F(RecordingsTest, EveryPlaceIsEnqueuedTwiceAndThenReplayed) {
  Recordings recordings(queue_, 3, /*must=*/true);
  ASSERT_TRUE(Run(recordings, 0, 3, 3).ok());
  EXPECT_EQ(queue_.begun(), 0);  // the first period runs as it is
  ASSERT_TRUE(Run(recordings, 3, 12, 3).ok());
  EXPECT_EQ(queue_.begun(), 3);
  EXPECT_EQ(enqueued_, 6);
  EXPECT_EQ(done_, "012012012012");
}

TEST_F(RecordingsTest, WhatGotInTheWayOnceIsTriedAgain) {
  Recordings recordings(queue_, 1, /*must=*/true);
  queue_.Refuse(2);
  ASSERT_TRUE(Run(recordings, 0, 6, 1).ok());
  EXPECT_EQ(queue_.begun(), 3);
  EXPECT_EQ(done_, "000000");  // what was refused has been done all the same, once
}

TEST_F(RecordingsTest, WhatCannotBeRecordedRunsAsItIsUnlessItMust) {
  Recordings may(queue_, 1, /*must=*/false);
  queue_.Refuse(1000);
  ASSERT_TRUE(Run(may, 0, 8, 1).ok());
  EXPECT_EQ(queue_.begun(), 3);
  EXPECT_EQ(done_, "00000000");

  Recordings must(queue_, 1, /*must=*/true);
  const absl::Status status = Run(must, 0, 8, 1);
  EXPECT_NE(status.message().find("this cannot be recorded"), std::string::npos) << status;
  EXPECT_NE(status.message().find("train.cuda_graphs"), std::string::npos) << status;
}

TEST_F(RecordingsTest, AnErrorOfTheCallsIsTheirOwn) {
  Recordings recordings(queue_, 1, /*must=*/true);
  ASSERT_TRUE(Run(recordings, 0, 1, 1).ok());
  result_ = absl::DataLossError("a bad index");
  EXPECT_EQ(Run(recordings, 1, 2, 1), result_);
}

}  // namespace
}  // namespace weft

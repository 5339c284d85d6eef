// Jobs for devices that are not here: planned, and refused where they are to run.
#include "launcher/rank_place.h"

#include <string>

#include "gtest/gtest.h"
#include "launcher/job.h"

namespace weft {
namespace {

Job CudaJob() {
  Job job;
  job.mutable_train()->set_device(Job::Train::CUDA);
  return job;
}

TEST(RankPlace, AnyMachineHasACpu) {
  EXPECT_EQ(CheckDevice(Job(), 1000, {}), absl::OkStatus());
  const auto place = MakeRankPlace(Job(), {3, 7});
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_EQ(place->device, nullptr);
  EXPECT_EQ(place->ForSession().device, nullptr);
}

// Whatever this build and machine have, there are no thousand GPUs.
TEST(RankPlace, MoreRanksThanGpusAreRefused) {
  const absl::Status status = CheckDevice(CudaJob(), 1000, {{"train.device", "job:5:19"}});
  ASSERT_FALSE(status.ok());
  const std::string message(status.message());
  EXPECT_NE(message.find("job:5:19: train.device"), std::string::npos) << message;
  EXPECT_NE(message.find("use device: CPU"), std::string::npos) << message;
  EXPECT_FALSE(MakeRankPlace(CudaJob(), {0, 1000}).ok());
}

TEST(RankPlace, DoctorNamesCuda) {
  EXPECT_EQ(DescribeGpus().rfind("cuda ", 0), 0) << DescribeGpus();
}

}  // namespace
}  // namespace weft

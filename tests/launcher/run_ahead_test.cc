#include "launcher/run_ahead.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace weft {
namespace {

// Writes down what the loop calls: "s3" submits, "c3" collects, "=3" settles after 3 steps, "=3!"
// in the end.
class Recorder {
 public:
  absl::StatusOr<RunAheadEnd> Run(int64_t first, int64_t steps) {
    return RunAhead(
        first, steps, 2,
        {.submit =
             [this](int64_t step) {
               calls_.push_back(absl::StrCat("s", step));
               return step == submit_fails_at ? absl::InternalError("submit") : absl::OkStatus();
             },
         .collect = [this](int64_t step) -> absl::StatusOr<Decision> {
           calls_.push_back(absl::StrCat("c", step));
           if (step == collect_fails_at) return absl::InternalError("collect");
           if (step == interrupt_at) return Decision::kInterrupt;
           return step == stop_at ? Decision::kStop : Decision::kContinue;
         },
         .settles = [this](int64_t done) { return settles_every > 0 && done % settles_every == 0; },
         .settle =
             [this](int64_t done, bool end) {
               calls_.push_back(absl::StrCat("=", done, end ? "!" : ""));
               return absl::OkStatus();
             }});
  }
  std::string calls() const { return absl::StrJoin(calls_, " "); }

  int64_t settles_every = 0;
  int64_t stop_at = -1, interrupt_at = -1, submit_fails_at = -1, collect_fails_at = -1;

 private:
  std::vector<std::string> calls_;
};

TEST(RunAheadTest, TwoStepsAreInFlight) {
  Recorder r;
  const auto end = r.Run(0, 4);
  ASSERT_TRUE(end.ok());
  EXPECT_EQ(r.calls(), "s0 s1 c0 s2 c1 s3 c2 c3 =4!");
  EXPECT_EQ(end->done, 4);
  EXPECT_EQ(end->decision, Decision::kContinue);
}

TEST(RunAheadTest, GoesOnFromACheckpoint) {
  Recorder r;
  ASSERT_TRUE(r.Run(7, 9).ok());
  EXPECT_EQ(r.calls(), "s7 s8 c7 c8 =9!");
  Recorder done;
  const auto end = done.Run(9, 9);
  ASSERT_TRUE(end.ok());
  EXPECT_EQ(end->done, 9);
  EXPECT_EQ(done.calls(), "");
}

TEST(RunAheadTest, NothingIsInFlightWhereVariablesAreRead) {
  Recorder r;
  r.settles_every = 3;
  ASSERT_TRUE(r.Run(0, 7).ok());
  EXPECT_EQ(r.calls(), "s0 s1 c0 s2 c1 c2 =3 s3 s4 c3 s5 c4 c5 =6 s6 c6 =7!");
  Recorder always;
  always.settles_every = 1;
  ASSERT_TRUE(always.Run(0, 3).ok());
  EXPECT_EQ(always.calls(), "s0 c0 =1 s1 c1 =2 s2 c2 =3!");
}

TEST(RunAheadTest, WhatIsInFlightAtTheEndCounts) {
  Recorder r;
  r.stop_at = 1;
  const auto end = r.Run(0, 9);
  ASSERT_TRUE(end.ok());
  EXPECT_EQ(r.calls(), "s0 s1 c0 s2 c1 c2 =3!");
  EXPECT_EQ(end->done, 3);
  EXPECT_EQ(end->decision, Decision::kStop);
}

TEST(RunAheadTest, AnInterruptPrevails) {
  for (int64_t stop_at : {1, 2, 3}) {
    Recorder r;
    r.stop_at = stop_at;
    r.interrupt_at = 2;
    const auto end = r.Run(0, 9);
    ASSERT_TRUE(end.ok());
    EXPECT_EQ(end->decision, Decision::kInterrupt) << stop_at;
  }
}

TEST(RunAheadTest, TheFirstErrorEndsIt) {
  Recorder r;
  r.collect_fails_at = 1;
  EXPECT_EQ(r.Run(0, 9).status(), absl::InternalError("collect"));
  EXPECT_EQ(r.calls(), "s0 s1 c0 s2 c1");
  Recorder s;
  s.submit_fails_at = 2;
  EXPECT_EQ(s.Run(0, 9).status(), absl::InternalError("submit"));
  EXPECT_EQ(s.calls(), "s0 s1 c0 s2");
}

}  // namespace
}  // namespace weft

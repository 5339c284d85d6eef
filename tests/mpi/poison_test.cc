// A failure on one rank reaches the others over MPI, and all of them still leave cleanly. With
// --absent (abort.sh) the others never come to Close, and the failed rank aborts them. With --all
// (agree.sh) all fail at once, and each prints what Close answered.
#include <chrono>
#include <cstdio>
#include <string_view>

#include "gtest/gtest.h"
#include "runtime/mpi_transport.h"
#include "tests/support/transport_cases.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const bool absent = argc > 1 && std::string_view(argv[1]) == "--absent";
  auto transport = weft::StartMpi({.abort_after = std::chrono::milliseconds(absent ? 300 : 60000)});
  if (!transport.ok()) {
    std::fprintf(stderr, "%s\n", transport.status().ToString().c_str());
    return 1;
  }
  if (argc > 1 && std::string_view(argv[1]) == "--all") {
    std::printf("%s\n", weft::testing::AgreedFailure(**transport).c_str());
    return ::testing::Test::HasFailure() ? 1 : 0;
  }
  weft::testing::PoisonReachesAllRanks(**transport);
  if (absent && (*transport)->rank() == 0) {
    // A rank whose main thread is stuck.
    for (volatile bool stuck = true; stuck;) std::this_thread::yield();
  }
  const absl::Status closed = (*transport)->Close();
  const bool right = closed.code() == absl::StatusCode::kDataLoss;
  if (!right) std::fprintf(stderr, "Close answered %s\n", closed.ToString().c_str());
  return right && !::testing::Test::HasFailure() ? 0 : 1;
}

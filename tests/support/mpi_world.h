// The main function of tests whose ranks are processes under mpirun.
#pragma once

#include <cstdio>
#include <memory>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "runtime/mpi_transport.h"

namespace weft::testing {

// Runs all tests with *world set to the transport of this process: MPI starts once in one. What
// main returns: 0 if they pass and Close answers `ends`, on this rank.
inline int RunMpiTests(int argc, char** argv, Transport** world, const MpiOptions& options = {},
                       absl::StatusCode ends = absl::StatusCode::kOk) {
  ::testing::InitGoogleTest(&argc, argv);
  absl::StatusOr<std::unique_ptr<Transport>> transport = StartMpi(options);
  if (!transport.ok()) {
    std::fprintf(stderr, "%s\n", transport.status().ToString().c_str());
    return 1;
  }
  *world = transport->get();
  const int result = RUN_ALL_TESTS();
  const absl::Status closed = (*transport)->Close();
  if (closed.code() == ends) return result;
  std::fprintf(stderr, "Close answered %s\n", closed.ToString().c_str());
  return 1;
}

}  // namespace weft::testing

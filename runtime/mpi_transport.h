// Ranks as processes under mpirun or srun. Only mpi_transport.cc and mpi_control.cc include mpi.h;
// a build without MPI has mpi_absent.cc in its place.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "runtime/transport.h"

namespace weft {

struct MpiOptions {
  // How long, after a failure on any rank, the ranks may take to come to Close before all processes
  // are aborted (exit code 3, after a stall 4). A run without failure waits as long as it takes.
  std::chrono::milliseconds abort_after{10000};
  // Longest single MPI message; a longer one travels in several. At most 2^31 - 1.
  int64_t chunk_bytes = int64_t{1} << 30;
};

// Whether this process was started by an MPI launcher (by its environment; MPI is not touched).
bool StartedByMpi();
// The rank that the launcher gave this process, 0 without one: so that one rank speaks of errors
// from before MPI starts.
int LaunchedRank();
// The same among the ranks that the launcher started on this machine.
int LaunchedLocalRank();
// How many ranks the launcher started on this machine; 1 where it does not say.
int LaunchedLocalRanks();

// Initialises MPI (MPI_THREAD_SERIALIZED) and answers this rank's end of the world communicator.
// One thread at a time makes MPI calls: a thread of the transport, among them MPI_Init and
// MPI_Finalize, or one that waits (polled_transport.h). The destructor calls Close. MPI allows this
// once per process: FailedPrecondition the second time, Internal if MPI fails, Unimplemented in a
// build without MPI. The caller owns the result.
absl::StatusOr<std::unique_ptr<Transport>> StartMpi(const MpiOptions& options = {});

}  // namespace weft

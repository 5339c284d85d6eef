#include "runtime/mpi_transport.h"

namespace weft {

absl::StatusOr<std::unique_ptr<Transport>> StartMpi(const MpiOptions&) {
  return absl::UnimplementedError(
      "this weft was built without MPI; install an MPI library and configure with -DWEFT_MPI=ON, "
      "or "
      "run the ranks in one process with --ranks N");
}

}  // namespace weft

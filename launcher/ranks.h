// Where ranks come from: processes of mpirun or srun, threads of this process (--ranks N), or one.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "runtime/transport.h"

namespace weft {

// What one rank does; called on a thread of its own in a process of several ranks.
using RankMain = std::function<absl::Status(Transport&)>;
// Tells the user of a failure.
using FailureReport = std::function<void(const absl::Status&)>;

class Ranks {
 public:
  // `threads` > 0: that many ranks in this process (refused under mpirun); 0: as the launcher of
  // this process says, or one.
  static absl::StatusOr<Ranks> Start(int threads);

  int size() const { return size_; }
  // Whether ranks are processes of an MPI launcher, which ends those that do not end by themselves.
  bool processes() const { return mpi_ != nullptr; }
  // Whether this process holds rank 0, the one that speaks to the user.
  static bool speaks();
  // Runs `main` on every rank of this process and closes the transport. A rank that fails poisons
  // the others; the failure on which all agree is returned. `report` gets it on the one process
  // that speaks, in the words of the rank that failed where that is here, and before ranks part:
  // mpirun may kill the others as soon as one has left with an error.
  absl::Status Run(const RankMain& main, const FailureReport& report = nullptr);

 private:
  int size_ = 1;
  std::unique_ptr<Transport> mpi_;  // null: threads
};

}  // namespace weft

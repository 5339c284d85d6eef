// What ranks tell each other beside data over MPI: failures, notes, and their last meeting, on a
// communicator of its own. Part of mpi_transport.cc, under its rule of one thread at a time.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "absl/status/status.h"

namespace weft {

class MpiControl {
 public:
  // Duplicates MPI_COMM_WORLD; all ranks do. What comes is handed to the two functions, by Poll.
  MpiControl(std::function<void(int from, const absl::Status& failure)> hear_failure,
             std::function<void(int from, std::string_view note)> hear_note);
  ~MpiControl();

  // Hands over what has come; whether anything did.
  bool Poll();
  // Sends this rank's failure to all others, its message cut to about 4000 bytes. Once.
  void TellFailure(const absl::Status& failure);
  void SendNote(int to, std::string_view note);

  // The meeting, and whether it is over: all ranks have come, each naming the rank whose failure it
  // knows (or the number of ranks), and know the lowest of those and what it told of its failure.
  void StartMeeting(int failed_rank);
  bool Met(int* failed_rank, absl::Status* failure);
  // A barrier, and whether all have come to it.
  void StartParting();
  bool Parted();
  // Frees the communicator, before MPI_Finalize.
  void Close();

 private:
  struct Wires;
  std::unique_ptr<Wires> wires_;
  const std::function<void(int from, const absl::Status& failure)> hear_failure_;
  const std::function<void(int from, std::string_view note)> hear_note_;
};

}  // namespace weft

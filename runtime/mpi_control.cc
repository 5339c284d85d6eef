#include "runtime/mpi_control.h"

#define OMPI_SKIP_MPICXX 1  // the C interface alone
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <list>
#include <string>
#include <utility>
#include <vector>

#include "runtime/transport.h"

namespace weft {
namespace {

// A failure's code and its message, cut to fit and ended by a zero; or kNote and a note.
using Message = std::array<char, 4096>;
constexpr int32_t kNote = -1;
static_assert(Transport::kNoteBytes + sizeof(kNote) <= sizeof(Message));

void PutFailure(const absl::Status& failure, Message& message) {
  message.fill('\0');
  const int32_t code = static_cast<int32_t>(failure.code());
  std::memcpy(message.data(), &code, sizeof(code));
  const size_t length = std::min(failure.message().size(), message.size() - sizeof(code) - 1);
  std::memcpy(message.data() + sizeof(code), failure.message().data(), length);
}

int32_t CodeOf(const Message& message) {
  int32_t code = 0;
  std::memcpy(&code, message.data(), sizeof(code));
  return code;
}

absl::Status FailureIn(const Message& message) {
  return absl::Status(static_cast<absl::StatusCode>(CodeOf(message)),
                      message.data() + sizeof(int32_t));
}

bool Done(MPI_Request& request, MPI_Status* status = MPI_STATUS_IGNORE) {
  int done = 0;
  MPI_Test(&request, &done, status);
  return done != 0;
}

}  // namespace

struct MpiControl::Wires {
  struct Note {  // on its way out
    std::string bytes;
    MPI_Request handle = MPI_REQUEST_NULL;
  };
  MPI_Comm comm = MPI_COMM_NULL;
  Message incoming;
  MPI_Request receive = MPI_REQUEST_NULL;  // into incoming
  Message failure;                         // this rank's
  Message agreed;                          // the one of the meeting
  std::vector<MPI_Request> told;           // sends of failure
  std::list<Note> notes;
  MPI_Request meeting = MPI_REQUEST_NULL;
  int failed_rank = 0;   // the lowest that a rank came with
  bool telling = false;  // all know failed_rank, which tells its failure

  void PostReceive() {
    MPI_Irecv(incoming.data(), static_cast<int>(incoming.size()), MPI_BYTE, MPI_ANY_SOURCE, 0, comm,
              &receive);
  }
};

MpiControl::MpiControl(std::function<void(int from, const absl::Status& failure)> hear_failure,
                       std::function<void(int from, std::string_view note)> hear_note)
    : wires_(std::make_unique<Wires>()),
      hear_failure_(std::move(hear_failure)),
      hear_note_(std::move(hear_note)) {
  MPI_Comm_dup(MPI_COMM_WORLD, &wires_->comm);
  MPI_Comm_set_errhandler(wires_->comm, MPI_ERRORS_RETURN);
  wires_->PostReceive();
}

MpiControl::~MpiControl() = default;

bool MpiControl::Poll() {
  MPI_Status status;
  if (!Done(wires_->receive, &status)) return false;
  int count = 0;
  MPI_Get_count(&status, MPI_BYTE, &count);
  const Message message = wires_->incoming;
  wires_->PostReceive();
  if (CodeOf(message) == kNote) {
    hear_note_(status.MPI_SOURCE, std::string_view(message.data(), count).substr(sizeof(kNote)));
  } else {
    hear_failure_(status.MPI_SOURCE, FailureIn(message));
  }
  return true;
}

void MpiControl::TellFailure(const absl::Status& failure) {
  PutFailure(failure, wires_->failure);
  int rank = 0;
  int size = 1;
  MPI_Comm_rank(wires_->comm, &rank);
  MPI_Comm_size(wires_->comm, &size);
  for (int peer = 0; peer < size; ++peer) {
    if (peer == rank) continue;
    MPI_Isend(wires_->failure.data(), static_cast<int>(wires_->failure.size()), MPI_BYTE, peer, 0,
              wires_->comm, &wires_->told.emplace_back());
  }
}

void MpiControl::SendNote(int to, std::string_view note) {
  wires_->notes.remove_if([](Wires::Note& sent) { return Done(sent.handle); });
  Wires::Note& out = wires_->notes.emplace_back();
  out.bytes.assign(reinterpret_cast<const char*>(&kNote), sizeof(kNote));
  out.bytes.append(note);
  MPI_Isend(out.bytes.data(), static_cast<int>(out.bytes.size()), MPI_BYTE, to, 0, wires_->comm,
            &out.handle);
}

void MpiControl::StartMeeting(int failed_rank) {
  wires_->failed_rank = failed_rank;
  MPI_Iallreduce(MPI_IN_PLACE, &wires_->failed_rank, 1, MPI_INT, MPI_MIN, wires_->comm,
                 &wires_->meeting);
}

// First whose failure it is, then that rank tells it: others may have heard only of another one.
bool MpiControl::Met(int* failed_rank, absl::Status* failure) {
  if (!Done(wires_->meeting)) return false;
  int size = 1;
  MPI_Comm_size(wires_->comm, &size);
  *failed_rank = wires_->failed_rank;
  *failure = absl::OkStatus();
  if (*failed_rank == size) return true;
  if (!std::exchange(wires_->telling, true)) {
    int rank = 0;
    MPI_Comm_rank(wires_->comm, &rank);
    if (rank == *failed_rank) wires_->agreed = wires_->failure;
    MPI_Ibcast(wires_->agreed.data(), static_cast<int>(wires_->agreed.size()), MPI_BYTE,
               *failed_rank, wires_->comm, &wires_->meeting);
    return false;
  }
  *failure = FailureIn(wires_->agreed);
  return true;
}

void MpiControl::StartParting() { MPI_Ibarrier(wires_->comm, &wires_->meeting); }

bool MpiControl::Parted() { return Done(wires_->meeting); }

void MpiControl::Close() {
  MPI_Cancel(&wires_->receive);
  MPI_Wait(&wires_->receive, MPI_STATUS_IGNORE);
  for (MPI_Request& told : wires_->told) MPI_Request_free(&told);
  for (Wires::Note& note : wires_->notes) {
    if (note.handle != MPI_REQUEST_NULL) MPI_Request_free(&note.handle);
  }
  MPI_Comm_free(&wires_->comm);
}

}  // namespace weft

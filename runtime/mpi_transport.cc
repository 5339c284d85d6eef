#include "runtime/mpi_transport.h"

#define OMPI_SKIP_MPICXX 1  // the C interface alone
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <algorithm>
#include <future>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/collective_bytes.h"
#include "runtime/mpi_control.h"
#include "runtime/polled_transport.h"

namespace weft {
namespace {

// Exit codes of "a rank failed or was lost" and "stalled".
constexpr int kAbortCode = 3;
constexpr int kAbortCodeOfStall = 4;

absl::Status MpiError(int code, const char* call) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  return absl::InternalError(absl::StrCat(call, ": ", std::string(text, length)));
}

// While data is in flight, one poll in so many asks for failures and notes.
constexpr int kPollsWithoutControl = 64;

class MpiTransport final : public PolledTransport {
 public:
  struct World {
    int rank = 0;
    int size = 1;
    MPI_Comm data = MPI_COMM_NULL;  // what callers send
  };

  // Both on the thread that will call Serve.
  static absl::StatusOr<World> Initialize();
  MpiTransport(const MpiOptions& options, const World& world);
  ~MpiTransport() override { Close().IgnoreError(); }
  bool SharesMemory() const override { return true; }

 private:
  void Start(Request* request) override;
  bool Poll() override;
  int64_t in_flight() const override {
    return static_cast<int64_t>(handles_.size()) + (unwanted_ == MPI_REQUEST_NULL ? 0 : 1);
  }
  void TellFailure() override { control_.TellFailure(failure()); }
  void StartNote(int to, std::string_view note) override { control_.SendNote(to, note); }
  void FailAll() override;
  void StartMeeting(int failed_rank) override { control_.StartMeeting(failed_rank); }
  bool Met(Agreement* agreement) override {
    return control_.Met(&agreement->failed_rank, &agreement->failure);
  }
  void StartParting() override { control_.StartParting(); }
  bool Parted() override { return unwanted_ == MPI_REQUEST_NULL && control_.Parted(); }
  void Finalize() override;
  void Abort() override {
    const bool stalled = failure().code() == absl::StatusCode::kDeadlineExceeded;
    MPI_Abort(MPI_COMM_WORLD, stalled ? kAbortCodeOfStall : kAbortCode);
  }

  // Starts one message of a request.
  void StartPart(Request* request, char* data, int64_t length);
  // One message of `request` has ended.
  void FinishPart(Request* request, const MPI_Status& status, int error);
  // Whether a message of `request` may have been cancelled.
  bool MayBeCancelled(const Request& request) const {
    return !failure().ok() || request.wire.bytes >= chunk_bytes_;
  }
  void CancelRest(const Request* request);
  absl::Status ResultOf(const Request::Wire& wire) const;
  void RemovePart(size_t index);
  bool PollData();
  void TakeUnwanted();

  const int64_t chunk_bytes_;
  World world_;
  // Each slot is one MPI message, part of request parts_[i].
  std::vector<MPI_Request> handles_;
  std::vector<Request*> parts_;
  std::vector<int> indices_;  // of MPI_Testsome, as long as handles_ at least
  std::vector<MPI_Status> statuses_;
  MpiControl control_;
  int polls_without_control_ = 0;
  MPI_Request unwanted_ = MPI_REQUEST_NULL;  // receives, after a failure, what nobody will
  std::unique_ptr<char[]> discarded_;        // where it goes
};

absl::StatusOr<MpiTransport::World> MpiTransport::Initialize() {
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (initialized != 0) return absl::FailedPreconditionError("MPI was started before");
  int provided = 0;
  const int code = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided);
  if (code != MPI_SUCCESS) return MpiError(code, "MPI_Init_thread");
  if (provided < MPI_THREAD_SERIALIZED) {
    MPI_Finalize();
    return absl::InternalError("this MPI library does not support threads (MPI_THREAD_SERIALIZED)");
  }
  World world;
  MPI_Comm_dup(MPI_COMM_WORLD, &world.data);
  MPI_Comm_set_errhandler(world.data, MPI_ERRORS_RETURN);
  MPI_Comm_rank(world.data, &world.rank);
  MPI_Comm_size(world.data, &world.size);
  return world;
}

MpiTransport::MpiTransport(const MpiOptions& options, const World& world)
    : PolledTransport(world.rank, world.size, options.abort_after),
      chunk_bytes_(options.chunk_bytes),
      world_(world),
      control_([this](int from, const absl::Status& failure) { HearFailure(from, failure); },
               [this](int from, std::string_view note) { HearNote(from, note); }) {}

// A message of n whole chunks is followed by one shorter part, perhaps empty: its end is known to
// both sides, and so is a size that differs. Parts of a message follow each other in the order of
// their tag, so they must all be started before the next request is.
void MpiTransport::Start(Request* request) {
  Request::Wire& wire = request->wire;
  char* const data = static_cast<char*>(wire.data);
  if (wire.bytes < chunk_bytes_) {
    wire.parts = 1;
    StartPart(request, data, wire.bytes);
    return;
  }
  const int64_t parts = wire.bytes / chunk_bytes_ + 1;
  wire.parts = parts;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = part * chunk_bytes_;
    StartPart(request, data + begin, std::min(chunk_bytes_, wire.bytes - begin));
  }
}

void MpiTransport::StartPart(Request* request, char* data, int64_t length) {
  const Request::Wire& wire = request->wire;
  const int count = static_cast<int>(length);
  const int tag = static_cast<int>(wire.tag);
  MPI_Request handle = MPI_REQUEST_NULL;
  int code = wire.is_send ? MPI_Isend(data, count, MPI_BYTE, wire.peer, tag, world_.data, &handle)
                          : MPI_Irecv(data, count, MPI_BYTE, wire.peer, tag, world_.data, &handle);
  MPI_Status status{};
  int done = code != MPI_SUCCESS;
  // A short message has mostly left already.
  if (done == 0 && wire.is_send && length <= kEagerBytes) code = MPI_Test(&handle, &done, &status);
  if (done != 0) {
    FinishPart(request, status, code);
    return;
  }
  handles_.push_back(handle);
  parts_.push_back(request);
  if (statuses_.size() < handles_.size()) {
    statuses_.resize(2 * handles_.size());
    indices_.resize(2 * handles_.size());
  }
}

// Failures and notes are rare, so that most polls look for data alone.
bool MpiTransport::Poll() {
  bool progress = !handles_.empty() && PollData();
  if (!handles_.empty() && ++polls_without_control_ < kPollsWithoutControl) return progress;
  polls_without_control_ = 0;
  progress |= control_.Poll();
  if (!failure().ok()) TakeUnwanted();
  return progress;
}

bool MpiTransport::PollData() {
  int completed = 0;
  if (handles_.size() == 1) {  // quicker than MPI_Testsome
    MPI_Status status{};
    const int code = MPI_Test(handles_.data(), &completed, &status);
    if (completed == 0) return false;
    Request* const request = parts_.front();
    RemovePart(0);
    FinishPart(request, status, code);
    return true;
  }
  const int code = MPI_Testsome(static_cast<int>(handles_.size()), handles_.data(), &completed,
                                indices_.data(), statuses_.data());
  if (completed == MPI_UNDEFINED || completed == 0) return false;
  const bool errors = code == MPI_ERR_IN_STATUS;
  for (int i = 0; i < completed; ++i) {
    Request* const request = std::exchange(parts_[indices_[i]], nullptr);
    FinishPart(request, statuses_[i], errors ? statuses_[i].MPI_ERROR : MPI_SUCCESS);
  }
  for (size_t index = handles_.size(); index-- > 0;) {
    if (parts_[index] == nullptr) RemovePart(index);
  }
  return true;
}

void MpiTransport::FinishPart(Request* request, const MPI_Status& status, int error) {
  Request::Wire& wire = request->wire;
  if (!wire.is_send) {
    int cancelled = 0;
    if (MayBeCancelled(*request)) MPI_Test_cancelled(&status, &cancelled);
    int count = 0;
    if (cancelled == 0) MPI_Get_count(&status, MPI_BYTE, &count);
    wire.moved += count;
    // A short part before the last means that the sender's message ends here.
    if (wire.parts > 1 && (error != MPI_SUCCESS || count < chunk_bytes_)) CancelRest(request);
  }
  if (error != MPI_SUCCESS && wire.error == 0) wire.error = error;
  if (--wire.parts == 0) Finish(request, ResultOf(wire));
}

void MpiTransport::CancelRest(const Request* request) {
  for (size_t i = 0; i < handles_.size(); ++i) {
    if (parts_[i] == request && handles_[i] != MPI_REQUEST_NULL) MPI_Cancel(&handles_[i]);
  }
}

absl::Status MpiTransport::ResultOf(const Request::Wire& wire) const {
  if (!failure().ok()) return failure();
  int error_class = MPI_SUCCESS;
  if (wire.error != 0) MPI_Error_class(wire.error, &error_class);
  if (error_class != MPI_SUCCESS && error_class != MPI_ERR_TRUNCATE) {
    return MpiError(wire.error, wire.is_send ? "MPI_Isend" : "MPI_Irecv");
  }
  if (!wire.is_send && (wire.moved != wire.bytes || error_class == MPI_ERR_TRUNCATE)) {
    return SizeMismatch(wire.peer, rank(), wire.tag, wire.moved, wire.bytes);
  }
  return absl::OkStatus();
}

void MpiTransport::RemovePart(size_t index) {
  handles_[index] = handles_.back();
  parts_[index] = parts_.back();
  handles_.pop_back();
  parts_.pop_back();
}

// Receives are cancelled. Sends cannot be: they end when the other rank takes them (TakeUnwanted),
// or with the process, should it not.
void MpiTransport::FailAll() {
  for (size_t index = 0; index < handles_.size(); ++index) {
    if (!parts_[index]->wire.is_send) MPI_Cancel(&handles_[index]);
  }
}

// Takes what nobody will receive any more, one message after the other, so that the senders'
// buffers come free. Whole messages: Open MPI 4.1 overruns a buffer into which a probed one does
// not fit.
void MpiTransport::TakeUnwanted() {
  for (;;) {
    int done = 0;
    MPI_Test(&unwanted_, &done, MPI_STATUS_IGNORE);
    if (done == 0) return;
    discarded_ = nullptr;
    int found = 0;
    int count = 0;
    MPI_Message message = MPI_MESSAGE_NULL;
    MPI_Status status;
    MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, world_.data, &found, &message, &status);
    if (found == 0) return;
    MPI_Get_count(&status, MPI_BYTE, &count);
    discarded_ = std::make_unique_for_overwrite<char[]>(count);
    MPI_Imrecv(discarded_.get(), count, MPI_BYTE, &message, &unwanted_);
  }
}

void MpiTransport::Finalize() {
  control_.Close();
  MPI_Comm_free(&world_.data);
  MPI_Finalize();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> StartMpi(const MpiOptions& options) {
  if (options.chunk_bytes < 1 || options.chunk_bytes > std::numeric_limits<int>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunks of ", options.chunk_bytes, " bytes; MPI takes 1 to 2^31 - 1"));
  }
  std::promise<absl::StatusOr<std::unique_ptr<MpiTransport>>> promise;
  std::thread thread([&options, &promise] {
    absl::StatusOr<MpiTransport::World> world = MpiTransport::Initialize();
    if (!world.ok()) {
      promise.set_value(world.status());
      return;
    }
    auto transport = std::make_unique<MpiTransport>(options, *world);
    MpiTransport& served = *transport;
    promise.set_value(std::move(transport));
    served.Serve();
  });
  absl::StatusOr<std::unique_ptr<MpiTransport>> transport = promise.get_future().get();
  if (!transport.ok()) {
    thread.join();
    return transport.status();
  }
  (*transport)->set_thread(std::move(thread));
  return *std::move(transport);
}

}  // namespace weft

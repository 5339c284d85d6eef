#include "runtime/cuda_nccl_group.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/cuda_status.h"
#include "runtime/status.h"

namespace weft {
namespace {

using Clock = std::chrono::steady_clock;

// How often the monitor asks a group how it is.
constexpr std::chrono::milliseconds kAskInterval{10};
// How often others look whether NCCL is done with what they asked for: with enqueuing, which takes
// some tens of microseconds as a rule, after as many looks that only let others run; and with
// beginning and ending.
constexpr int kYields = 64;
constexpr std::chrono::microseconds kEnqueueInterval{20};
constexpr std::chrono::microseconds kMeetInterval{200};

// Communicators that do not block let an abort get in wherever a call waits for a peer, but NCCL
// starts a thread for each of their groups. NCCL's own switch chooses; it has the last word in any
// case.
bool NcclBlocks() {
  const char* const word = std::getenv("NCCL_COMM_BLOCKING");
  return word == nullptr || std::string_view(word) != "0";
}

absl::Status SendTo(Transport& transport, int to, uint32_t tag, const void* data, int64_t bytes) {
  Request request;
  transport.Send(to, tag, data, bytes, &request);
  return transport.Wait(request);
}

absl::Status ReceiveFrom(Transport& transport, int from, uint32_t tag, void* data, int64_t bytes) {
  Request request;
  transport.Receive(from, tag, data, bytes, &request);
  return transport.Wait(request);
}

// The first member makes the id once all others have come, and hands it out.
absl::StatusOr<ncclUniqueId> ShareId(Transport& transport, const std::vector<int>& ranks,
                                     uint32_t tag) {
  ncclUniqueId id;
  char come = 0;
  if (transport.rank() != ranks[0]) {
    WEFT_RETURN_IF_ERROR(SendTo(transport, ranks[0], tag, &come, 1));
    WEFT_RETURN_IF_ERROR(ReceiveFrom(transport, ranks[0], tag, &id, sizeof(id)));
    return id;
  }
  for (size_t r = 1; r < ranks.size(); ++r) {
    WEFT_RETURN_IF_ERROR(ReceiveFrom(transport, ranks[r], tag, &come, 1));
  }
  WEFT_RETURN_IF_ERROR(NcclStatus(ncclGetUniqueId(&id), "ncclGetUniqueId"));
  for (size_t r = 1; r < ranks.size(); ++r) {
    WEFT_RETURN_IF_ERROR(SendTo(transport, ranks[r], tag, &id, sizeof(id)));
  }
  return id;
}

// Until all have come, or one has failed.
absl::StatusOr<ncclComm_t> Initialise(Transport& transport, const ncclUniqueId& id, int size,
                                      int rank, int device) {
  constexpr std::string_view kWhat = "ncclCommInitRankConfig";
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = NcclBlocks() ? 1 : 0;
  ncclComm_t communicator = nullptr;
  ncclResult_t state = ncclCommInitRankConfig(&communicator, size, id, rank, &config);
  absl::Status status;
  while (status.ok() && state == ncclInProgress) {
    std::this_thread::sleep_for(kMeetInterval);
    status = transport.status();
    if (status.ok()) status = NcclStatus(ncclCommGetAsyncError(communicator, &state), kWhat);
  }
  if (status.ok()) status = NcclStatus(state, kWhat);
  if (status.ok()) return communicator;
  if (communicator != nullptr) {
    const NcclAbort abort(communicator, device);  // and waits for it
  }
  return status;
}

}  // namespace

absl::Status NcclStatus(ncclResult_t result, std::string_view what) {
  if (!NcclFails(result)) return absl::OkStatus();
  const char* last = ncclGetLastError(nullptr);
  return absl::InternalError(absl::StrCat(std::string(what), ": ", ncclGetErrorString(result),
                                          last != nullptr && *last != 0 ? ": " : "",
                                          last != nullptr ? last : "",
                                          " (NCCL_DEBUG=WARN says more)"));
}

absl::StatusOr<std::unique_ptr<NcclGroup>> NcclGroup::Make(Transport& transport,
                                                           const std::vector<int>& ranks,
                                                           uint32_t tag, int device,
                                                           CudaMonitor& monitor) {
  const int rank =
      static_cast<int>(std::find(ranks.begin(), ranks.end(), transport.rank()) - ranks.begin());
  absl::StatusOr<std::unique_ptr<NcclGroup>> made =
      [&]() -> absl::StatusOr<std::unique_ptr<NcclGroup>> {
    WEFT_RETURN_IF_ERROR(CudaStatus(cudaSetDevice(device), "cudaSetDevice"));
    WEFT_ASSIGN_OR_RETURN(const ncclUniqueId id, ShareId(transport, ranks, tag));
    WEFT_ASSIGN_OR_RETURN(const ncclComm_t communicator,
                          Initialise(transport, id, static_cast<int>(ranks.size()), rank, device));
    std::unique_ptr<NcclGroup> group(new NcclGroup(transport, communicator, device, monitor));
    monitor.Add(group.get());
    return group;
  }();
  if (made.ok()) return made;
  const absl::Status status =
      Annotate(made.status(),
               absl::StrCat("making the NCCL communicator of ranks ", absl::StrJoin(ranks, ",")));
  transport.Poison(status);
  return status;
}

NcclGroup::NcclGroup(Transport& transport, ncclComm_t communicator, int device,
                     CudaMonitor& monitor)
    : transport_(transport),
      device_(device),
      blocks_(NcclBlocks()),
      monitor_(monitor),
      communicator_(communicator) {}

NcclGroup::~NcclGroup() {
  monitor_.Remove(this);  // from here on nobody else calls
  if (communicator_ == nullptr) return;
  (void)cudaSetDevice(device_);
  if (!End()) abort_.emplace(communicator_, device_);
}

bool NcclGroup::End() {
  if (!transport_.status().ok()) return false;
  if (blocks_) {
    (void)ncclCommDestroy(communicator_);  // after it nobody may touch the communicator
    return true;
  }
  ncclResult_t state = ncclCommFinalize(communicator_);
  while (state == ncclInProgress && transport_.status().ok()) {
    std::this_thread::sleep_for(kMeetInterval);
    const ncclResult_t asked = ncclCommGetAsyncError(communicator_, &state);
    if (asked != ncclSuccess) state = asked;
  }
  if (state != ncclSuccess) return false;
  (void)ncclCommDestroy(communicator_);  // nothing is left that it could wait for
  return true;
}

absl::Status NcclGroup::Enqueue(std::string_view what,
                                absl::FunctionRef<ncclResult_t(ncclComm_t)> enqueue) {
  // Some versions of NCCL keep a group in memory of the thread that has begun it: while one of this
  // thread's is aborted, the thread must not begin the next, of another communicator.
  WEFT_RETURN_IF_ERROR(transport_.status());
  absl::Status status;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (communicator_ == nullptr) return aborted_;
    ncclResult_t result = ncclGroupStart();
    if (!NcclFails(result)) {
      result = enqueue(communicator_);
      const ncclResult_t end = ncclGroupEnd();
      if (!NcclFails(result)) result = end;
    }
    status = NcclStatus(result, what);
  }
  if (status.ok() && !blocks_) status = AwaitEnqueued(what);
  if (!status.ok()) transport_.Poison(status);
  return status;
}

absl::Status NcclGroup::AwaitEnqueued(std::string_view what) {
  for (int looks = 0;; ++looks) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (communicator_ == nullptr) return aborted_;
      ncclResult_t state = ncclSuccess;
      WEFT_RETURN_IF_ERROR(NcclStatus(ncclCommGetAsyncError(communicator_, &state), what));
      if (state != ncclInProgress) return NcclStatus(state, what);
    }
    if (looks < kYields) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(kEnqueueInterval);
    }
  }
}

bool NcclGroup::Poll() {
  const Clock::time_point now = Clock::now();
  if (now - looked_ < kAskInterval) return false;
  const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return false;  // at the next look
  looked_ = now;
  if (communicator_ == nullptr) return false;
  const absl::Status network = transport_.status();
  if (!network.ok()) {
    Abort(network);
    return false;
  }
  ncclResult_t state = ncclSuccess;
  absl::Status status = NcclStatus(ncclCommGetAsyncError(communicator_, &state), "NCCL");
  if (status.ok()) status = NcclStatus(state, "NCCL, while the device worked");
  if (!status.ok()) {
    transport_.Poison(status);  // before the abort: Enqueue looks at it
    Abort(status);
  }
  return false;
}

void NcclGroup::Abort(const absl::Status& status) {
  aborted_ = status;
  abort_.emplace(communicator_, device_);
  communicator_ = nullptr;
}

}  // namespace weft

#include "runtime/cuda_nccl_group.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <atomic>
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
// How long NCCL may take to notice by itself that its peers are gone.
constexpr std::chrono::seconds kGrace{1};

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

// ncclCommInitRank blocks until all have come and cannot be called off; hence a thread of its own,
// which is left to itself where the network ends meanwhile.
struct Initialisation {
  ncclComm_t communicator = nullptr;
  ncclResult_t result = ncclSuccess;
  std::atomic<bool> done{false};
};

absl::StatusOr<ncclComm_t> Initialise(Transport& transport, ncclUniqueId id, int size, int rank,
                                      int device) {
  const auto state = std::make_shared<Initialisation>();
  std::thread thread([state, id, size, rank, device] {
    cudaSetDevice(device);
    state->result = ncclCommInitRank(&state->communicator, size, id, rank);
    state->done.store(true, std::memory_order_release);
  });
  Clock::time_point give_up = Clock::time_point::max();
  while (!state->done.load(std::memory_order_acquire)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (give_up == Clock::time_point::max()) {
      if (!transport.status().ok()) give_up = Clock::now() + kGrace;
    } else if (Clock::now() > give_up) {
      thread.detach();
      return transport.status();
    }
  }
  thread.join();
  WEFT_RETURN_IF_ERROR(NcclStatus(state->result, "ncclCommInitRank"));
  return state->communicator;
}

}  // namespace

absl::Status NcclStatus(ncclResult_t result, std::string_view what) {
  if (result == ncclSuccess) return absl::OkStatus();
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
    : transport_(transport), device_(device), monitor_(monitor), communicator_(communicator) {}

NcclGroup::~NcclGroup() {
  monitor_.Remove(this);
  if (communicator_ == nullptr) return;
  cudaSetDevice(device_);
  if (transport_.status().ok()) {
    (void)ncclCommDestroy(communicator_);
  } else {
    (void)ncclCommAbort(communicator_);
  }
}

absl::Status NcclGroup::Enqueue(std::string_view what,
                                absl::FunctionRef<ncclResult_t(ncclComm_t)> enqueue) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (communicator_ == nullptr) return aborted_;
  ncclResult_t result = ncclGroupStart();
  if (result == ncclSuccess) {
    result = enqueue(communicator_);
    const ncclResult_t end = ncclGroupEnd();
    if (result == ncclSuccess) result = end;
  }
  const absl::Status status = NcclStatus(result, what);
  if (!status.ok()) transport_.Poison(status);
  return status;
}

bool NcclGroup::Poll() {
  const Clock::time_point now = Clock::now();
  if (now - looked_ < kAskInterval) return false;
  looked_ = now;
  const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock() || communicator_ == nullptr) return false;
  const absl::Status network = transport_.status();
  if (!network.ok()) {
    Abort(network);
    return false;
  }
  ncclResult_t result = ncclSuccess;
  absl::Status status = NcclStatus(ncclCommGetAsyncError(communicator_, &result), "NCCL");
  if (status.ok()) status = NcclStatus(result, "NCCL, while the device worked");
  if (!status.ok()) {
    transport_.Poison(status);
    Abort(status);
  }
  return false;
}

void NcclGroup::Abort(const absl::Status& status) {
  aborted_ = status;
  (void)ncclCommAbort(communicator_);
  communicator_ = nullptr;
}

}  // namespace weft

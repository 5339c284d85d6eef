#include "runtime/cuda_stream.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <utility>

#include "runtime/cuda_driver.h"
#include "runtime/cuda_status.h"
#include "runtime/status.h"

namespace weft {
namespace {

// How often the monitor finds nothing new before it asks CUDA whether the stream still lives.
constexpr int64_t kLooksBeforeAsking = 250;

}  // namespace

CudaStream::CudaStream(std::string name, CUstream_st* native, int device, CudaMonitor& monitor)
    : Stream(std::move(name), native),
      native_(native),
      device_(device),
      monitor_(monitor),
      marks_(kMarks) {}

absl::StatusOr<std::unique_ptr<CudaStream>> CudaStream::Make(std::string name, int device,
                                                             CudaMonitor& monitor, bool urgent) {
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaSetDevice(device), "cudaSetDevice"));
  WEFT_RETURN_IF_ERROR(CheckCudaDriver());
  int least = 0, greatest = 0;
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaDeviceGetStreamPriorityRange(&least, &greatest),
                                  "cudaDeviceGetStreamPriorityRange"));
  cudaStream_t native = nullptr;
  WEFT_RETURN_IF_ERROR(CudaStatus(
      cudaStreamCreateWithPriority(&native, cudaStreamNonBlocking, urgent ? greatest : least),
      "cudaStreamCreate"));
  std::unique_ptr<CudaStream> stream(new CudaStream(std::move(name), native, device, monitor));
  void* counter = nullptr;
  WEFT_RETURN_IF_ERROR(CudaStatus(
      cudaHostAlloc(&counter, sizeof(int64_t), cudaHostAllocPortable | cudaHostAllocMapped),
      "cudaHostAlloc"));
  stream->counter_ = static_cast<volatile int64_t*>(counter);
  *stream->counter_ = 0;
  for (Mark& mark : stream->marks_) {
    WEFT_RETURN_IF_ERROR(CudaStatus(cudaEventCreateWithFlags(&mark.event, cudaEventDisableTiming),
                                    "cudaEventCreate"));
  }
  monitor.Add(stream.get());
  return stream;
}

CudaStream::~CudaStream() {
  cudaSetDevice(device_);
  cudaStreamSynchronize(native_);
  if (marks_.back().event != nullptr) monitor_.Remove(this);  // it was added last
  for (const Mark& mark : marks_) {
    if (mark.event != nullptr) cudaEventDestroy(mark.event);
  }
  if (counter_ != nullptr) cudaFreeHost(const_cast<int64_t*>(counter_));
  cudaStreamDestroy(native_);
}

void CudaStream::Push(const Task& task) {
  const int64_t position = submitted();
  if (!broken_.load(std::memory_order_acquire)) {
    absl::Status status = CudaStatus(cudaSetDevice(device_), "cudaSetDevice");
    if (status.ok() && task.run != nullptr) {
      task.run(task.context, task.argument);
      status = Record(position);
      if (status.ok() && !task.more) status = Signal(position);
    } else if (status.ok()) {
      status = WaitFor(*static_cast<const Stream*>(task.context), task.argument);
    }
    if (!status.ok()) Break(status);
  }
  pushed_.store(position, std::memory_order_release);
  monitor_.Wake();
}

absl::Status CudaStream::WaitFor(const Stream& other, int64_t position) {
  // Streams wait through the const pointer of an event; marks belong to this same thread.
  auto* const peer = dynamic_cast<CudaStream*>(const_cast<Stream*>(&other));
  if (peer == nullptr) {
    other.completed().Await(position);
    return absl::OkStatus();
  }
  WEFT_ASSIGN_OR_RETURN(CUevent_st* const event, peer->EventAt(position));
  return CudaStatus(cudaStreamWaitEvent(native_, event, 0), "cudaStreamWaitEvent");
}

absl::StatusOr<CUevent_st*> CudaStream::EventAt(int64_t position) {
  if (recorded_ == 0 || marks_[(recorded_ - 1) % kMarks].position < position) {
    WEFT_RETURN_IF_ERROR(Record(submitted()));
  }
  int64_t low = std::max<int64_t>(recorded_ - kMarks, 0), high = recorded_ - 1;
  while (low < high) {  // positions rise: the first that is not before
    const int64_t middle = (low + high) / 2;
    if (marks_[middle % kMarks].position < position) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return marks_[low % kMarks].event;
}

absl::Status CudaStream::Record(int64_t position) {
  Mark& mark = marks_[recorded_ % kMarks];
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaEventRecord(mark.event, native_), "cudaEventRecord"));
  mark.position = position;
  ++recorded_;
  return absl::OkStatus();
}

absl::Status CudaStream::Signal(int64_t position) {
  return WriteOnStream(native_, const_cast<int64_t*>(counter_), position);
}

void CudaStream::Break(const absl::Status& status) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!breakdown_) breakdown_ = Breakdown{status, completed_.value()};
  broken_.store(true, std::memory_order_release);
}

std::optional<Stream::Breakdown> CudaStream::breakdown() const {
  if (!broken_.load(std::memory_order_acquire)) return std::nullopt;
  const std::lock_guard<std::mutex> lock(mutex_);
  return breakdown_;
}

bool CudaStream::Poll() {
  const int64_t pushed = pushed_.load(std::memory_order_acquire);
  const int64_t done = broken_.load(std::memory_order_acquire) ? pushed : *counter_;
  std::atomic_thread_fence(std::memory_order_acquire);
  if (done > completed_.value()) {
    quiet_looks_ = 0;
    completed_.Advance(done);
  } else if (done < pushed && ++quiet_looks_ % kLooksBeforeAsking == 0) {
    const absl::Status alive = monitor_.AskDevice();
    if (!alive.ok()) Break(alive);
  }
  return completed_.value() < pushed;
}

}  // namespace weft

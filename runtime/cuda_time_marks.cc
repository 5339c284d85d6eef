#include "runtime/cuda_time_marks.h"

#include <cuda_runtime.h>

#include <cmath>
#include <limits>

#include "runtime/cuda_status.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Looks at both clocks, of which the quickest counts.
constexpr int kLooks = 16;

}  // namespace

absl::StatusOr<std::unique_ptr<CudaTimeMarks>> CudaTimeMarks::Make(int device, int64_t count) {
  std::unique_ptr<CudaTimeMarks> marks(new CudaTimeMarks(device));
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaSetDevice(device), "cudaSetDevice"));
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaStreamCreateWithFlags(&marks->stream_, cudaStreamNonBlocking),
                                  "cudaStreamCreate"));
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaEventCreate(&marks->anchor_), "cudaEventCreate"));
  marks->marks_.resize(count);
  for (Mark& mark : marks->marks_) {
    WEFT_RETURN_IF_ERROR(CudaStatus(cudaEventCreate(&mark.event), "cudaEventCreate"));
  }
  return marks;
}

CudaTimeMarks::~CudaTimeMarks() {
  cudaSetDevice(device_);
  for (const Mark& mark : marks_) {
    if (mark.event != nullptr) cudaEventDestroy(mark.event);
  }
  if (anchor_ != nullptr) cudaEventDestroy(anchor_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

void CudaTimeMarks::Set(int64_t index, void* native_stream) {
  Mark& mark = marks_[index];
  mark.enqueued = HostNanoseconds();
  anchor_at_ = 0;
  status_.Update(CudaStatus(cudaEventRecord(mark.event, static_cast<cudaStream_t>(native_stream)),
                            "cudaEventRecord"));
}

// CUDA tells milliseconds between events in 24 bits. The anchor is made when marks are read, so that
// what is told is short; of what lies a minute back a microsecond is lost in rounding.
absl::Status CudaTimeMarks::TieClocks() {
  WEFT_RETURN_IF_ERROR(status_);
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaSetDevice(device_), "cudaSetDevice"));
  int64_t least = std::numeric_limits<int64_t>::max();
  int64_t best_at = 0;
  float best_ms = 0;  // from the first look's event
  cudaEvent_t look = nullptr;
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaEventCreate(&look), "cudaEventCreate"));
  absl::Status status;
  for (int i = 0; i <= kLooks && status.ok(); ++i) {  // the first one makes the anchor
    const cudaEvent_t event = i == 0 ? anchor_ : look;
    const int64_t before = HostNanoseconds();
    status.Update(CudaStatus(cudaEventRecord(event, stream_), "cudaEventRecord"));
    status.Update(CudaStatus(cudaEventSynchronize(event), "cudaEventSynchronize"));
    const int64_t after = HostNanoseconds();
    float ms = 0;
    if (i > 0) {
      status.Update(CudaStatus(cudaEventElapsedTime(&ms, anchor_, event), "cudaEventElapsedTime"));
    }
    if (after - before >= least) continue;
    least = after - before;
    best_at = before + least / 2;
    best_ms = ms;
  }
  cudaEventDestroy(look);
  WEFT_RETURN_IF_ERROR(status);
  anchor_at_ = best_at - std::llround(best_ms * 1e6);
  return absl::OkStatus();
}

absl::StatusOr<TimeMark> CudaTimeMarks::Read(int64_t index) {
  const Mark& mark = marks_[index];
  if (mark.enqueued == 0) return TimeMark{};
  if (anchor_at_ == 0) WEFT_RETURN_IF_ERROR(TieClocks());
  float ms = 0;
  WEFT_RETURN_IF_ERROR(
      CudaStatus(cudaEventElapsedTime(&ms, mark.event, anchor_), "cudaEventElapsedTime"));
  return TimeMark{.at = anchor_at_ - std::llround(ms * 1e6), .enqueued = mark.enqueued};
}

}  // namespace weft

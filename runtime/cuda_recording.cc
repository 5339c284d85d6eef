#include "runtime/cuda_recording.h"

#include "runtime/cuda_status.h"
#include "runtime/status.h"

namespace weft {
namespace {

class CudaRecording final : public DeviceRecording {
 public:
  explicit CudaRecording(cudaGraphExec_t graph) : graph_(graph) {}
  ~CudaRecording() override { (void)cudaGraphExecDestroy(graph_); }
  absl::Status Replay(void* native_stream) override {
    return CudaStatus(cudaGraphLaunch(graph_, static_cast<cudaStream_t>(native_stream)),
                      "cudaGraphLaunch");
  }

 private:
  const cudaGraphExec_t graph_;
};

}  // namespace

absl::Status BeginCudaRecording(cudaStream_t stream) {
  return CudaStatus(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
                    "cudaStreamBeginCapture");
}

absl::StatusOr<std::unique_ptr<DeviceRecording>> EndCudaRecording(cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  WEFT_RETURN_IF_ERROR(CudaStatus(ended, "cudaStreamEndCapture"));
  cudaGraphExec_t ready = nullptr;
  const absl::Status status =
      CudaStatus(cudaGraphInstantiate(&ready, graph, 0), "cudaGraphInstantiate");
  (void)cudaGraphDestroy(graph);
  WEFT_RETURN_IF_ERROR(status);
  return std::make_unique<CudaRecording>(ready);
}

}  // namespace weft

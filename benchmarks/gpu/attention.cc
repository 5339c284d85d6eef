// cuDNN's attention on one GPU: forward (with log-sum-exp) and backward, bf16, causal, replayed
// from a CUDA graph; and whether it takes fp32 outputs, which decides who computes a ring's blocks.
// JSON lines.
//
//   attention
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <cudnn_frontend.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "timing.h"

namespace weft {
namespace {

namespace fe = cudnn_frontend;
using Values = std::unordered_map<int64_t, void*>;

// Values in [-1, 1), the same in every run.
std::vector<__nv_bfloat16> Random(int64_t count, uint32_t seed) {
  std::vector<__nv_bfloat16> values(count);
  std::minstd_rand engine(seed);
  for (__nv_bfloat16& value : values) {
    value = __float2bfloat16(static_cast<float>(engine()) * (2.0f / 2147483647.0f) - 1.0f);
  }
  return values;
}

struct Case {
  int64_t batch, heads, sequence, head_dim;
};

enum Uid : int64_t { kQ = 1, kK, kV, kO, kLse, kDo, kDq, kDk, kDv };

// [batch, heads, sequence, head_dim] stored as [batch, sequence, heads, head_dim].
fe::graph::Tensor_attributes Operand(const Case& c, Uid uid, fe::DataType_t type) {
  fe::graph::Tensor_attributes tensor;
  tensor.set_dim({c.batch, c.heads, c.sequence, c.head_dim})
      .set_stride({c.sequence * c.heads * c.head_dim, c.head_dim, c.heads * c.head_dim, 1})
      .set_data_type(type)
      .set_uid(uid);
  return tensor;
}

void SetOutput(fe::graph::Tensor_attributes& tensor, const Case& c, Uid uid, fe::DataType_t type) {
  tensor = Operand(c, uid, type);
  tensor.set_output(true);
}

std::shared_ptr<fe::graph::Graph> NewGraph() {
  auto graph = std::make_shared<fe::graph::Graph>();
  graph->set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  return graph;
}

fe::graph::Tensor_attributes Lse(const Case& c) {
  fe::graph::Tensor_attributes lse;
  lse.set_dim({c.batch, c.heads, c.sequence, 1})
      .set_stride({c.heads * c.sequence, c.sequence, 1, 1})
      .set_data_type(fe::DataType_t::FLOAT)
      .set_uid(kLse);
  return lse;
}

std::shared_ptr<fe::graph::Graph> Forward(const Case& c, fe::DataType_t output_type) {
  auto graph = NewGraph();
  const auto bf16 = fe::DataType_t::BFLOAT16;
  auto q = graph->tensor(Operand(c, kQ, bf16));
  auto k = graph->tensor(Operand(c, kK, bf16));
  auto v = graph->tensor(Operand(c, kV, bf16));
  auto options = fe::graph::SDPA_attributes()
                     .set_name("attention")
                     .set_generate_stats(true)
                     .set_attn_scale(1.0f / std::sqrt(static_cast<float>(c.head_dim)));
  options.set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
      .set_diagonal_band_right_bound(0);
  auto [o, lse] = graph->sdpa(q, k, v, options);
  SetOutput(*o, c, kO, output_type);
  *lse = Lse(c);
  lse->set_output(true);
  return graph;
}

std::shared_ptr<fe::graph::Graph> Backward(const Case& c, fe::DataType_t gradient_type) {
  auto graph = NewGraph();
  const auto bf16 = fe::DataType_t::BFLOAT16;
  auto q = graph->tensor(Operand(c, kQ, bf16));
  auto k = graph->tensor(Operand(c, kK, bf16));
  auto v = graph->tensor(Operand(c, kV, bf16));
  auto o = graph->tensor(Operand(c, kO, bf16));
  auto d_o = graph->tensor(Operand(c, kDo, bf16));
  auto lse = graph->tensor(Lse(c));
  auto options = fe::graph::SDPA_backward_attributes()
                     .set_name("attention_grad")
                     .set_attn_scale(1.0f / std::sqrt(static_cast<float>(c.head_dim)));
  options.set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
      .set_diagonal_band_right_bound(0);
  auto [dq, dk, dv] = graph->sdpa_backward(q, k, v, o, d_o, lse, options);
  SetOutput(*dq, c, kDq, gradient_type);
  SetOutput(*dk, c, kDk, gradient_type);
  SetOutput(*dv, c, kDv, gradient_type);
  return graph;
}

// Empty if the library can run it; else its reason.
std::string Build(fe::graph::Graph& graph, cudnnHandle_t handle) {
  const std::function<fe::error_t()> steps[] = {
      [&] { return graph.validate(); }, [&] { return graph.build_operation_graph(handle); },
      [&] { return graph.create_execution_plans({fe::HeurMode_t::A}); },
      [&] { return graph.check_support(handle); }, [&] { return graph.build_plans(handle); }};
  for (const auto& step : steps) {
    fe::error_t error = step();
    if (error.is_bad()) return error.get_message().empty() ? "refused" : error.get_message();
  }
  return "";
}

std::string OneLine(std::string text) {
  for (char& c : text) {
    if (c == '"' || c == '\n' || c == '\\') c = ' ';
  }
  return text.substr(0, 200);
}

void Support(cudnnHandle_t handle, const Case& c) {
  const auto f32 = fe::DataType_t::FLOAT;
  const std::string forward = Build(*Forward(c, f32), handle);
  const std::string backward = Build(*Backward(c, f32), handle);
  std::printf(
      "{\"benchmark\": \"gpu_attention_support\", \"fp32_output\": \"%s\", "
      "\"fp32_gradients\": \"%s\"}\n",
      forward.empty() ? "yes" : OneLine(forward).c_str(),
      backward.empty() ? "yes" : OneLine(backward).c_str());
}

// Seconds of one execution, from a graph of `kRepeats` of them.
double Replay(cudnnHandle_t handle, fe::graph::Graph& graph, Values& values, void* workspace,
              cudaStream_t stream) {
  constexpr int kRepeats = 10;
  CheckCuda(cudaStreamSynchronize(stream), "sync");
  if (graph.execute(handle, values, workspace).is_bad()) return 0;
  CheckCuda(cudaStreamSynchronize(stream), "first execution");
  cudaGraph_t captured;
  cudaGraphExec_t executable;
  CheckCuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  for (int i = 0; i < kRepeats; ++i) {
    if (graph.execute(handle, values, workspace).is_bad()) std::printf("execute failed\n");
  }
  CheckCuda(cudaStreamEndCapture(stream, &captured), "capture");
  CheckCuda(cudaGraphInstantiate(&executable, captured, 0), "instantiate");
  CudaTimer timer(stream);
  const double seconds =
      timer.MedianSeconds(5, 2, [&] { cudaGraphLaunch(executable, stream); }) / kRepeats;
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(captured);
  return seconds;
}

void Measure(cudnnHandle_t handle, const Case& c, cudaStream_t stream) {
  const int64_t elements = c.batch * c.heads * c.sequence * c.head_dim;
  Values values;
  std::vector<void*> owned;
  for (Uid uid : {kQ, kK, kV, kO, kDo, kDq, kDk, kDv}) {
    auto* data = DeviceAlloc<__nv_bfloat16>(elements);
    const std::vector<__nv_bfloat16> host = Random(elements, 1 + static_cast<uint32_t>(uid));
    CheckCuda(cudaMemcpy(data, host.data(), elements * sizeof(host[0]), cudaMemcpyHostToDevice),
              "cudaMemcpy");
    values[uid] = data;
    owned.push_back(data);
  }
  values[kLse] = DeviceAlloc<float>(c.batch * c.heads * c.sequence);
  owned.push_back(values[kLse]);
  double seconds[2] = {0, 0};
  std::string errors[2];
  for (int backward = 0; backward < 2; ++backward) {
    auto graph = backward == 0 ? Forward(c, fe::DataType_t::BFLOAT16)
                               : Backward(c, fe::DataType_t::BFLOAT16);
    errors[backward] = Build(*graph, handle);
    if (!errors[backward].empty()) continue;
    int64_t bytes = 0;
    if (graph->get_workspace_size(bytes).is_bad()) continue;
    void* const workspace = DeviceAlloc<char>(bytes + 1);
    owned.push_back(workspace);
    seconds[backward] = Replay(handle, *graph, values, workspace, stream);
  }
  for (void* data : owned) cudaFree(data);
  // Causal: half of the pairs; 4 operations a pair and dimension forward, 10 backward.
  const double pairs =
      0.5 * static_cast<double>(c.batch * c.heads) * c.sequence * c.sequence * c.head_dim;
  std::printf(
      "{\"benchmark\": \"gpu_attention\", \"cudnn\": %zu, \"batch\": %lld, \"heads\": %lld, "
      "\"sequence\": %lld, \"forward_tflops\": %.1f, \"backward_tflops\": %.1f%s%s%s}\n",
      cudnnGetVersion(), static_cast<long long>(c.batch), static_cast<long long>(c.heads),
      static_cast<long long>(c.sequence), seconds[0] > 0 ? 4 * pairs / seconds[0] * 1e-12 : 0.0,
      seconds[1] > 0 ? 10 * pairs / seconds[1] * 1e-12 : 0.0,
      (errors[0] + errors[1]).empty() ? "" : ", \"error\": \"",
      OneLine(errors[0] + errors[1]).c_str(), (errors[0] + errors[1]).empty() ? "" : "\"");
  std::fflush(stdout);
}

int Main() {
  cudnnHandle_t handle;
  if (cudnnCreate(&handle) != CUDNN_STATUS_SUCCESS) {
    std::printf("{\"benchmark\": \"gpu_attention\", \"error\": \"cudnnCreate failed\"}\n");
    return 1;
  }
  cudaStream_t stream;
  CheckCuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  cudnnSetStream(handle, stream);
  Support(handle, {1, 16, 4096, 128});
  for (const Case& c : {Case{4, 16, 4096, 128}, Case{1, 16, 4096, 128}, Case{1, 16, 16384, 128},
                        Case{1, 16, 65536, 128}}) {
    Measure(handle, c, stream);
  }
  return 0;
}

}  // namespace
}  // namespace weft

int main() { return weft::Main(); }

// The ceilings of a training step on one GPU: copy bandwidth of its memory, and the rate of bf16
// matrix products of the 1.36 B decoder, by shape, cold and sustained, and with fewer SMs than
// there are. Random data: zeros run faster than anything real. JSON lines.
//
//   gemm [--seconds 1.5]      length of each sustained loop
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "timing.h"

namespace weft {
namespace {

constexpr int64_t kWorkspaceBytes = int64_t{64} << 20;

__global__ void FillRandom(__nv_bfloat16* data, int64_t count, uint32_t seed) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    uint32_t h = static_cast<uint32_t>(i) * 2654435761u + seed;
    h = (h ^ (h >> 16)) * 2246822519u;
    h = (h ^ (h >> 13)) * 3266489917u;
    h ^= h >> 16;
    data[i] = __float2bfloat16(static_cast<float>(h >> 8) * (2.0f / (1 << 24)) - 1.0f);
  }
}

void CheckBlas(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  std::fprintf(stderr, "%s: %s\n", what, cublasLtGetStatusString(status));
  std::exit(1);
}

// C[m,n] (+)= A[m,k] B[k,n], all row-major; a weight gradient has A transposed and adds to float.
struct Product {
  const char* name;
  int64_t m, n, k;
  bool transpose_a, transpose_b, weight_gradient;
};

class Gemm {
 public:
  Gemm(cublasLtHandle_t handle, const Product& product, int sm_count)
      : handle_(handle), product_(product) {
    CheckBlas(cublasLtMatmulDescCreate(&desc_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "desc");
    // Row-major C = A B is column-major C' = B' A'.
    Set(CUBLASLT_MATMUL_DESC_TRANSA, product.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    Set(CUBLASLT_MATMUL_DESC_TRANSB, product.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (sm_count > 0) Set(CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET, sm_count);
    first_ = product.transpose_b ? Layout(CUDA_R_16BF, product.k, product.n)
                                 : Layout(CUDA_R_16BF, product.n, product.k);
    second_ = product.transpose_a ? Layout(CUDA_R_16BF, product.m, product.k)
                                  : Layout(CUDA_R_16BF, product.k, product.m);
    result_ = Layout(product.weight_gradient ? CUDA_R_32F : CUDA_R_16BF, product.n, product.m);
    cublasLtMatmulPreference_t preference;
    CheckBlas(cublasLtMatmulPreferenceCreate(&preference), "preference");
    CheckBlas(
        cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                             &kWorkspaceBytes, sizeof(kWorkspaceBytes)),
        "workspace");
    CheckBlas(cublasLtMatmulAlgoGetHeuristic(handle, desc_, first_, second_, result_, result_,
                                             preference, kCandidates, candidates_, &found_),
              product.name);
    cublasLtMatmulPreferenceDestroy(preference);
  }

  int candidates() const { return found_; }
  bool Run(int candidate, const void* a, const void* b, void* c, void* workspace,
           cudaStream_t stream) const {
    const float alpha = 1, beta = product_.weight_gradient ? 1.0f : 0.0f;
    return cublasLtMatmul(handle_, desc_, &alpha, b, first_, a, second_, &beta, c, result_, c,
                          result_, &candidates_[candidate].algo, workspace, kWorkspaceBytes,
                          stream) == CUBLAS_STATUS_SUCCESS;
  }
  double flops() const { return 2.0 * product_.m * product_.n * product_.k; }

 private:
  template <typename T>
  void Set(cublasLtMatmulDescAttributes_t attribute, T value) {
    CheckBlas(cublasLtMatmulDescSetAttribute(desc_, attribute, &value, sizeof(value)), "attribute");
  }
  static cublasLtMatrixLayout_t Layout(cudaDataType_t type, int64_t rows, int64_t columns) {
    cublasLtMatrixLayout_t layout;
    CheckBlas(cublasLtMatrixLayoutCreate(&layout, type, rows, columns, rows), "layout");
    return layout;
  }

  cublasLtHandle_t handle_;
  Product product_;
  cublasLtMatmulDesc_t desc_ = nullptr;
  cublasLtMatrixLayout_t first_ = nullptr, second_ = nullptr, result_ = nullptr;
  static constexpr int kCandidates = 16;
  // No vector: nvcc 13.0 fails on one of an unnamed struct.
  cublasLtMatmulHeuristicResult_t candidates_[kCandidates];
  int found_ = 0;
};

struct Buffers {
  __nv_bfloat16* a;
  __nv_bfloat16* b;
  void* c;
  void* workspace;
};

double Sustained(const Gemm& gemm, int candidate, const Buffers& buffers, cudaStream_t stream,
                 double seconds) {
  CudaTimer timer(stream);
  const auto begin = std::chrono::steady_clock::now();
  double last = 0;
  while (std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() <
         seconds) {
    last = timer.Seconds(20, [&] {
      gemm.Run(candidate, buffers.a, buffers.b, buffers.c, buffers.workspace, stream);
    });
  }
  return last;  // the end of the loop, when the card is warm
}

void Measure(cublasLtHandle_t handle, const Product& product, int sm_count, const Buffers& buffers,
             cudaStream_t stream, double seconds) {
  const Gemm gemm(handle, product, sm_count);
  CudaTimer timer(stream);
  int best = -1;
  double best_seconds = 1e30, first_seconds = 0;
  for (int i = 0; i < gemm.candidates(); ++i) {
    if (!gemm.Run(i, buffers.a, buffers.b, buffers.c, buffers.workspace, stream)) continue;
    const double time = timer.MedianSeconds(
        3, 4, [&] { gemm.Run(i, buffers.a, buffers.b, buffers.c, buffers.workspace, stream); });
    if (i == 0) first_seconds = time;
    if (time < best_seconds) {
      best_seconds = time;
      best = i;
    }
  }
  if (best < 0) {
    std::printf("{\"benchmark\": \"gpu_gemm\", \"product\": \"%s\", \"error\": \"no algorithm\"}\n",
                product.name);
    return;
  }
  const double sustained = seconds > 0 ? Sustained(gemm, best, buffers, stream, seconds) : 0;
  std::printf(
      "{\"benchmark\": \"gpu_gemm\", \"product\": \"%s\", \"m\": %lld, \"n\": %lld, \"k\": %lld, "
      "\"sms\": %d, \"candidates\": %d, \"best\": %d, \"first_tflops\": %.1f, "
      "\"burst_tflops\": %.1f, \"sustained_tflops\": %.1f}\n",
      product.name, static_cast<long long>(product.m), static_cast<long long>(product.n),
      static_cast<long long>(product.k), sm_count, gemm.candidates(), best,
      gemm.flops() / first_seconds * 1e-12, gemm.flops() / best_seconds * 1e-12,
      sustained > 0 ? gemm.flops() / sustained * 1e-12 : 0.0);
  std::fflush(stdout);
}

int Main(double seconds) {
  cudaDeviceProp properties;
  CheckCuda(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  cudaStream_t stream;
  CheckCuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  constexpr int64_t kTokens = 16384, kVocabulary = 32000, kHidden = 2048, kFfn = 5632;
  const Buffers buffers{DeviceAlloc<__nv_bfloat16>(kTokens * kVocabulary),
                        DeviceAlloc<__nv_bfloat16>(kTokens * kVocabulary),
                        DeviceAlloc<float>(kTokens * kVocabulary),
                        DeviceAlloc<char>(kWorkspaceBytes)};
  FillRandom<<<1024, 256, 0, stream>>>(buffers.a, kTokens * kVocabulary, 1);
  CheckCuda(cudaGetLastError(), "FillRandom");
  FillRandom<<<1024, 256, 0, stream>>>(buffers.b, kTokens * kVocabulary, 2);
  CheckCuda(cudaGetLastError(), "FillRandom");
  CheckCuda(cudaMemsetAsync(buffers.c, 0, kTokens * kVocabulary * 4, stream), "memset");

  CudaTimer timer(stream);
  const int64_t copied = kTokens * kVocabulary * 2;
  const double copy = timer.MedianSeconds(5, 5, [&] {
    CheckCuda(cudaMemcpyAsync(buffers.c, buffers.a, copied, cudaMemcpyDeviceToDevice, stream),
              "copy");
  });
  std::printf(
      "{\"benchmark\": \"gpu_copy\", \"device\": \"%s\", \"sms\": %d, \"bytes\": %lld, "
      "\"gb_per_s\": %.0f}\n",
      properties.name, properties.multiProcessorCount, static_cast<long long>(copied),
      2.0 * copied / copy * 1e-9);

  cublasLtHandle_t handle;
  CheckBlas(cublasLtCreate(&handle), "cublasLtCreate");
  const std::vector<Product> products = {
      {"qkv", kTokens, 3 * kHidden, kHidden, false, false, false},
      {"attention_out", kTokens, kHidden, kHidden, false, false, false},
      {"gate_up", kTokens, 2 * kFfn, kHidden, false, false, false},
      {"down", kTokens, kHidden, kFfn, false, false, false},
      {"head", kTokens, kVocabulary, kHidden, false, false, false},
      {"gate_up_dx", kTokens, kHidden, 2 * kFfn, false, true, false},
      {"down_dx", kTokens, kFfn, kHidden, false, true, false},
      {"gate_up_dw", kHidden, 2 * kFfn, kTokens, true, false, true},
      {"down_dw", kFfn, kHidden, kTokens, true, false, true},
      {"qkv_dw", kHidden, 3 * kHidden, kTokens, true, false, true},
      {"square_8192", 8192, 8192, 8192, false, false, false},
  };
  for (const Product& product : products) Measure(handle, product, 0, buffers, stream, seconds);
  for (int sms : {124, 116, 108, 100}) {
    Measure(handle, products[2], sms, buffers, stream, 0);
    Measure(handle, products[7], sms, buffers, stream, 0);
  }
  return 0;
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  double seconds = 1.5;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::string(argv[i]) == "--seconds") seconds = std::atof(argv[i + 1]);
  }
  return weft::Main(seconds);
}

// How fast two GPUs of one host exchange bytes, by who moves them: a kernel that writes or reads
// the peer's memory, bulk copies of a kernel's copy engine (cp.async.bulk), each by number of
// blocks, and the card's copy engines. One process sees both GPUs. JSON lines.
//
//   peer [--megabytes 64]
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "timing.h"

namespace weft {
namespace {

constexpr int kThreads = 512;

// Each thread keeps four 16-byte loads in flight.
__global__ void CopyKernel(const uint4* from, uint4* to, int64_t count) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (; i + 3 * stride < count; i += 4 * stride) {
    const uint4 a = from[i], b = from[i + stride], c = from[i + 2 * stride],
                d = from[i + 3 * stride];
    to[i] = a;
    to[i + stride] = b;
    to[i + 2 * stride] = c;
    to[i + 3 * stride] = d;
  }
  for (; i < count; i += stride) to[i] = from[i];
}

// One thread a block moves pieces through shared memory: global -> shared by a bulk copy that an
// mbarrier completes, shared -> global by a bulk store; two stages.
constexpr int kBulkBytes = 32 << 10;

__global__ void BulkKernel(const char* from, char* to, int64_t bytes) {
  extern __shared__ __align__(128) char stage[];
  __shared__ __align__(8) uint64_t barrier[2];
  if (threadIdx.x != 0) return;
  uint32_t barrier_address[2], stage_address[2];
  for (int s = 0; s < 2; ++s) {
    barrier_address[s] = static_cast<uint32_t>(__cvta_generic_to_shared(&barrier[s]));
    stage_address[s] = static_cast<uint32_t>(__cvta_generic_to_shared(stage + s * kBulkBytes));
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(barrier_address[s]));
  }
  asm volatile("fence.proxy.async.shared::cta;");
  const int64_t pieces = bytes / kBulkBytes;
  uint32_t phase[2] = {0, 0};
  const auto load = [&](int64_t piece, int s) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier_address[s]),
                 "r"(kBulkBytes));
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
            "r"(stage_address[s]),
        "l"(from + piece * kBulkBytes), "r"(kBulkBytes), "r"(barrier_address[s])
        : "memory");
  };
  int s = 0;
  if (blockIdx.x < pieces) load(blockIdx.x, 0);
  for (int64_t piece = blockIdx.x; piece < pieces; piece += gridDim.x) {
    asm volatile(
        "{\n.reg .pred done;\nwait_%=:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@!done bra wait_%=;\n}" ::"r"(
            barrier_address[s]),
        "r"(phase[s])
        : "memory");
    phase[s] ^= 1;
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(
                     to + piece * kBulkBytes),
                 "r"(stage_address[s]), "r"(kBulkBytes)
                 : "memory");
    asm volatile("cp.async.bulk.commit_group;");
    s ^= 1;
    // The other stage's store has read its shared memory once at most one group is left.
    asm volatile("cp.async.bulk.wait_group.read 1;" ::: "memory");
    if (piece + gridDim.x < pieces) load(piece + gridDim.x, s);
  }
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

void Print(const char* mover, int blocks, int64_t bytes, double seconds) {
  std::printf(
      "{\"benchmark\": \"gpu_peer\", \"mover\": \"%s\", \"blocks\": %d, \"bytes\": %lld, "
      "\"gb_per_s\": %.1f}\n",
      mover, blocks, static_cast<long long>(bytes), static_cast<double>(bytes) / seconds * 1e-9);
  std::fflush(stdout);
}

int Main(int64_t bytes) {
  int devices = 0;
  CheckCuda(cudaGetDeviceCount(&devices), "cudaGetDeviceCount");
  if (devices < 2) {
    std::printf("{\"benchmark\": \"gpu_peer\", \"error\": \"%d GPU; needs 2\"}\n", devices);
    return 0;
  }
  int access = 0;
  CheckCuda(cudaDeviceCanAccessPeer(&access, 0, 1), "cudaDeviceCanAccessPeer");
  if (access == 0) {
    std::printf("{\"benchmark\": \"gpu_peer\", \"error\": \"no peer access\"}\n");
    return 0;
  }
  CheckCuda(cudaSetDevice(1), "cudaSetDevice");
  CheckCuda(cudaDeviceEnablePeerAccess(0, 0), "cudaDeviceEnablePeerAccess");
  char* const remote = DeviceAlloc<char>(bytes);
  CheckCuda(cudaMemset(remote, 1, bytes), "memset");
  CheckCuda(cudaDeviceSynchronize(), "sync");
  CheckCuda(cudaSetDevice(0), "cudaSetDevice");
  CheckCuda(cudaDeviceEnablePeerAccess(1, 0), "cudaDeviceEnablePeerAccess");
  char* const local = DeviceAlloc<char>(bytes);
  CheckCuda(cudaMemset(local, 2, bytes), "memset");
  cudaStream_t stream;
  CheckCuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  CheckCuda(
      cudaFuncSetAttribute(BulkKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 2 * kBulkBytes),
      "shared memory");
  CudaTimer timer(stream);
  const auto vectors = [](char* data) { return reinterpret_cast<uint4*>(data); };
  for (int blocks : {1, 2, 4, 8, 16, 32, 64, 132}) {
    Print("write", blocks, bytes, timer.MedianSeconds(5, 3, [&] {
      CopyKernel<<<blocks, kThreads, 0, stream>>>(vectors(local), vectors(remote), bytes / 16);
    }));
    Print("read", blocks, bytes, timer.MedianSeconds(5, 3, [&] {
      CopyKernel<<<blocks, kThreads, 0, stream>>>(vectors(remote), vectors(local), bytes / 16);
    }));
    Print("bulk_write", blocks, bytes, timer.MedianSeconds(5, 3, [&] {
      BulkKernel<<<blocks, 32, 2 * kBulkBytes, stream>>>(local, remote, bytes);
    }));
    Print("bulk_read", blocks, bytes, timer.MedianSeconds(5, 3, [&] {
      BulkKernel<<<blocks, 32, 2 * kBulkBytes, stream>>>(remote, local, bytes);
    }));
    CheckCuda(cudaGetLastError(), "kernels");
  }
  Print("copy_engine", 0, bytes, timer.MedianSeconds(5, 3, [&] {
    CheckCuda(cudaMemcpyAsync(remote, local, bytes, cudaMemcpyDeviceToDevice, stream), "copy");
  }));
  return 0;
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  int64_t megabytes = 64;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::string(argv[i]) == "--megabytes") megabytes = std::atoll(argv[i + 1]);
  }
  return weft::Main(megabytes << 20);
}

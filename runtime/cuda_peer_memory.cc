#include "runtime/cuda_peer_memory.h"

#include <cuda_runtime.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/cuda_driver.h"
#include "runtime/cuda_status.h"
#include "runtime/status.h"

namespace weft {
namespace {

// The same on all processes of a host until it boots again; empty where the system does not say.
std::string HostWord() {
  std::string word;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> word;
  return word;
}

// Process numbers are not enough: containers of one host may use a number twice.
const std::string& ProcessWord() {
  static const std::string word = [] {
    std::random_device random;
    return absl::StrCat(getpid(), "-", random(), "-", random());
  }();
  return word;
}

absl::Status Unreachable(const std::string& why) { return absl::FailedPreconditionError(why); }

// Within a process the other GPU's addresses are good as they are, once access is enabled.
absl::Status EnableAccess(int from, int to) {
  if (from == to) return absl::OkStatus();
  int can = 0;
  WEFT_RETURN_IF_ERROR(
      CudaStatus(cudaDeviceCanAccessPeer(&can, from, to), "cudaDeviceCanAccessPeer"));
  if (can == 0) return Unreachable("the GPUs do not reach each other's memory");
  const cudaError_t error = cudaDeviceEnablePeerAccess(to, 0);
  if (error == cudaErrorPeerAccessAlreadyEnabled) {
    (void)cudaGetLastError();
    return absl::OkStatus();
  }
  return CudaStatus(error, "cudaDeviceEnablePeerAccess");
}

}  // namespace

absl::Status SayWho(int ordinal, PeerTable* table) {
  char address[32];
  WEFT_RETURN_IF_ERROR(
      CudaStatus(cudaDeviceGetPCIBusId(address, sizeof address, ordinal), "cudaDeviceGetPCIBusId"));
  table->set_host(HostWord());
  table->set_process(ProcessWord());
  table->set_device(address);
  table->set_ordinal(ordinal);
  return absl::OkStatus();
}

absl::Status CudaPeerExports::Add(const void* address, PeerTable::Place* place) {
  WEFT_ASSIGN_OR_RETURN(const CudaAllocation whole, CudaAllocationOf(address));
  const auto [it, is_new] = allocations_.try_emplace(whole.address, table_->allocations_size());
  if (is_new) {
    PeerTable::Allocation* allocation = table_->add_allocations();
    allocation->set_address(reinterpret_cast<uint64_t>(whole.address));
    allocation->set_bytes(static_cast<uint64_t>(whole.bytes));
    cudaIpcMemHandle_t handle;
    const cudaError_t error = cudaIpcGetMemHandle(&handle, whole.address);
    if (error == cudaSuccess) {
      allocation->set_handle(&handle, sizeof handle);
    } else {
      (void)cudaGetLastError();  // other processes do without
    }
  }
  place->set_allocation(it->second);
  place->set_offset(static_cast<uint64_t>(static_cast<const char*>(address) - whole.address));
  return absl::OkStatus();
}

CudaPeerImports& CudaPeerImports::operator=(CudaPeerImports&& other) noexcept {
  std::swap(mappings_, other.mappings_);
  std::swap(closes_, other.closes_);
  return *this;
}

CudaPeerImports::~CudaPeerImports() {
  if (!closes_) return;
  for (const Mapping& mapping : mappings_) {
    if (cudaIpcCloseMemHandle(mapping.data) != cudaSuccess) (void)cudaGetLastError();
  }
}

absl::StatusOr<CudaPeerImports> CudaPeerImports::Open(const PeerTable& mine,
                                                      const PeerTable& theirs) {
  CudaPeerImports imports;
  if (mine.host().empty() || mine.host() != theirs.host()) {
    return Unreachable("it is on another host");
  }
  if (mine.process() == theirs.process()) {
    WEFT_RETURN_IF_ERROR(EnableAccess(mine.ordinal(), theirs.ordinal()));
    for (const PeerTable::Allocation& allocation : theirs.allocations()) {
      imports.mappings_.push_back(
          {reinterpret_cast<char*>(allocation.address()), allocation.bytes()});
    }
    return imports;
  }
  if (mine.device() != theirs.device()) {
    int there = -1, can = 0;
    if (cudaDeviceGetByPCIBusId(&there, theirs.device().c_str()) != cudaSuccess) {
      (void)cudaGetLastError();
      return Unreachable("this process does not see its GPU");
    }
    WEFT_RETURN_IF_ERROR(CudaStatus(cudaDeviceCanAccessPeer(&can, mine.ordinal(), there),
                                    "cudaDeviceCanAccessPeer"));
    if (can == 0) return Unreachable("the GPUs do not reach each other's memory");
  }
  imports.closes_ = true;
  for (const PeerTable::Allocation& allocation : theirs.allocations()) {
    cudaIpcMemHandle_t handle;
    if (allocation.handle().size() != sizeof handle) {
      return Unreachable("its memory has no interprocess handle");
    }
    std::memcpy(&handle, allocation.handle().data(), sizeof handle);
    void* data = nullptr;
    const absl::Status opened =
        CudaStatus(cudaIpcOpenMemHandle(&data, handle, cudaIpcMemLazyEnablePeerAccess),
                   "cudaIpcOpenMemHandle");
    if (!opened.ok()) return Unreachable(std::string(opened.message()));
    imports.mappings_.push_back({static_cast<char*>(data), allocation.bytes()});
  }
  return imports;
}

absl::StatusOr<char*> CudaPeerImports::At(const PeerTable::Place& place) const {
  if (place.allocation() < 0 || place.allocation() >= static_cast<int>(mappings_.size()) ||
      place.offset() >= mappings_[place.allocation()].bytes) {
    return absl::InvalidArgumentError(absl::StrCat("offset ", place.offset(), " of allocation ",
                                                   place.allocation(), " of ", mappings_.size()));
  }
  return mappings_[place.allocation()].data + place.offset();
}

}  // namespace weft

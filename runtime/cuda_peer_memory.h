// How one rank's copies reach memory of another's GPU on the same host: pointers within a process,
// CUDA's interprocess handles between processes. CUDA C++ Programming Guide, "Peer-to-Peer Memory
// Access" and "Interprocess Communication".
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/peer_table.pb.h"

namespace weft {

// Notes who this rank is: host, process and GPU `ordinal`, the calling thread's device.
absl::Status SayWho(int ordinal, PeerTable* table);

// Memory of this rank as a table for others has it. One per table.
class CudaPeerExports {
 public:
  // `table` outlives it.
  explicit CudaPeerExports(PeerTable* table) : table_(table) {}
  // `address` lies in an allocation of cudaMalloc. Errors: CUDA's.
  absl::Status Add(const void* address, PeerTable::Place* place);

 private:
  PeerTable* const table_;
  std::map<const void*, int> allocations_;  // by where they begin
};

// Memory of another rank, for copies of this one's GPU. What is under way has ended before it goes.
class CudaPeerImports {
 public:
  CudaPeerImports() = default;
  CudaPeerImports(CudaPeerImports&& other) noexcept { *this = std::move(other); }
  CudaPeerImports& operator=(CudaPeerImports&& other) noexcept;
  ~CudaPeerImports();

  // `mine` says who this rank is, `theirs` is the other's table. FailedPrecondition, with the
  // reason, where this rank's GPU does not reach the other's. The thread's device is this rank's.
  static absl::StatusOr<CudaPeerImports> Open(const PeerTable& mine, const PeerTable& theirs);
  // InvalidArgument for a place outside the other's allocations.
  absl::StatusOr<char*> At(const PeerTable::Place& place) const;

 private:
  struct Mapping {
    char* data = nullptr;
    uint64_t bytes = 0;
  };
  std::vector<Mapping> mappings_;
  bool closes_ = false;  // they are this process's to close
};

}  // namespace weft

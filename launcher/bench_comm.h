// `weft bench comm`: what collectives take on these ranks, size by size as nccl-tests measures
// them, over all ranks or over the groups along each axis of a mesh; and from that what messages
// cost.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/mesh.h"
#include "launcher/collective_case.h"
#include "launcher/link_fit.h"
#include "runtime/transport.h"

namespace weft {

struct CommBenchOptions {
  std::vector<Collective> collectives;  // empty: all
  int64_t min_bytes = 8;
  int64_t max_bytes = 16 << 20;
  double factor = 2;       // from one size to the next; 1: by step_bytes
  int64_t step_bytes = 0;  // above 0 with factor 1
  int iterations = 20;
  int warmup = 5;
  Monoid monoid = Monoid::kSum;
  DType dtype = DType::kF32;
  bool check = true;
  std::optional<Mesh> mesh;  // none: one group of all ranks
  bool links = false;        // sendrecv is measured in any case, and links are fitted
};

// InvalidArgument in terms of the command's flags, for `ranks` ranks; ResourceExhausted if buffers
// of `local_ranks` of them, those in this process, exceed the machine.
absl::Status CheckCommBench(const CommBenchOptions& options, int ranks, int local_ranks);

// The sizes to measure, ascending.
std::vector<int64_t> BenchSizes(const CommBenchOptions& options);
// "8", "64K", "32M", "1G" (powers of 1024) as bytes; InvalidArgument says what is expected.
absl::StatusOr<int64_t> ParseBytes(const std::string& text);
// A dtype by weft's name or that of nccl-tests ("float", "bfloat16", ...).
absl::StatusOr<DType> ParseBenchDType(const std::string& name);

// One line: a collective at a size. The same on all ranks.
struct CommResult {
  struct Pass {
    double seconds = 0;  // of a call on the slowest rank of all groups
    double algbw = 0;    // bytes per second: size / seconds
    double busbw = 0;    // algbw * BusFactor
    int64_t wrong = -1;  // elements, over all ranks; -1: not checked
  };
  Collective collective = Collective::kAllReduce;
  std::string axis;  // empty: all ranks, without a mesh
  int group = 1;     // ranks of a group
  int64_t bytes = 0, count = 0;
  DType dtype = DType::kF32;
  Monoid monoid = Monoid::kSum;
  Pass out_of_place;
  std::optional<Pass> in_place;
};

// Makes this rank's communicator of a group.
using MakeCommunicator = std::function<absl::StatusOr<std::unique_ptr<Communicator>>(
    Transport& transport, std::vector<int> world_ranks, uint32_t tag)>;

struct CommBenchReport {
  int64_t wrong = 0;                     // elements of all results
  std::vector<CostModel::Group> groups;  // fitted; only if asked for
};

// Every rank of `transport` calls it with equal, checked options, on one thread; blocks. The groups
// along an axis work at once. `on_result` gets each result as it is there, on every rank. Errors:
// those of the communicators and of FitLink.
absl::StatusOr<CommBenchReport> BenchComm(Transport& transport, const CommBenchOptions& options,
                                          const MakeCommunicator& make,
                                          const std::function<void(const CommResult&)>& on_result);

}  // namespace weft

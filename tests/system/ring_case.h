// Attention and its gradient over a sequence that is split over ranks, as a graph of inputs q, k, v
// and do; and how far the result is from that of one rank in f64.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/system/mesh_run.h"

namespace weft::testing {

struct RingCase {
  std::string mesh = "seq:2";
  int64_t sequence = 192;
  int64_t heads = 4, kv_heads = 4, d = 32;
  int64_t dv = 0;  // 0: d
  bool causal = true;
  bool zigzag = true;
  int64_t window = 0;
  std::vector<int64_t> documents = {};  // lengths; empty: one
  int64_t blind = 0;                    // so many rows, every third, see no key
  bool sink = false;
  double scale_q = 1;
  int64_t batch = 1;
  DType dtype = DType::kF32;
  SequenceMeeting meeting = SequenceMeeting::kRing;
  int layers = 1;  // each takes o of the one before for q
  int microbatches = 1;
  LinkModel links = {};  // delays of messages
  // Splits of heads beside those of the sequence: axis -> layout of q, k, v, o ("model").
  std::string heads_axis = "";
  std::string queries_axis = "";  // splits what belongs to queries; keys are whole on it

  // What q, k, v, do and lse lie as.
  std::string Describe() const;
};

// The results of a case: o, lse, dq, dk, dv (and dsink), of the last microbatch.
using RingResults = std::map<std::string, HostTensor>;

absl::StatusOr<MeshRun> RunRing(const RingCase& c);
// As one rank of a job, which all call; the first gets the results.
absl::StatusOr<MeshRun> RunRingAsRank(const RingCase& c, Transport& transport);
RingResults ResultsOf(const MeshRun& run);
// The same on one rank in f64, of the same (rounded) inputs.
absl::StatusOr<RingResults> ExactRing(RingCase c);

// Relative L2 distance of two tensors; rows where both are -inf are equal. NaN if one is.
double RelativeError(const HostTensor& got, const HostTensor& want);
// Largest absolute distance, likewise.
double AbsoluteError(const HostTensor& got, const HostTensor& want);

}  // namespace weft::testing

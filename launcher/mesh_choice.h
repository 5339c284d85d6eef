// The mesh of a job that says only how many ranks there are: mesh: "AUTO:8".
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/op_def.h"
#include "launcher/cluster.pb.h"
#include "launcher/job.pb.h"
#include "launcher/job_text.h"

namespace weft {

// Whether the job leaves the choice of axes to weft.
bool IsAutoMesh(const Job& job);
// The number of ranks of such a job. InvalidArgument: no number from 1 to 65,536.
absl::StatusOr<int> AutoMeshRanks(const Job& job);

struct MeshAlternative {
  std::string mesh;
  bool shards_states = false;  // plan.shard_states: ALWAYS
  double step_seconds = 0;     // predicted by the compiler's schedule
  std::string refusal;         // why it is not possible; empty if it is
};

struct MeshChoice {
  std::string asked;                          // "AUTO:8"
  std::vector<MeshAlternative> alternatives;  // possible ones first, the fastest first
};

// Compiles the job for every way to write its ranks as data x model, with whole optimizer states
// and (where the job does not say) with split ones, and sets job->mesh and plan.shard_states to the
// one whose predicted step is shortest (on `cluster`, if given); of equals, the one with more data. A
// job with a mesh of its own is left alone, with no alternatives. Deterministic: every rank chooses
// alike. Error: none is possible (the code of the first, with all reasons).
absl::StatusOr<MeshChoice> ChooseMesh(const OpRegistry& ops, const FieldOrigins& origins,
                                      const Cluster* cluster, Job* job);

// A table of the alternatives; "" if there was nothing to choose.
std::string MeshChoiceText(const MeshChoice& choice);

}  // namespace weft

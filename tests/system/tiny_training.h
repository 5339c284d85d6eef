// TinyTraining: a job like examples/jobs/tiny.pbtxt, thinner and deeper, that all ranks of its mesh
// train as threads, on the CPU or on fake GPUs.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actors/recordings.h"
#include "kernels/all_ops.h"
#include "launcher/job.h"
#include "parallel/compile.h"
#include "tests/system/fake_gpu.h"

namespace weft::testing {

class TinyTraining {
 public:
  struct Options {
    int64_t steps = 6;
    FakeGpuHost* host = nullptr;  // null: the CPU
    Recording recording = Recording::kAuto;
    int late = -1;  // this rank launches its first step long after the others
    // Called with each rank's device before its first step.
    std::function<void(const Plan& plan, FakeGpu& gpu)> prepare;
  };
  struct Rank {
    absl::Status status;
    std::map<std::string, std::vector<float>> outputs;  // by name: of all steps, in order
    int64_t batches = 0;                                // that the fake GPU was given
  };

  // `fast_links`: so fast that something so thin is split over "model" at all, and exchanged in
  // many pieces; else few actors make many calls each. `more` of the job's fields, as for --set.
  // LoadJob's error, or Compile's.
  static absl::StatusOr<std::unique_ptr<TinyTraining>> Make(
      const std::string& mesh, int microbatches, bool fast_links,
      const std::vector<std::string>& more = {});
  const Program& program() const { return program_; }
  int size() const;  // ranks
  // From the initial variables on; by rank.
  std::vector<Rank> Run(const Options& options) const;

 private:
  absl::Status RunRank(const Options& options, Transport& transport, std::atomic<int>& started,
                       Rank& rank) const;
  absl::Status Feed(std::string_view name, int64_t step, int64_t microbatch,
                    const Operand& out) const;

  Job job_;
  OpRegistry ops_;
  KernelTable kernels_;
  Program program_;
};

// Firings of a kernel in a step of the plan.
int64_t CallsInStep(const Plan& plan, std::string_view kernel);

}  // namespace weft::testing

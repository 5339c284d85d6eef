// SeededRanks: several ranks' executors in one process and one thread, over an in-memory network and
// seeded streams.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "actors/executor.h"
#include "runtime/memory_transport.h"
#include "tests/support/seeded_streams.h"

namespace weft::testing {

class SeededRanks {
 public:
  SeededRanks(int ranks, uint64_t seed) : network_(ranks), streams_(seed) {}

  // Adds the executor of the next rank. `options` needs neither transport nor streams.
  absl::Status Add(const Plan& plan, ExecutorOptions options) {
    options.transport = &network_.endpoint(static_cast<int>(executors_.size()));
    options.make_stream = [this](const std::string& name, int64_t) { return streams_.Make(name); };
    auto executor = Executor::Create(plan, std::move(options));
    if (!executor.ok()) return executor.status();
    executors_.push_back(*std::move(executor));
    return absl::OkStatus();
  }

  // Launches `count` steps on all ranks, as far ahead as they go, and runs everything. Answers rank
  // 0's status, or Internal if tasks are left that wait for ever.
  absl::Status RunSteps(int64_t count) {
    for (int64_t step = 0; step < count; ++step) {
      for (auto& executor : executors_) {
        while (executor->launched() - executor->ended() >= 2) {
          if (!streams_.Step()) return absl::InternalError("stuck: " + executor->Report());
        }
        if (!executor->Launch(step).ok()) break;
      }
    }
    if (!streams_.Pump()) return absl::InternalError("stuck: " + executors_[0]->Report());
    return executors_[0]->Wait();
  }

  Executor& operator[](int rank) { return *executors_[rank]; }

 private:
  MemoryNetwork network_;
  SeededStreams streams_;
  std::vector<std::unique_ptr<Executor>> executors_;
};

}  // namespace weft::testing

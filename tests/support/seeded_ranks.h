// SeededRanks: several ranks' executors in one process, over an in-memory network and seeded
// streams that take turns.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "actors/executor.h"
#include "runtime/memory_transport.h"
#include "tests/support/seeded_streams.h"

namespace weft::testing {

class SeededRanks {
 public:
  SeededRanks(int ranks, uint64_t seed, SeededStreams::Turns turns = SeededStreams::Turns::kAnyone)
      : network_(ranks), streams_(seed, turns) {
    for (int rank = 0; rank < ranks; ++rank) {
      transports_.push_back(std::make_unique<SeededTransport>(network_.endpoint(rank), streams_));
    }
  }

  // Adds the executor of the next rank. `options` needs neither transport nor streams.
  absl::Status Add(const Plan& plan, ExecutorOptions options) {
    options.transport = transports_[executors_.size()].get();
    std::set<std::string> block;  // all-reduces wait within a task
    for (const ActorDef& actor : plan.actors()) {
      if (actor.has_all_reduce()) block.insert(plan.streams(actor.stream()).name());
    }
    options.make_stream = [this, block](const std::string& name, int64_t) {
      return streams_.Make(name, block.count(name) > 0);
    };
    auto executor = Executor::Create(plan, std::move(options));
    if (!executor.ok()) return executor.status();
    executors_.push_back(*std::move(executor));
    return absl::OkStatus();
  }

  // Launches `count` steps on all ranks, as far ahead as they go, and runs everything. Answers rank
  // 0's status, or Internal if tasks are left that wait for ever; then all ranks are cancelled.
  absl::Status RunSteps(int64_t count) {
    for (int64_t step = 0; step < count; ++step) {
      for (auto& executor : executors_) {
        while (executor->launched() - executor->ended() >= 2) {
          if (!streams_.Step()) return Stuck();
        }
        if (!executor->Launch(step).ok()) break;
      }
    }
    if (!streams_.Pump()) return Stuck();
    return executors_[0]->Wait();
  }

  Executor& operator[](int rank) { return *executors_[rank]; }

 private:
  absl::Status Stuck() {
    const absl::Status status = absl::InternalError("stuck: " + executors_[0]->Report());
    for (auto& executor : executors_) executor->Cancel();
    streams_.Pump();
    return status;
  }

  MemoryNetwork network_;
  SeededStreams streams_;
  std::vector<std::unique_ptr<SeededTransport>> transports_;
  std::vector<std::unique_ptr<Executor>> executors_;
};

}  // namespace weft::testing

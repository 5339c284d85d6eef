// SeededStreams: all streams of all ranks on one thread. A seed decides which stream goes next, so
// that a test sees many interleavings and each of them again.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "runtime/stream.h"

namespace weft::testing {

class SeededStreams {
 public:
  explicit SeededStreams(uint64_t seed) : random_(seed) {}

  // A stream of this set. Pump is not called after it has gone.
  std::unique_ptr<Stream> Make(const std::string& name) {
    auto stream = std::make_unique<One>(name);
    streams_.push_back(stream.get());
    return stream;
  }

  // Runs tasks until none can: true if nothing is left, false if what is left waits for ever.
  bool Pump() {
    while (Step()) {
    }
    for (const One* stream : streams_) {
      if (!stream->tasks.empty()) return false;
    }
    return true;
  }
  // Runs one task of a stream picked by the seed; false if none can run.
  bool Step() {
    runnable_.clear();
    for (One* stream : streams_) {
      if (stream->CanRun()) runnable_.push_back(stream);
    }
    if (runnable_.empty()) return false;
    runnable_[random_() % runnable_.size()]->RunOne();
    return true;
  }

 private:
  class One final : public Stream {
   public:
    using Stream::Stream;
    void Push(const Task& task) override { tasks.push_back(task); }
    bool CanRun() const {
      if (tasks.empty()) return false;
      const Task& task = tasks.front();
      if (task.run == nullptr) {
        return Event{static_cast<const Stream*>(task.context), task.argument}.done();
      }
      return task.ready == nullptr || task.ready(task.context, task.argument);
    }
    void RunOne() {
      const Task task = tasks.front();
      tasks.pop_front();
      if (task.run != nullptr) task.run(task.context, task.argument);
      completed_.Advance(completed_.value() + 1);
    }
    std::deque<Task> tasks;
  };

  std::mt19937_64 random_;
  std::vector<One*> streams_;
  std::vector<One*> runnable_;
};

}  // namespace weft::testing

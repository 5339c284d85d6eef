// SeededStreams: all streams of all ranks in turns, one at a time. A seed decides which goes next,
// so that a test sees many interleavings and each of them again. A stream that blocks within a task
// (a collective) hands its turn on.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/stream.h"
#include "runtime/transport.h"

namespace weft::testing {

// What passes from thread to thread: one gives, one takes.
class Baton {
 public:
  void Give() {
    const std::lock_guard lock(mutex_);
    given_ = true;
    changed_.notify_one();
  }
  void Take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return given_; });
    given_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool given_ = false;
};

class SeededStreams {
 public:
  // Who goes next of those that can: anyone; or whoever ranks highest, which starves the others
  // until nothing else is left, with ranks that change now and then.
  enum class Turns { kAnyone, kHighest };

  explicit SeededStreams(uint64_t seed, Turns turns = Turns::kAnyone)
      : random_(seed), turns_(turns) {}

  // A stream of this set; one whose tasks may block gets a thread. Pump is not called after it has
  // gone.
  std::unique_ptr<Stream> Make(const std::string& name, bool blocks) {
    auto stream = std::make_unique<One>(name, *this, blocks);
    stream->priority = random_();
    streams_.push_back(stream.get());
    return stream;
  }

  // Runs tasks until none can: true if nothing is left, false if what is left waits for ever.
  bool Pump() {
    while (Step()) {
    }
    return std::all_of(streams_.begin(), streams_.end(),
                       [](const One* stream) { return stream->tasks.empty(); });
  }
  // Runs a task, or what is left of one that blocked, on a stream picked by the seed; false if none
  // can run.
  bool Step() {
    runnable_.clear();
    for (One* stream : streams_) {
      if (stream->CanRun()) runnable_.push_back(stream);
    }
    if (runnable_.empty()) return false;
    One* next = runnable_[random_() % runnable_.size()];
    if (turns_ == Turns::kHighest) {
      if (random_() % 16 == 0) next->priority = random_();
      next = *std::max_element(runnable_.begin(), runnable_.end(), [](const One* a, const One* b) {
        return a->priority < b->priority;
      });
    }
    if (!next->blocks()) {
      next->RunFront();
      return true;
    }
    next->go.Give();
    back_.Take();
    return true;
  }
  // Within a task: hands the turn on while the request is in flight. Elsewhere: runs the others until
  // then.
  void Await(const Request& request) {
    if (One* const stream = running_) {
      if (!request.in_flight()) return;
      stream->awaited = &request;
      back_.Give();
      stream->go.Take();
      stream->awaited = nullptr;
      return;
    }
    while (request.in_flight() && Step()) {
    }
  }

 private:
  class One final : public Stream {
   public:
    One(const std::string& name, SeededStreams& all, bool blocks) : Stream(name), all_(all) {
      if (blocks) thread_ = std::thread([this] { Work(); });
    }
    ~One() override {
      if (!blocks()) return;
      ends_ = true;
      go.Give();
      thread_.join();
    }
    bool blocks() const { return thread_.joinable(); }
    void Push(const Task& task) override { tasks.push_back(task); }
    bool CanRun() const {
      if (tasks.empty()) return false;
      if (awaited != nullptr) return !awaited->in_flight();
      const Task& task = tasks.front();
      if (task.run == nullptr) {
        return Event{static_cast<const Stream*>(task.context), task.argument}.done();
      }
      return task.ready == nullptr || task.ready(task.context, task.argument);
    }
    void RunFront() {
      const Task task = tasks.front();
      if (task.run != nullptr) task.run(task.context, task.argument);
      tasks.pop_front();
      completed_.Advance(completed_.value() + 1);
    }
    std::deque<Task> tasks;
    const Request* awaited = nullptr;
    uint64_t priority = 0;
    Baton go;

   private:
    void Work() {
      running_ = this;
      for (go.Take(); !ends_; go.Take()) {
        RunFront();
        all_.back_.Give();
      }
    }

    SeededStreams& all_;
    bool ends_ = false;
    std::thread thread_;
  };

  inline static thread_local One* running_ = nullptr;
  std::mt19937_64 random_;
  const Turns turns_;
  Baton back_;  // the turn comes back
  std::vector<One*> streams_;
  std::vector<One*> runnable_;
};

// A rank's end of a network whose waits hand the turn on. The other end outlives it.
class SeededTransport final : public Transport {
 public:
  SeededTransport(Transport& inner, SeededStreams& streams)
      : Transport(inner.rank(), inner.size()), inner_(inner), streams_(streams) {
    inner_.OnPoison([this](const absl::Status& status) {
      MarkPoisoned(inner_.failed_rank(), status);
    });
  }
  void Send(int to, uint32_t tag, const void* data, int64_t bytes, Request* request) override {
    inner_.Send(to, tag, data, bytes, request);
  }
  void Receive(int from, uint32_t tag, void* data, int64_t bytes, Request* request) override {
    inner_.Receive(from, tag, data, bytes, request);
  }
  absl::Status Wait(const Request& request) override {
    streams_.Await(request);
    return inner_.Wait(request);
  }
  void Poison(const absl::Status& status) override { inner_.Poison(status); }
  absl::Status Close() override { return inner_.Close(); }
  void SendNote(int to, std::string_view note) override { inner_.SendNote(to, note); }

 private:
  Transport& inner_;
  SeededStreams& streams_;
};

}  // namespace weft::testing

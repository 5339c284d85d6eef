// Stream: an ordered queue of asynchronous work. Event: a point in it. Actors launch work on
// streams and never wait for it; streams wait for one another's events. There is a stream for each
// kind of device, and a seeded one in the tests.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "runtime/progress.h"

namespace weft {

class Stream;

// Done once the stream has completed everything up to `position`. A null stream: always done. Valid
// while the stream lives. Copied freely.
struct Event {
  const Stream* stream = nullptr;
  int64_t position = 0;
  inline bool done() const;
};

// One entry of a stream: run(context, argument), or, with a null `run`, the wait for an event. What
// `context` points to outlives the entry.
struct Task {
  void (*run)(void* context, int64_t argument) = nullptr;
  void* context = nullptr;
  int64_t argument = 0;
  // Whether run would not block; null: it never does. Asked only by streams that share one thread
  // with their peers; on others run may block.
  bool (*ready)(void* context, int64_t argument) = nullptr;
  // Whoever enqueues it enqueues another task behind it at once, whose end is all that the host
  // wants to hear of. A device may then save itself the trouble of telling.
  bool more = false;
};

// Enqueue, Wait and Record belong to one thread (the actor thread); the rest to any.
class Stream {
 public:
  // `native_stream`: on which tasks enqueue what they do, where they run as soon as they are
  // enqueued (cudaStream_t on CUDA); nullptr: a task is done when it returns.
  explicit Stream(std::string name, void* native_stream = nullptr)
      : name_(std::move(name)), native_stream_(native_stream) {}
  virtual ~Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  const std::string& name() const { return name_; }
  void* native_stream() const { return native_stream_; }

  // Appends a task. Blocks only if the stream is full.
  void Enqueue(const Task& task) {
    ++submitted_;
    Push(task);
  }
  // Makes what is enqueued later wait for `event`. Nothing happens if that is this stream's own or
  // done.
  void Wait(const Event& event) {
    if (event.stream == nullptr || event.stream == this || event.done()) return;
    Enqueue({.context = const_cast<Stream*>(event.stream), .argument = event.position});
  }
  // The point behind what has been enqueued so far.
  Event Record() const { return {this, submitted_}; }

  // Entries enqueued so far (the thread that enqueues) and completed so far (any thread). On a
  // device with a queue waits and tasks of `more` may count as completed with the next other task
  // only.
  int64_t submitted() const { return submitted_; }
  const Progress& completed() const { return completed_; }

  // Why the stream does nothing any more, and how much it had completed by then, if its device
  // failed. All entries count as completed since. Any thread.
  struct Breakdown {
    absl::Status status;
    int64_t completed = 0;
  };
  virtual std::optional<Breakdown> breakdown() const { return std::nullopt; }

 protected:
  virtual void Push(const Task& task) = 0;
  Progress completed_;

 private:
  const std::string name_;
  void* const native_stream_;
  int64_t submitted_ = 0;
};

inline bool Event::done() const {
  return stream == nullptr || stream->completed().value() >= position;
}

}  // namespace weft

// Streams of a fake GPU: a thread that does in order what was enqueued, some time after the call
// that enqueued it has returned. As with CUDA a queue takes about a thousand calls; the next blocks
// its caller, who then holds the lock under which all of the process launch.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "runtime/stream.h"
#include "tests/system/fake_gpu_host.h"

namespace weft::testing {

using FakeGpuWork = std::function<void()>;

class FakeGpuLoader;

// What Stream::native_stream() is. All but the work belongs to the actor thread.
class FakeGpuNative {
 public:
  FakeGpuNative(FakeGpuHost& host, FakeGpuLoader& loader, uint64_t seed);
  // Does what is left.
  ~FakeGpuNative();
  FakeGpuNative(const FakeGpuNative&) = delete;
  FakeGpuNative& operator=(const FakeGpuNative&) = delete;

  static FakeGpuNative& Of(void* native_stream) {
    return *static_cast<FakeGpuNative*>(native_stream);
  }
  FakeGpuLoader& loader() { return loader_; }
  void Enqueue(FakeGpuWork work);
  // What is enqueued in between is answered instead of done.
  void BeginRecording() { recorded_.emplace(); }
  std::vector<FakeGpuWork> EndRecording();
  // Returns when all is done that was enqueued, or after the host's patience; the caller holds the
  // lock.
  void Drain();

 private:
  static constexpr int64_t kMostCalls = 1024;
  void Work();
  void Delay();

  FakeGpuHost& host_;
  FakeGpuLoader& loader_;
  std::optional<std::vector<FakeGpuWork>> recorded_;
  Progress enqueued_;
  Progress done_;
  std::mutex mutex_;  // guards queue_
  std::deque<FakeGpuWork> queue_;
  std::minstd_rand random_;  // of the worker
  std::thread worker_;
};

// Loads on a device: a kernel at its first call, a recording at its first replay. That waits for
// all that the device has under way, with the lock held. The actor thread.
class FakeGpuLoader {
 public:
  explicit FakeGpuLoader(FakeGpuHost& host) : host_(host) {}

  void Add(FakeGpuNative* native) { natives_.insert(native); }
  void Remove(FakeGpuNative* native) { natives_.erase(native); }
  // Nothing happens if that kernel has been loaded.
  void LoadKernel(const std::string& name);
  void Load();

 private:
  FakeGpuHost& host_;
  std::set<FakeGpuNative*> natives_;
  std::set<std::string> kernels_;
};

// As CudaStream the host hears of the ends of tasks alone, but for those of `more`; other streams
// wait for every entry.
class FakeGpuStream final : public Stream {
 public:
  FakeGpuStream(std::string name, std::unique_ptr<FakeGpuNative> native)
      : Stream(std::move(name), native.get()), native_(std::move(native)) {}

 private:
  void Push(const Task& task) override;

  Progress reached_;
  const std::unique_ptr<FakeGpuNative> native_;  // goes first: its worker uses the base
};

}  // namespace weft::testing

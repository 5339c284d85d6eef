#include "tests/system/fake_gpu_stream.h"

#include <utility>

namespace weft::testing {

FakeGpuNative::FakeGpuNative(FakeGpuHost& host, FakeGpuLoader& loader, uint64_t seed)
    : host_(host),
      loader_(loader),
      random_(static_cast<std::minstd_rand::result_type>(host.seed() * 1000 + seed)),
      worker_([this] { Work(); }) {
  loader_.Add(this);
}

FakeGpuNative::~FakeGpuNative() {
  loader_.Remove(this);
  Enqueue(nullptr);
  worker_.join();
}

void FakeGpuNative::Enqueue(FakeGpuWork work) {
  if (recorded_) {
    recorded_->push_back(std::move(work));
    return;
  }
  const std::lock_guard<std::mutex> launching(host_.launching());
  const int64_t place = enqueued_.value();
  if (!done_.AwaitFor(place - kMostCalls + 1, host_.patience())) {
    host_.SayStuck("a launch with a thousand others before it");
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(std::move(work));
  }
  enqueued_.Advance(place + 1);
}

std::vector<FakeGpuWork> FakeGpuNative::EndRecording() {
  std::vector<FakeGpuWork> recorded = *std::move(recorded_);
  recorded_.reset();
  return recorded;
}

void FakeGpuNative::Drain() {
  if (!done_.AwaitFor(enqueued_.value(), host_.patience())) {
    host_.SayStuck("a load of a kernel or recording, for which the device must come to rest");
  }
}

void FakeGpuNative::Work() {
  for (int64_t next = 0;; ++next) {
    enqueued_.Await(next + 1);
    FakeGpuWork work;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      work = std::move(queue_.front());
      queue_.pop_front();
    }
    if (!work) return;
    Delay();
    work();
    work = nullptr;
    done_.Advance(next + 1);
  }
}

void FakeGpuNative::Delay() {
  constexpr uint64_t kOneIn = 16, kMostYields = 300;
  if (host_.seed() == 0 || random_() % kOneIn != 0) return;
  for (uint64_t yields = random_() % kMostYields; yields > 0; --yields) std::this_thread::yield();
}

void FakeGpuLoader::LoadKernel(const std::string& name) {
  if (kernels_.insert(name).second) Load();
}

void FakeGpuLoader::Load() {
  const std::lock_guard<std::mutex> launching(host_.launching());
  for (FakeGpuNative* native : natives_) native->Drain();
}

void FakeGpuStream::Push(const Task& task) {
  const int64_t position = submitted();
  if (task.run != nullptr) {
    task.run(task.context, task.argument);
    native_->Enqueue([] {});  // the event behind a task
  } else {
    // Streams of one rank are all of this kind.
    const auto* other =
        dynamic_cast<const FakeGpuStream*>(static_cast<const Stream*>(task.context));
    native_->Enqueue([other, position = task.argument] { other->reached_.Await(position); });
  }
  const bool tells = task.run != nullptr && !task.more;
  native_->Enqueue([this, position, tells] {
    reached_.Advance(position);
    if (tells) completed_.Advance(position);
  });
}

}  // namespace weft::testing

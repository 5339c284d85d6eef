#include "tests/system/fake_gpu_host.h"

namespace weft::testing {

std::shared_ptr<FakeLink> FakeGpuHost::LinkOf(int from, int to, int tag) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::shared_ptr<FakeLink>& link = links_[{from, to, tag}];
  if (link == nullptr) link = std::make_shared<FakeLink>();
  return link;
}

std::chrono::milliseconds FakeGpuHost::patience() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::chrono::milliseconds(stuck_.empty() ? 10000 : 0);
}

void FakeGpuHost::SayStuck(const std::string& call) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (stuck_.empty()) stuck_ = call;
}

std::string FakeGpuHost::stuck() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return stuck_;
}

}  // namespace weft::testing

// FakeGpuHost: what the fake GPUs of one process share: the lock under which the process launches,
// and the links between them.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "runtime/device.h"
#include "runtime/progress.h"

namespace weft::testing {

// One exchange's messages from one rank to another. Counts are of firings.
struct FakeLink {
  Progress posted;   // the receiver is ready for so many; its stream raises it
  Progress arrived;  // so many are there; the sender's stream raises it
  std::mutex mutex;  // guards the two below, and is held while bytes are written
  std::vector<DeviceMessenger::Message> receives;
  bool open = false;  // the receiver's memory is there
};

// Outlives the devices of one run. Any thread.
class FakeGpuHost {
 public:
  // `seed`: of the delays of what the devices do; 0: there are none.
  explicit FakeGpuHost(uint64_t seed) : seed_(seed) {}

  uint64_t seed() const { return seed_; }
  // Held by whoever calls a device, as long as the call lasts.
  std::mutex& launching() { return launching_; }
  // The same for both ends.
  std::shared_ptr<FakeLink> LinkOf(int from, int to, int tag);

  // How long a call of a device may block before it counts as standing still for ever. It goes on
  // then, so that the test ends, and fails.
  std::chrono::milliseconds patience() const;
  void SayStuck(const std::string& call);
  // The first such call; empty if there was none.
  std::string stuck() const;

 private:
  const uint64_t seed_;
  std::mutex launching_;
  mutable std::mutex mutex_;  // guards all below
  std::map<std::tuple<int, int, int>, std::shared_ptr<FakeLink>> links_;
  std::string stuck_;
};

}  // namespace weft::testing

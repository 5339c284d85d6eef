// The CPU's kernels as a fake GPU has them: a call enqueues itself, with its operands as they are
// then, and returns.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "runtime/kernel.h"

namespace weft::testing {

// What the kernels of a fake GPU share: how they fail.
class FakeGpuState final : public DeviceState {
 public:
  using Hook = std::function<absl::Status(std::string_view kernel)>;

  // Asked at each call, on the actor thread: an error is that of the call.
  Hook on_launch;
  // Asked when a kernel comes to run, on its stream's thread: an error is noted, and it does
  // nothing.
  Hook on_run;
  // Batches of several calls so far. The actor thread.
  int64_t batches = 0;

  void Note(const absl::Status& fault);
  // The first since the last call.
  absl::Status TakeFault();

 private:
  std::mutex mutex_;  // guards fault_
  absl::Status fault_;
};

// All that the CPU has, each with a batched form.
KernelTable FakeGpuKernels();
// As Device::copy_kernel.
absl::Status FakeGpuCopy(const KernelContext& context);

}  // namespace weft::testing

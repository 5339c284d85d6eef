// Device: where a rank computes. It owns what differs between kinds of devices: memory, streams,
// collectives, and how data crosses between the host and it. Plans, actors and sessions are the
// same on all.
//
// A device whose memory is the host's (CPU) has no queue(): actors touch tensors with loads and
// stores, in tasks that run on a stream's worker. One with memory of its own (CUDA) has: tasks run
// on the actor thread as soon as they are enqueued, and themselves enqueue work on the native
// stream.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "runtime/arena.h"
#include "runtime/box_copy.h"
#include "runtime/communicator.h"
#include "runtime/dtype.h"
#include "runtime/kernel.h"
#include "runtime/monoid.h"
#include "runtime/stream.h"
#include "runtime/time_marks.h"
#include "runtime/transport.h"

namespace weft {

// Copies between boxes, prepared for one device. Calls enqueue on a native stream and return; they
// belong to the actor thread. Errors: the device's own, in its words.
class DeviceBoxCopies {
 public:
  virtual ~DeviceBoxCopies() = default;
  // As BoxCopy::Copy and BoxCopy::Combine for copy number `index`; device memory.
  virtual absl::Status Copy(int index, const void* from, void* to, void* native_stream) = 0;
  virtual absl::Status Combine(int index, Monoid monoid, const void* from, void* to,
                               void* native_stream) = 0;
  // Copy number `first`, then Combine number `second`, to the same memory: one pass where the
  // device can.
  virtual absl::Status CopyAndCombine(int first, const void* from_first, int second, Monoid monoid,
                                      const void* from_second, void* to, void* native_stream) {
    const absl::Status status = Copy(first, from_first, to, native_stream);
    return status.ok() ? Combine(second, monoid, from_second, to, native_stream) : status;
  }
};

// Exchanges between the ranks of a transport, of memory of the device. All are known before the
// first: whoever moves the bytes then knows where they go. The actor thread.
class DeviceMessenger {
 public:
  struct Message {
    int peer = 0;  // world rank
    int64_t bytes = 0;
    // Where its bytes lie at firing f: at[f % at.size()].
    std::vector<void*> at;
  };
  // At each firing, what a rank sends to another meets what that one receives from it in an
  // exchange of the same tag, in the order listed.
  struct Exchange {
    int tag = 0;
    std::vector<Message> sends, receives;
  };

  virtual ~DeviceMessenger() = default;
  // An exchange to be run after Connect; answers its number. Tags differ. Memory that it names
  // stays where it is until the messenger goes.
  virtual int Add(Exchange exchange) = 0;
  // Once. Every rank of the transport calls it, in the same order among other calls that make
  // communicators; blocks until they have met. InvalidArgument where the ranks' exchanges do not
  // match. A failure poisons the transport.
  virtual absl::Status Connect() = 0;
  // Enqueues firing number 0, 1, ... of an exchange and returns. A failure poisons the transport.
  virtual absl::Status Run(int exchange, int64_t firing, void* native_stream) = 0;
};

// What was enqueued on a native stream once, to be enqueued again in one call, with the same
// addresses.
class DeviceRecording {
 public:
  virtual ~DeviceRecording() = default;
  // Returns at once. The actor thread.
  virtual absl::Status Replay(void* native_stream) = 0;
};

// What a device with memory of its own enqueues on native streams. All calls return at once and
// belong to the actor thread; errors are the device's own, in its words.
class DeviceQueue {
 public:
  virtual ~DeviceQueue() = default;

  // Between staging memory (Device::AllocateStaging) and device memory.
  virtual absl::Status CopyIn(void* device, const void* host, int64_t bytes,
                              void* native_stream) = 0;
  virtual absl::Status CopyOut(void* host, const void* device, int64_t bytes,
                               void* native_stream) = 0;
  // Calls `function` once all before it is done, on a thread of the device's; what follows waits
  // for its return. It must not call the device.
  virtual absl::Status CallHost(void (*function)(void*), void* argument, void* native_stream) = 0;
  // What this thread enqueues on the stream from here to EndRecording is kept instead of done: only
  // kernels and copies of the device's own memory. An error if the device refuses, or if something
  // in between cannot be recorded; the stream is then as if nothing had been enqueued.
  virtual absl::Status BeginRecording(void* native_stream) {
    (void)native_stream;
    return absl::UnimplementedError("this device records nothing");
  }
  virtual absl::StatusOr<std::unique_ptr<DeviceRecording>> EndRecording(void* native_stream) {
    (void)native_stream;
    return absl::UnimplementedError("this device records nothing");
  }
  // As weft::FillIdentity.
  virtual absl::Status FillIdentity(DType dtype, Monoid monoid, void* data, int64_t count,
                                    void* native_stream) = 0;
  // May wait for the device: before steps run, not while they do.
  virtual absl::StatusOr<std::unique_ptr<DeviceBoxCopies>> Prepare(
      absl::Span<const BoxCopy> copies) = 0;
  // For the exchanges of one plan. `transport` and the device outlive it. Returns at once.
  virtual std::unique_ptr<DeviceMessenger> MakeMessenger(Transport& transport) = 0;
};

// Owned by whoever owns the rank (launcher, test); outlives all that it made. Unless said otherwise
// calls belong to one thread at a time, the rank's.
class Device {
 public:
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // For people: "CPU", "CUDA device 0 (NVIDIA H200)".
  const std::string& name() const { return name_; }
  // nullptr: the device's memory is the host's.
  virtual DeviceQueue* queue() { return nullptr; }

  // Device memory, zeroed. ResourceExhausted, naming the device and how much it has left.
  virtual absl::StatusOr<Arena> Allocate(int64_t bytes) = 0;
  // Host memory from which and to which the queue copies.
  virtual absl::StatusOr<Arena> AllocateStaging(int64_t bytes) = 0;
  // Copies a variable's contents; returns when done. Nothing that touches it is under way.
  virtual absl::Status Write(void* device, const void* host, int64_t bytes) = 0;
  virtual absl::Status Read(void* host, const void* device, int64_t bytes) = 0;

  // What runs on a stream: kernels, or transfers, which are few, short and awaited by others.
  enum class Work { kCompute, kTransfer };
  // A stream that holds `capacity` entries without blocking whoever enqueues.
  virtual absl::StatusOr<std::unique_ptr<Stream>> MakeStream(const std::string& name,
                                                             int64_t capacity, Work work) = 0;
  // `count` marks, to be set in tasks of this device's streams. Errors: the device's own.
  virtual absl::StatusOr<std::unique_ptr<TimeMarks>> MakeTimeMarks(int64_t count) {
    return std::make_unique<HostTimeMarks>(count);
  }
  // A communicator of `ranks`, distinct ranks of `transport`, this one among them; all its messages
  // carry `tag`. All members call it, and in one order where they are members of several. Blocks
  // until they have met where the device needs that.
  virtual absl::StatusOr<std::unique_ptr<Communicator>> MakeCommunicator(Transport& transport,
                                                                         std::vector<int> ranks,
                                                                         uint32_t tag) = 0;
  // Copies input 0 to output 0, of equal size.
  virtual Kernel copy_kernel() const = 0;

  // Bytes that variables and arenas may take; 0: as much as the host has.
  virtual int64_t memory_bytes() const { return 0; }
  // Arithmetic operations a second of matrix products by the maker's word; 0: to be measured.
  // `tf32`: of f32 values that are rounded to tf32 for it.
  virtual double peak_flops(DType /*dtype*/, bool /*tf32*/) const { return 0; }

  // What the kernels of this rank share; nullptr if they share nothing.
  DeviceState* state() const { return state_.get(); }
  // `take_fault`: what one of them could only note while it ran (a bad index in its data); may be
  // empty.
  void set_state(std::unique_ptr<DeviceState> state,
                 std::function<absl::Status()> take_fault = nullptr) {
    state_ = std::move(state);
    take_fault_ = std::move(take_fault);
  }
  // The first such note since the last call. The thread that fires the rank's actors.
  absl::Status TakeFault() { return take_fault_ ? take_fault_() : absl::OkStatus(); }

 protected:
  explicit Device(std::string name) : name_(std::move(name)) {}

 private:
  const std::string name_;
  std::unique_ptr<DeviceState> state_;
  std::function<absl::Status()> take_fault_;
};

}  // namespace weft

// Channel: OneFlow's register. One producer, n consumers, a few slots; full slots and free slots are
// the only things for which an actor waits. The messages full(slot, event) and free(slot, event)
// travel at launch: an event says when the slot really is full or free.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/plan.pb.h"
#include "runtime/stream.h"

namespace weft {

// The state of one channel. Belongs to the actor thread, as all channels do: no locks.
class Channel {
 public:
  // The plan has passed CheckPlan.
  explicit Channel(const ChannelDef& def);

  const std::string& name() const { return name_; }

  // Whether consumer i (its index in ChannelDef.consumers) has a full slot.
  bool CanRead(int i) const { return filled_ > consumers_[i].taken; }
  // Whether the producer has a free slot, or one that it has begun to write.
  bool CanWrite() const { return writes_ > 0 || filled_ - freed_ < slots_; }

  // Makes `stream` wait until the slot under reading is full.
  void AwaitFull(int i, Stream& stream) const { stream.Wait(full_[consumers_[i].slot]); }
  // Makes `stream` wait until all consumers have left the slot under writing.
  void AwaitFree(Stream& stream) const {
    if (writes_ > 0) return;
    for (const Consumer& consumer : consumers_) stream.Wait(consumer.left[write_slot_]);
  }

  // Consumer i has launched a firing that is done with its slot at `event`; the last such firing of a
  // slot is the message free(slot, event).
  void Read(int i, const Event& event) {
    Consumer& consumer = consumers_[i];
    if (++consumer.reads < consumer.reads_per_slot) return;
    consumer.reads = 0;
    consumer.left[consumer.slot] = event;
    consumer.slot = consumer.slot + 1 == slots_ ? 0 : consumer.slot + 1;
    ++consumer.taken;
    freed_ = consumer.taken;
    for (const Consumer& other : consumers_) freed_ = std::min(freed_, other.taken);
  }
  // The producer has launched a firing that has written its slot at `event`; the last such firing of
  // a slot is the message full(slot, event).
  void Write(const Event& event) {
    if (++writes_ < writes_per_slot_) return;
    writes_ = 0;
    full_[write_slot_] = event;
    write_slot_ = write_slot_ + 1 == slots_ ? 0 : write_slot_ + 1;
    ++filled_;
    if (consumers_.empty()) freed_ = filled_;
  }

 private:
  struct Consumer {
    int reads_per_slot = 1;
    int reads = 0;      // of the slot under reading
    int slot = 0;       // under reading
    int64_t taken = 0;  // slots given back
    std::vector<Event> left;  // per slot: when this consumer left its last generation
  };
  const std::string name_;
  const int slots_;
  const int writes_per_slot_;
  int writes_ = 0;  // of the slot under writing
  int write_slot_;
  int64_t filled_;     // slots made full, the initial ones included
  int64_t freed_ = 0;  // slots given back by all consumers
  std::vector<Event> full_;  // per slot: when its last generation was written
  std::vector<Consumer> consumers_;
};

}  // namespace weft

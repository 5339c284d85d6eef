#include "actors/call_gate.h"

namespace weft {

void CallGate::Close::operator()(CallGate* gate) const {
  std::unique_lock<std::mutex> lock(gate->mutex_);
  gate->closed_ = true;
  gate->left_.wait(lock, [gate] { return gate->running_ == 0; });
  gate->owned_ = false;
  if (gate->announced_ > 0) return;  // the last of these deletes it
  lock.unlock();
  delete gate;
}

void CallGate::Announce() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++announced_;
}

void CallGate::Withdraw() {
  const std::lock_guard<std::mutex> lock(mutex_);
  --announced_;
}

void CallGate::Enter(void* context) {
  CallGate* const gate = static_cast<CallGate*>(context);
  std::unique_lock<std::mutex> lock(gate->mutex_);
  --gate->announced_;
  if (gate->closed_) {
    const bool last = gate->announced_ == 0 && !gate->owned_;
    lock.unlock();
    if (last) delete gate;
    return;
  }
  ++gate->running_;
  lock.unlock();
  gate->function_(gate->context_);
  lock.lock();
  --gate->running_;
  gate->left_.notify_all();  // under the lock: who has it next may delete the gate
}

}  // namespace weft

// CallGate: stands between an object and calls of it that a device makes later, on threads of its
// own. A device that fails may drop its calls, be in the midst of one, or make one that nobody
// expects any more, while the object goes.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

namespace weft {

// Lets calls of one function through while it is open. Closed by its owner, who may go then; the
// gate itself stays until the last call that was announced has come to it, for good if it never
// does.
class CallGate {
 public:
  struct Close {
    // Waits for the call that is running; those that come later do nothing.
    void operator()(CallGate* gate) const;
  };
  using Owner = std::unique_ptr<CallGate, Close>;

  // Open, for calls of function(context).
  static Owner Make(void (*function)(void* context), void* context) {
    return Owner(new CallGate(function, context));
  }

  // Before a device is asked to call Enter(gate). The owner's thread, as is the next.
  void Announce();
  // It has refused to.
  void Withdraw();
  // What the device calls, with the gate. Any thread.
  static void Enter(void* gate);

 private:
  CallGate(void (*function)(void* context), void* context)
      : function_(function), context_(context) {}

  void (*const function_)(void* context);
  void* const context_;
  std::mutex mutex_;  // guards all below
  std::condition_variable left_;
  int running_ = 0;
  int64_t announced_ = 0;  // and have not come yet
  bool closed_ = false;
  bool owned_ = true;  // until the owner has waited
};

}  // namespace weft

#include "tests/system/fake_gpu_messenger.h"

#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/rendezvous.h"
#include "runtime/status.h"
#include "tests/system/fake_gpu_stream.h"

namespace weft::testing {
namespace {

// How often who waits for a count looks whether the network is poisoned.
constexpr std::chrono::milliseconds kLook{2};

}  // namespace

FakeGpuMessenger::~FakeGpuMessenger() {
  for (const Prepared& prepared : prepared_) {
    for (const End& end : prepared.receives) Close(end);
  }
}

void FakeGpuMessenger::Close(const End& end) {
  const std::lock_guard<std::mutex> lock(end.link->mutex);
  end.link->open = false;
}

int FakeGpuMessenger::Add(Exchange exchange) {
  Prepared& prepared = prepared_.emplace_back();
  const auto add = [&](const Message& message, bool sends) {
    std::vector<End>& ends = sends ? prepared.sends : prepared.receives;
    for (End& end : ends) {
      if (end.peer == message.peer) return end.messages.push_back(message);
    }
    const int here = transport_.rank();
    ends.push_back({message.peer,
                    sends ? host_.LinkOf(here, message.peer, exchange.tag)
                          : host_.LinkOf(message.peer, here, exchange.tag),
                    {message}});
  };
  for (const Message& message : exchange.sends) add(message, true);
  for (const Message& message : exchange.receives) add(message, false);
  return static_cast<int>(prepared_.size()) - 1;
}

absl::Status FakeGpuMessenger::Connect() {
  for (const Prepared& prepared : prepared_) {
    for (const End& end : prepared.receives) {
      const std::lock_guard<std::mutex> lock(end.link->mutex);
      end.link->receives = end.messages;
      end.link->open = true;
    }
  }
  WEFT_RETURN_IF_ERROR(Barrier(transport_));
  absl::Status status;
  for (const Prepared& prepared : prepared_) {
    for (const End& end : prepared.sends) {
      const std::lock_guard<std::mutex> lock(end.link->mutex);
      bool match = end.link->receives.size() == end.messages.size();
      for (size_t i = 0; match && i < end.messages.size(); ++i) {
        match = end.link->receives[i].bytes == end.messages[i].bytes;
      }
      if (!match) {
        status.Update(absl::InvalidArgumentError(
            absl::StrCat("what is sent to rank ", end.peer, " and received there does not match")));
      }
    }
  }
  if (!status.ok()) transport_.Poison(status);
  return status;
}

void FakeGpuMessenger::Await(const Progress& count, int64_t value) const {
  while (!count.AwaitFor(value, kLook) && !transport_.poisoned()) continue;
}

void FakeGpuMessenger::Write(const End& end, int64_t firing) {
  FakeLink& link = *end.link;
  const std::lock_guard<std::mutex> lock(link.mutex);
  // A failure ends the wait for a receiver that is not ready, or has gone.
  if (!link.open || link.posted.value() <= firing) return;
  for (size_t i = 0; i < end.messages.size(); ++i) {
    const Message& from = end.messages[i];
    const Message& to = link.receives[i];
    if (from.bytes == 0) continue;
    std::memcpy(to.at[firing % to.at.size()], from.at[firing % from.at.size()], from.bytes);
  }
}

absl::Status FakeGpuMessenger::Run(int exchange, int64_t firing, void* native_stream) {
  FakeGpuNative& native = FakeGpuNative::Of(native_stream);
  const Prepared& prepared = prepared_[exchange];
  for (const End& end : prepared.receives) {
    native.Enqueue([&end, firing] { end.link->posted.Advance(firing + 1); });
  }
  for (const End& end : prepared.sends) {
    native.Enqueue([this, &end, firing] { Await(end.link->posted, firing + 1); });
    native.Enqueue([&end, firing] { Write(end, firing); });
    native.Enqueue([&end, firing] { end.link->arrived.Advance(firing + 1); });
  }
  for (const End& end : prepared.receives) {
    native.Enqueue([this, &end, firing] {
      Await(end.link->arrived, firing + 1);
      // After a failure the rank goes on without the message, and reads what is there.
      if (end.link->arrived.value() <= firing) Close(end);
    });
  }
  return absl::OkStatus();
}

}  // namespace weft::testing

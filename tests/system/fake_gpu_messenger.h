// Exchanges between fake GPUs, by the protocol of runtime/cuda_peer_messenger.h: the sender's
// stream waits until the receiver is ready, writes to its memory, and counts there.
#pragma once

#include <memory>
#include <vector>

#include "runtime/device.h"
#include "runtime/transport.h"
#include "tests/system/fake_gpu_host.h"

namespace weft::testing {

class FakeGpuMessenger final : public DeviceMessenger {
 public:
  FakeGpuMessenger(FakeGpuHost& host, Transport& transport) : host_(host), transport_(transport) {}
  // From here on nobody writes to what was received into.
  ~FakeGpuMessenger() override;

  int Add(Exchange exchange) override;
  absl::Status Connect() override;
  absl::Status Run(int exchange, int64_t firing, void* native_stream) override;

 private:
  // All messages of an exchange to or from one peer.
  struct End {
    int peer = 0;
    std::shared_ptr<FakeLink> link;
    std::vector<Message> messages;
  };
  struct Prepared {
    std::vector<End> sends, receives;
  };

  // Blocks a stream until `count` has come to `value`, or the network is poisoned.
  void Await(const Progress& count, int64_t value) const;
  static void Write(const End& end, int64_t firing);
  // Ends what is being written to this rank; nothing more is.
  static void Close(const End& end);

  FakeGpuHost& host_;
  Transport& transport_;
  std::vector<Prepared> prepared_;
};

}  // namespace weft::testing

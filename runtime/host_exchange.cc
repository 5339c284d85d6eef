#include "runtime/host_exchange.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/collective_bytes.h"
#include "runtime/logging.h"
#include "runtime/status.h"

namespace weft {
namespace {

// A waiting rank looks this often at once, then with yields, for ranks may outnumber cores; then it
// naps, for the other is late by much. It asks for failures of the network now and then.
constexpr int kSpins = 200;
constexpr int kYields = 2000;
constexpr int kYieldsPerAsking = 50;
constexpr std::chrono::microseconds kNap{20};

void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

absl::Status Receive(Transport& transport, int from, uint32_t tag, void* data, int64_t bytes) {
  Request request;
  transport.Receive(from, tag, data, bytes, &request);
  return transport.Wait(request);
}

absl::Status TellAll(Transport& transport, absl::Span<const int> ranks, uint32_t tag,
                     const void* data, int64_t bytes) {
  for (const int rank : ranks) {
    Request request;
    transport.Send(rank, tag, data, bytes, &request);
    WEFT_RETURN_IF_ERROR(transport.Wait(request));
  }
  return absl::OkStatus();
}

// The least of what they say, one byte each.
absl::StatusOr<char> HearAll(Transport& transport, absl::Span<const int> ranks, uint32_t tag) {
  char least = 1;
  for (const int rank : ranks) {
    char said = 0;
    WEFT_RETURN_IF_ERROR(Receive(transport, rank, tag, &said, 1));
    least = std::min(least, said);
  }
  return least;
}

}  // namespace

int64_t HostExchange::SlotBytes(int64_t most_bytes) {
  return static_cast<int64_t>(sizeof(Slot)) + CacheLines(most_bytes);
}

absl::StatusOr<HostMemory> HostExchange::Make(int size, int64_t most_bytes, Header* header) {
  if (most_bytes > HostMemory::kMostBytes) {
    return absl::ResourceExhaustedError(absl::StrCat("slots of ", most_bytes, " bytes"));
  }
  if (getentropy(header, sizeof(Header::nonce)) != 0) {
    return absl::ErrnoToStatus(errno, "getentropy");
  }
  const int64_t slot_bytes = SlotBytes(most_bytes);
  WEFT_ASSIGN_OR_RETURN(HostMemory memory,
                        HostMemory::Create(sizeof(Header) + 2 * size * slot_bytes));
  new (memory.data()) Header(*header);
  for (int i = 0; i < 2 * size; ++i) {
    new (memory.data() + sizeof(Header) + i * slot_bytes) Slot{.sequence = 0, .bytes = 0};
  }
  return memory;
}

absl::StatusOr<HostMemory> HostExchange::Find(const std::string& name, int size, int64_t most_bytes,
                                              const Header& header) {
  if (name.empty()) return absl::NotFoundError("the rank that makes it could not");
  WEFT_ASSIGN_OR_RETURN(HostMemory memory,
                        HostMemory::Open(name, sizeof(Header) + 2 * size * SlotBytes(most_bytes)));
  if (std::memcmp(memory.data(), header.nonce, sizeof(header.nonce)) != 0) {
    return absl::NotFoundError("it is not what the other rank made");
  }
  return memory;
}

// The first rank makes the memory once all others have come, so that its name is there for a moment
// only, invites them, hears from each whether it has found it, and tells them whether all have.
absl::StatusOr<std::unique_ptr<HostExchange>> HostExchange::Create(
    Transport& transport, absl::Span<const int> world_ranks, uint32_t tag, int64_t most_bytes) {
  struct Invitation {
    char name[64] = {};  // empty: there is no memory
    Header header = {};
  };
  CHECK_GE(most_bytes, 0);
  const int size = static_cast<int>(world_ranks.size());
  const int first = world_ranks[0];
  const absl::Span<const int> others = world_ranks.subspan(1);
  Invitation invitation;
  absl::StatusOr<HostMemory> memory = absl::UnknownError("not opened yet");
  char all_found = 1;
  if (transport.rank() == first) {
    WEFT_RETURN_IF_ERROR(HearAll(transport, others, tag).status());
    memory = Make(size, most_bytes, &invitation.header);
    if (memory.ok()) memory->name().copy(invitation.name, sizeof(invitation.name) - 1);
    WEFT_RETURN_IF_ERROR(TellAll(transport, others, tag, &invitation, sizeof(invitation)));
    WEFT_ASSIGN_OR_RETURN(all_found, HearAll(transport, others, tag));
    if (!memory.ok()) all_found = 0;
    if (memory.ok()) memory->Unlink();
    WEFT_RETURN_IF_ERROR(TellAll(transport, others, tag, &all_found, 1));
  } else {
    WEFT_RETURN_IF_ERROR(TellAll(transport, {first}, tag, &all_found, 1));
    WEFT_RETURN_IF_ERROR(Receive(transport, first, tag, &invitation, sizeof(invitation)));
    memory = Find(invitation.name, size, most_bytes, invitation.header);
    const char found = memory.ok() ? 1 : 0;
    WEFT_RETURN_IF_ERROR(TellAll(transport, {first}, tag, &found, 1));
    WEFT_RETURN_IF_ERROR(Receive(transport, first, tag, &all_found, 1));
  }
  if (all_found == 0) return std::unique_ptr<HostExchange>();
  return std::unique_ptr<HostExchange>(
      new HostExchange(transport, world_ranks, *std::move(memory), most_bytes));
}

HostExchange::HostExchange(Transport& transport, absl::Span<const int> world_ranks,
                           HostMemory memory, int64_t most_bytes)
    : transport_(transport),
      world_ranks_(world_ranks.begin(), world_ranks.end()),
      rank_(static_cast<int>(std::find(world_ranks.begin(), world_ranks.end(), transport.rank()) -
                             world_ranks.begin())),
      memory_(std::move(memory)),
      most_bytes_(most_bytes) {}

HostExchange::Slot* HostExchange::SlotOf(int r) const {
  const int64_t index = 2 * r + static_cast<int64_t>(sequence_ % 2);
  return std::launder(
      reinterpret_cast<Slot*>(memory_.data() + sizeof(Header) + index * SlotBytes(most_bytes_)));
}

absl::Status HostExchange::Exchange(const void* in, int64_t bytes,
                                    absl::Span<const void*> sources) {
  CHECK(bytes >= 0 && bytes <= most_bytes_) << bytes;
  CHECK_EQ(sources.size(), world_ranks_.size());
  if (transport_.poisoned()) return transport_.status();
  const int size = static_cast<int>(world_ranks_.size());
  ++sequence_;
  Slot* const own = SlotOf(rank_);
  own->bytes = bytes;
  if (bytes > 0) std::memcpy(own->data(), in, bytes);
  own->sequence.store(sequence_, std::memory_order_release);
  sources[rank_] = in;
  for (int step = 1; step < size; ++step) {
    const int r = (rank_ + step) % size;
    Slot& slot = *SlotOf(r);
    WEFT_RETURN_IF_ERROR(Await(slot));
    if (slot.bytes != bytes) {
      return absl::InvalidArgumentError(absl::StrCat("rank ", world_ranks_[r], " to rank ",
                                                     transport_.rank(), ", by memory: ", slot.bytes,
                                                     " bytes were sent, ", bytes, " are expected"));
    }
    sources[r] = slot.data();
    transport_.CountBeside(world_ranks_[r], bytes, bytes);
  }
  return absl::OkStatus();
}

absl::Status HostExchange::Await(const Slot& slot) const {
  const auto come = [&] { return slot.sequence.load(std::memory_order_acquire) == sequence_; };
  for (int spin = 0; spin < kSpins; ++spin) {
    if (come()) return absl::OkStatus();
    Pause();
  }
  for (int look = 0; !come(); ++look) {
    if (look < kYields) {
      std::this_thread::yield();
      if (look % kYieldsPerAsking != 0) continue;
    } else {
      std::this_thread::sleep_for(kNap);
    }
    if (transport_.poisoned()) return transport_.status();
  }
  return absl::OkStatus();
}

}  // namespace weft

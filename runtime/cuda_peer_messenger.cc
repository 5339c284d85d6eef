#include "runtime/cuda_peer_messenger.h"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/cuda_driver.h"
#include "runtime/cuda_status.h"
#include "runtime/logging.h"
#include "runtime/rendezvous.h"
#include "runtime/status.h"

namespace weft {
namespace {

// An allocation below this may share its block, and its interprocess handle, with others.
constexpr int64_t kOwnBlockBytes = int64_t{2} << 20;
// Counts are this far apart.
constexpr int64_t kCountBytes = 32;
// Every byte of a count that lets all wait no more.
constexpr int kReleased = 0x7f;

bool WantsCopies() {
  const char* const word = std::getenv("WEFT_PEER_COPIES");
  return word == nullptr || std::string_view(word) != "0";
}

const PeerTable::Exchange* FindTag(const PeerTable& table, int64_t tag) {
  for (const PeerTable::Exchange& exchange : table.exchanges()) {
    if (exchange.tag() == tag) return &exchange;
  }
  return nullptr;
}

std::vector<const DeviceMessenger::Message*> MessagesOf(
    const std::vector<DeviceMessenger::Message>& messages, int peer) {
  std::vector<const DeviceMessenger::Message*> found;
  for (const DeviceMessenger::Message& message : messages) {
    if (message.peer == peer) found.push_back(&message);
  }
  return found;
}

}  // namespace

PeerMessenger::PeerMessenger(Transport& transport, Device& device, int ordinal,
                             CudaMonitor& monitor, CudaCollectives& collectives)
    : transport_(transport),
      device_(device),
      ordinal_(ordinal),
      monitor_(monitor),
      collectives_(collectives) {}

PeerMessenger::~PeerMessenger() {
  if (release_ == nullptr) return;
  monitor_.Remove(this);
  if (transport_.poisoned()) {
    Release();
    for (int neighbour : neighbours_) {
      (void)cudaSetDevice(neighbour);
      (void)cudaDeviceSynchronize();
    }
  }
  (void)cudaSetDevice(ordinal_);
  (void)cudaStreamSynchronize(release_);
  (void)cudaStreamDestroy(release_);
  (void)cudaGetLastError();
}

int PeerMessenger::Add(Exchange exchange) {
  exchanges_.push_back(std::move(exchange));
  return static_cast<int>(exchanges_.size()) - 1;
}

absl::Status PeerMessenger::Connect() {
  const absl::Status status = TryConnect();
  if (!status.ok()) transport_.Poison(status);  // the others wait
  return status;
}

std::vector<int> PeerMessenger::Peers() const {
  std::set<int> peers;
  for (const Exchange& exchange : exchanges_) {
    for (const Message& message : exchange.sends) peers.insert(message.peer);
    for (const Message& message : exchange.receives) peers.insert(message.peer);
  }
  return {peers.begin(), peers.end()};
}

absl::Status PeerMessenger::TryConnect() {
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaSetDevice(ordinal_), "cudaSetDevice"));
  const std::vector<int> peers = Peers();
  const int64_t counts = 2 * static_cast<int64_t>(exchanges_.size() * peers.size());
  WEFT_ASSIGN_OR_RETURN(counts_,
                        device_.Allocate(std::max(counts * kCountBytes, kOwnBlockBytes)));
  std::vector<PeerTable> mine(peers.size()), theirs(peers.size());
  std::vector<std::string> words(peers.size());
  for (size_t p = 0; p < peers.size(); ++p) {
    WEFT_ASSIGN_OR_RETURN(mine[p], TableFor(peers, p));
    words[p] = mine[p].SerializeAsString();
  }
  WEFT_ASSIGN_OR_RETURN(const std::vector<std::string> got, SwapBytes(transport_, peers, words));
  for (size_t p = 0; p < peers.size(); ++p) {
    if (!theirs[p].ParseFromString(got[p])) {
      return absl::InternalError(absl::StrCat("the table of rank ", peers[p], " is damaged"));
    }
  }
  WEFT_ASSIGN_OR_RETURN(const std::vector<bool> reach, Reach(peers, mine, theirs));
  prepared_.resize(exchanges_.size());
  for (size_t p = 0; p < peers.size(); ++p) {
    if (!reach[p]) continue;
    WEFT_RETURN_IF_ERROR(Annotate(Prepare(peers[p], mine[p], theirs[p]),
                                  absl::StrCat("exchanges with rank ", peers[p])));
  }
  const bool all = std::find(reach.begin(), reach.end(), false) == reach.end();
  WEFT_ASSIGN_OR_RETURN(const bool others, AnyRank(!all));
  if (others) {
    rest_ = collectives_.MakeMessenger(transport_);
    for (size_t e = 0; e < exchanges_.size(); ++e) {
      Exchange rest{.tag = exchanges_[e].tag};
      const auto take = [&](const std::vector<Message>& from, std::vector<Message>& to) {
        for (const Message& message : from) {
          if (!imports_.contains(message.peer)) to.push_back(message);
        }
      };
      take(exchanges_[e].sends, rest.sends);
      take(exchanges_[e].receives, rest.receives);
      if (rest.sends.empty() && rest.receives.empty()) continue;
      prepared_[e].rest = rest_->Add(std::move(rest));
    }
    WEFT_RETURN_IF_ERROR(rest_->Connect());
  }
  WEFT_RETURN_IF_ERROR(
      CudaStatus(cudaStreamCreateWithFlags(&release_, cudaStreamNonBlocking), "cudaStreamCreate"));
  monitor_.Add(this);
  return absl::OkStatus();
}

absl::StatusOr<PeerTable> PeerMessenger::TableFor(const std::vector<int>& peers, size_t peer) {
  PeerTable table;
  WEFT_RETURN_IF_ERROR(SayWho(ordinal_, &table));
  CudaPeerExports exports(&table);
  for (size_t e = 0; e < exchanges_.size(); ++e) {
    const auto sends = MessagesOf(exchanges_[e].sends, peers[peer]);
    const auto receives = MessagesOf(exchanges_[e].receives, peers[peer]);
    if (sends.empty() && receives.empty()) continue;
    PeerTable::Exchange* entry = table.add_exchanges();
    entry->set_tag(exchanges_[e].tag);
    const std::byte* count = counts_.data() + 2 * (e * peers.size() + peer) * kCountBytes;
    WEFT_RETURN_IF_ERROR(exports.Add(count, entry->mutable_posted()));
    WEFT_RETURN_IF_ERROR(exports.Add(count + kCountBytes, entry->mutable_arrived()));
    for (const Message* message : sends) entry->add_sends(message->bytes);
    for (const Message* message : receives) {
      PeerTable::Receive* receive = entry->add_receives();
      receive->set_bytes(message->bytes);
      for (void* at : message->at) WEFT_RETURN_IF_ERROR(exports.Add(at, receive->add_at()));
    }
  }
  return table;
}

absl::StatusOr<std::vector<bool>> PeerMessenger::Reach(const std::vector<int>& peers,
                                                       const std::vector<PeerTable>& mine,
                                                       const std::vector<PeerTable>& theirs) {
  std::vector<std::string> words(peers.size());
  for (size_t p = 0; p < peers.size(); ++p) {
    absl::StatusOr<CudaPeerImports> imports = absl::FailedPreconditionError("WEFT_PEER_COPIES=0");
    if (WantsCopies()) imports = CudaPeerImports::Open(mine[p], theirs[p]);
    if (imports.ok()) {
      words[p] = "reached";
      imports_[peers[p]] = *std::move(imports);
    } else if (absl::IsFailedPrecondition(imports.status())) {
      LOG(INFO) << "rank " << transport_.rank() << " exchanges with rank " << peers[p]
                << " through NCCL: " << imports.status().message();
    } else {
      return imports.status();
    }
  }
  WEFT_ASSIGN_OR_RETURN(const std::vector<std::string> got, SwapBytes(transport_, peers, words));
  std::vector<bool> reach(peers.size());
  for (size_t p = 0; p < peers.size(); ++p) {
    reach[p] = !words[p].empty() && !got[p].empty();
    if (!reach[p]) imports_.erase(peers[p]);
    if (reach[p] && mine[p].process() == theirs[p].process()) {
      neighbours_.push_back(theirs[p].ordinal());
    }
  }
  return reach;
}

absl::StatusOr<bool> PeerMessenger::AnyRank(bool here) {
  WEFT_ASSIGN_OR_RETURN(const std::vector<std::string> said,
                        GatherBytes(transport_, 0, here ? "yes" : ""));
  std::string any;
  for (const std::string& word : said) any += word;
  WEFT_RETURN_IF_ERROR(BroadcastBytes(transport_, 0, &any));
  return !any.empty();
}

absl::Status PeerMessenger::Prepare(int peer, const PeerTable& mine, const PeerTable& theirs) {
  const CudaPeerImports& there = imports_.at(peer);
  for (size_t e = 0; e < exchanges_.size(); ++e) {
    const int tag = exchanges_[e].tag;
    const PeerTable::Exchange* own = FindTag(mine, tag);
    const PeerTable::Exchange* other = FindTag(theirs, tag);
    if (own == nullptr && other == nullptr) continue;
    const auto sends = MessagesOf(exchanges_[e].sends, peer);
    bool match = own != nullptr && other != nullptr &&
                 static_cast<int>(sends.size()) == other->receives_size() &&
                 own->receives_size() == other->sends_size();
    for (size_t i = 0; match && i < sends.size(); ++i) {
      const PeerTable::Receive& receive = other->receives(static_cast<int>(i));
      match = receive.bytes() == sends[i]->bytes && receive.at_size() > 0;
    }
    for (int i = 0; match && i < own->receives_size(); ++i) {
      match = own->receives(i).bytes() == other->sends(i);
    }
    if (!match) {
      return absl::InvalidArgumentError(
          absl::StrCat("what the ranks send and receive under tag ", tag, " does not match"));
    }
    const auto count = [&](const PeerTable::Place& place) {
      return reinterpret_cast<int64_t*>(mine.allocations(place.allocation()).address() +
                                        place.offset());
    };
    if (!sends.empty()) {
      Sends prepared{.posted = count(own->posted())};
      WEFT_ASSIGN_OR_RETURN(prepared.arrived, there.At(other->arrived()));
      for (size_t i = 0; i < sends.size(); ++i) {
        Copy copy{.from = sends[i]->at, .bytes = sends[i]->bytes};
        for (const PeerTable::Place& place : other->receives(static_cast<int>(i)).at()) {
          WEFT_ASSIGN_OR_RETURN(char* const to, there.At(place));
          copy.to.push_back(to);
        }
        prepared.copies.push_back(std::move(copy));
      }
      prepared_[e].sends.push_back(std::move(prepared));
    }
    if (own->receives_size() > 0) {
      Receives prepared{.arrived = count(own->arrived())};
      WEFT_ASSIGN_OR_RETURN(prepared.posted, there.At(other->posted()));
      prepared_[e].receives.push_back(prepared);
    }
  }
  return absl::OkStatus();
}

absl::Status PeerMessenger::Run(int exchange, int64_t firing, void* native_stream) {
  const auto stream = static_cast<cudaStream_t>(native_stream);
  const Prepared& prepared = prepared_[exchange];
  const auto enqueue = [&]() -> absl::Status {
    for (const Receives& receives : prepared.receives) {
      WEFT_RETURN_IF_ERROR(WriteOnStream(stream, receives.posted, firing + 1));
    }
    for (const Sends& sends : prepared.sends) {
      WEFT_RETURN_IF_ERROR(AwaitOnStream(stream, sends.posted, firing + 1));
      for (const Copy& copy : sends.copies) {
        WEFT_RETURN_IF_ERROR(CudaStatus(
            cudaMemcpyAsync(copy.to[firing % copy.to.size()], copy.from[firing % copy.from.size()],
                            copy.bytes, cudaMemcpyDefault, stream),
            "copying to another GPU"));
      }
      WEFT_RETURN_IF_ERROR(WriteOnStream(stream, sends.arrived, firing + 1));
    }
    if (prepared.rest >= 0) WEFT_RETURN_IF_ERROR(rest_->Run(prepared.rest, firing, native_stream));
    for (const Receives& receives : prepared.receives) {
      WEFT_RETURN_IF_ERROR(AwaitOnStream(stream, receives.arrived, firing + 1));
    }
    return absl::OkStatus();
  };
  const absl::Status status = enqueue();
  if (!status.ok()) transport_.Poison(status);
  return status;
}

// Again at every look: a peer that has not heard of the failure may still count.
bool PeerMessenger::Poll() {
  if (transport_.poisoned()) Release();
  return false;
}

void PeerMessenger::Release() {
  if (cudaMemsetAsync(counts_.data(), kReleased, counts_.bytes(), release_) != cudaSuccess) {
    (void)cudaGetLastError();
  }
}

}  // namespace weft

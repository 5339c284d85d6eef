#include "runtime/rendezvous.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr uint32_t kBarrierTag = Transport::kTagLimit;
constexpr uint32_t kBroadcastTag = Transport::kTagLimit + 1;
constexpr uint32_t kSwapTag = Transport::kTagLimit + 4;

absl::Status SendAndWait(Transport& transport, int to, const void* data, int64_t bytes) {
  Request request;
  transport.Send(to, kBroadcastTag, data, bytes, &request);
  return transport.Wait(request);
}

absl::Status ReceiveAndWait(Transport& transport, int from, void* data, int64_t bytes) {
  Request request;
  transport.Receive(from, kBroadcastTag, data, bytes, &request);
  return transport.Wait(request);
}

}  // namespace

// Dissemination: in round k every rank hears from the one 2^k before it.
absl::Status Barrier(Transport& transport) {
  const int rank = transport.rank();
  const int size = transport.size();
  for (int distance = 1; distance < size; distance *= 2) {
    Request send;
    Request receive;
    transport.Receive((rank - distance % size + size) % size, kBarrierTag, nullptr, 0, &receive);
    transport.Send((rank + distance) % size, kBarrierTag, nullptr, 0, &send);
    const absl::Status sent = transport.Wait(send);
    WEFT_RETURN_IF_ERROR(transport.Wait(receive));
    WEFT_RETURN_IF_ERROR(sent);
  }
  return transport.status();
}

absl::Status BroadcastBytes(Transport& transport, int root, std::string* bytes) {
  const int size = transport.size();
  if (root < 0 || root >= size) {
    return absl::InvalidArgumentError(absl::StrCat("broadcast from rank ", root, " of ", size));
  }
  const int position = (transport.rank() - root + size) % size;  // the root is 0
  int step = 1;
  while (step < size && (position & step) == 0) step *= 2;
  if (position != 0) {
    const int parent = (position - step + root) % size;
    int64_t length = 0;
    WEFT_RETURN_IF_ERROR(ReceiveAndWait(transport, parent, &length, sizeof(length)));
    bytes->resize(length);
    WEFT_RETURN_IF_ERROR(ReceiveAndWait(transport, parent, bytes->data(), length));
  }
  const int64_t length = static_cast<int64_t>(bytes->size());
  for (step /= 2; step > 0; step /= 2) {
    if (position + step >= size) continue;
    const int child = (position + step + root) % size;
    WEFT_RETURN_IF_ERROR(SendAndWait(transport, child, &length, sizeof(length)));
    WEFT_RETURN_IF_ERROR(SendAndWait(transport, child, bytes->data(), length));
  }
  return transport.status();
}

absl::StatusOr<std::vector<std::string>> GatherBytes(Transport& transport, int root,
                                                     std::string bytes) {
  std::vector<std::string> gathered;
  if (root < 0 || root >= transport.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("gathering on rank ", root, " of ", transport.size()));
  }
  if (transport.rank() != root) {
    const int64_t length = static_cast<int64_t>(bytes.size());
    WEFT_RETURN_IF_ERROR(SendAndWait(transport, root, &length, sizeof(length)));
    WEFT_RETURN_IF_ERROR(SendAndWait(transport, root, bytes.data(), length));
    return gathered;
  }
  gathered.resize(transport.size());
  for (int rank = 0; rank < transport.size(); ++rank) {
    if (rank == root) {
      gathered[rank] = std::move(bytes);
      continue;
    }
    int64_t length = 0;
    WEFT_RETURN_IF_ERROR(ReceiveAndWait(transport, rank, &length, sizeof(length)));
    gathered[rank].resize(length);
    WEFT_RETURN_IF_ERROR(ReceiveAndWait(transport, rank, gathered[rank].data(), length));
  }
  return gathered;
}

namespace {

// One message to and from each peer.
struct Swap {
  explicit Swap(size_t peers) : sends(peers), receives(peers) {}
  absl::Status Wait(Transport& transport) {
    absl::Status status;
    for (Request& request : receives) status.Update(transport.Wait(request));
    for (Request& request : sends) status.Update(transport.Wait(request));
    return status;
  }
  std::vector<Request> sends, receives;
};

}  // namespace

absl::StatusOr<std::vector<std::string>> SwapBytes(Transport& transport,
                                                   absl::Span<const int> peers,
                                                   absl::Span<const std::string> bytes) {
  std::vector<int64_t> sizes(peers.size()), theirs(peers.size());
  Swap lengths(peers.size());
  for (size_t i = 0; i < peers.size(); ++i) {
    sizes[i] = static_cast<int64_t>(bytes[i].size());
    transport.Receive(peers[i], kSwapTag, &theirs[i], sizeof(int64_t), &lengths.receives[i]);
    transport.Send(peers[i], kSwapTag, &sizes[i], sizeof(int64_t), &lengths.sends[i]);
  }
  WEFT_RETURN_IF_ERROR(lengths.Wait(transport));
  std::vector<std::string> got(peers.size());
  Swap contents(peers.size());
  for (size_t i = 0; i < peers.size(); ++i) {
    got[i].resize(theirs[i]);
    transport.Receive(peers[i], kSwapTag, got[i].data(), theirs[i], &contents.receives[i]);
    transport.Send(peers[i], kSwapTag, bytes[i].data(), sizes[i], &contents.sends[i]);
  }
  WEFT_RETURN_IF_ERROR(contents.Wait(transport));
  return got;
}

}  // namespace weft

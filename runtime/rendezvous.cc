#include "runtime/rendezvous.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr uint32_t kBarrierTag = Transport::kTagLimit;
constexpr uint32_t kBroadcastTag = Transport::kTagLimit + 1;

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

}  // namespace weft

#include "runtime/cpu_communicator.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/collective_bytes.h"
#include "runtime/reduce.h"
#include "runtime/status.h"

namespace weft {
namespace {

const std::byte* Bytes(const void* data) { return static_cast<const std::byte*>(data); }
std::byte* Bytes(void* data) { return static_cast<std::byte*>(data); }

void CopyUnlessSame(void* out, const void* in, int64_t bytes) {
  if (bytes > 0 && out != in) std::memcpy(out, in, bytes);
}

}  // namespace

absl::StatusOr<std::unique_ptr<CpuCommunicator>> CpuCommunicator::Create(
    Transport& transport, std::vector<int> world_ranks, uint32_t tag) {
  const std::string group = absl::StrCat("communicator of ranks ", absl::StrJoin(world_ranks, ","));
  if (std::set<int>(world_ranks.begin(), world_ranks.end()).size() != world_ranks.size()) {
    return absl::InvalidArgumentError(absl::StrCat(group, ": a rank is named twice"));
  }
  for (int rank : world_ranks) {
    if (rank < 0 || rank >= transport.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(group, ": there are ranks 0 to ", transport.size() - 1));
    }
  }
  if (tag >= Transport::kTagLimit) {
    return absl::InvalidArgumentError(
        absl::StrCat(group, ": tag ", tag, " is not below ", Transport::kTagLimit));
  }
  const auto self = std::find(world_ranks.begin(), world_ranks.end(), transport.rank());
  if (self == world_ranks.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(group, ": rank ", transport.rank(), " is not a member"));
  }
  const int rank = static_cast<int>(self - world_ranks.begin());
  return std::unique_ptr<CpuCommunicator>(
      new CpuCommunicator(transport, std::move(world_ranks), rank, tag));
}

CpuCommunicator::CpuCommunicator(Transport& transport, std::vector<int> world_ranks, int rank,
                                 uint32_t tag)
    : Communicator(std::move(world_ranks), rank),
      transport_(transport),
      tag_(tag),
      sends_(std::make_unique<Request[]>(2 * size())),
      receives_(std::make_unique<Request[]>(2 * size())),
      offsets_(size() + 1, 0),
      sources_(size(), nullptr) {}

absl::Status CpuCommunicator::Reserve(int64_t count, DType dtype, Monoid) {
  if (shares_ || !transport_.SharesMemory() || size() == 1 || count <= 0 ||
      !AllReduceMayShare(size(), count, dtype)) {
    return absl::OkStatus();
  }
  shares_ = true;
  absl::StatusOr<std::unique_ptr<HostExchange>> exchange =
      HostExchange::Create(transport_, world_ranks(), tag_, AllReduceSharedBytes(size()));
  WEFT_RETURN_IF_ERROR(Annotate(exchange.status(),
                                absl::StrCat("meeting ranks ", absl::StrJoin(world_ranks(), ","))));
  exchange_ = *std::move(exchange);
  return absl::OkStatus();
}

absl::Status CpuCommunicator::AllReduce(const void* in, void* out, int64_t count, DType dtype,
                                        Monoid monoid) {
  WEFT_RETURN_IF_ERROR(CheckReducible(dtype, monoid));
  if (count < 0) return absl::InvalidArgumentError(absl::StrCat("all_reduce of ", count));
  if (size() == 1 || count == 0) {
    CopyUnlessSame(out, in, count * SizeOf(dtype));
    return absl::OkStatus();
  }
  if (exchange_ != nullptr && AllReduceMayShare(size(), count, dtype)) {
    return Finish(ShareAndReduce(in, out, count, dtype, monoid), "all_reduce", count, dtype);
  }
  if (AllReduceIsDirect(size(), count, dtype)) {
    return Finish(ExchangeAndReduce(Bytes(in), Bytes(out), count, dtype, monoid), "all_reduce",
                  count, dtype);
  }
  for (int r = 0; r < size(); ++r) offsets_[r + 1] = AllReduceBlock(r, size(), count).second;
  std::byte* const own = Bytes(out) + offsets_[rank()] * SizeOf(dtype);
  absl::Status status = ReduceBlocks(Bytes(in), own, dtype, monoid);
  if (status.ok()) status = GatherRing(Bytes(out), SizeOf(dtype));
  return Finish(status, "all_reduce", count, dtype);
}

absl::Status CpuCommunicator::ReduceScatter(const void* in, void* out,
                                            absl::Span<const int64_t> counts, DType dtype,
                                            Monoid monoid) {
  WEFT_RETURN_IF_ERROR(CheckReducible(dtype, monoid));
  WEFT_RETURN_IF_ERROR(SetOffsets(counts));
  return Finish(ReduceBlocks(Bytes(in), Bytes(out), dtype, monoid), "reduce_scatter",
                offsets_.back(), dtype);
}

absl::Status CpuCommunicator::AllGather(const void* in, void* out, absl::Span<const int64_t> counts,
                                        DType dtype) {
  WEFT_RETURN_IF_ERROR(SetOffsets(counts));
  const int64_t element_bytes = SizeOf(dtype);
  CopyUnlessSame(Bytes(out) + offsets_[rank()] * element_bytes, in, counts[rank()] * element_bytes);
  return Finish(AllGatherIsDirect(counts, dtype) ? GatherDirect(Bytes(out), element_bytes)
                                                 : GatherRing(Bytes(out), element_bytes),
                "all_gather", offsets_.back(), dtype);
}

absl::Status CpuCommunicator::AllToAll(const void* in, Parts send, void* out, Parts receive,
                                       DType dtype) {
  const size_t members = size();
  if (send.counts.size() != members || send.offsets.size() != members ||
      receive.counts.size() != members || receive.offsets.size() != members) {
    return absl::InvalidArgumentError(
        absl::StrCat("all_to_all: counts and offsets are not one per rank of ", size()));
  }
  for (size_t r = 0; r < members; ++r) {
    if (send.counts[r] < 0 || receive.counts[r] < 0) {
      return absl::InvalidArgumentError("all_to_all: a count is negative");
    }
  }
  if (send.counts[rank()] != receive.counts[rank()]) {
    return absl::InvalidArgumentError("all_to_all: a rank's part for itself has two sizes");
  }
  const int64_t element_bytes = SizeOf(dtype);
  for (int step = 1; step < size(); ++step) {
    const int from = (rank() + size() - step) % size();
    if (receive.counts[from] == 0) continue;
    Receive(from, Bytes(out) + receive.offsets[from] * element_bytes,
            receive.counts[from] * element_bytes, receives_[from]);
  }
  int64_t total = 0;
  for (int step = 1; step < size(); ++step) {
    const int to = (rank() + step) % size();
    total += send.counts[to];
    if (send.counts[to] == 0) continue;
    Send(to, Bytes(in) + send.offsets[to] * element_bytes, send.counts[to] * element_bytes,
         sends_[to]);
  }
  CopyUnlessSame(Bytes(out) + receive.offsets[rank()] * element_bytes,
                 Bytes(in) + send.offsets[rank()] * element_bytes,
                 send.counts[rank()] * element_bytes);
  return Finish(JoinAll(), "all_to_all", total, dtype);
}

absl::Status CpuCommunicator::Broadcast(void* data, int64_t count, DType dtype, int root) {
  if (count < 0 || root < 0 || root >= size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("broadcast of ", count, " from rank ", root, " of ", size()));
  }
  if (size() == 1 || count == 0) return absl::OkStatus();
  const int64_t bytes = count * SizeOf(dtype);
  return Finish(BroadcastIsTree(size(), count, dtype) ? BroadcastTree(data, bytes, root)
                                                      : BroadcastChain(Bytes(data), bytes, root),
                "broadcast", count, dtype);
}

void CpuCommunicator::Send(int to, const void* data, int64_t bytes, Request& request) {
  CountSent(bytes);
  transport_.Send(world_ranks()[to], tag_, data, bytes, &request);
}

void CpuCommunicator::Receive(int from, void* data, int64_t bytes, Request& request) {
  transport_.Receive(world_ranks()[from], tag_, data, bytes, &request);
}

const absl::Status& CpuCommunicator::Join(const Request& request) {
  if (request.in_flight()) transport_.Wait(request).IgnoreError();
  return request.status();
}

absl::Status CpuCommunicator::JoinAll() {
  for (int i = 0; i < 2 * size(); ++i) {
    WEFT_RETURN_IF_ERROR(Join(receives_[i]));
    WEFT_RETURN_IF_ERROR(Join(sends_[i]));
  }
  return absl::OkStatus();
}

absl::Status CpuCommunicator::Finish(const absl::Status& status, std::string_view collective,
                                     int64_t count, DType dtype) {
  if (status.ok()) return status;
  const absl::Status named = Annotate(
      status, absl::StrCat(std::string(collective), " of ", count, " ", std::string(Name(dtype)),
                           " over ranks ", absl::StrJoin(world_ranks(), ",")));
  transport_.Poison(named);
  for (int i = 0; i < 2 * size(); ++i) {
    transport_.Wait(receives_[i]).IgnoreError();
    transport_.Wait(sends_[i]).IgnoreError();
  }
  return named;
}

absl::Status CpuCommunicator::SetOffsets(absl::Span<const int64_t> counts) {
  if (static_cast<int>(counts.size()) != size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(counts.size(), " counts for ", size(), " ranks"));
  }
  for (int r = 0; r < size(); ++r) {
    if (counts[r] < 0) {
      return absl::InvalidArgumentError(absl::StrCat("count ", counts[r], " of rank ", r));
    }
    offsets_[r + 1] = offsets_[r] + counts[r];
  }
  return absl::OkStatus();
}

std::byte* CpuCommunicator::Workspace(int64_t bytes) {
  if (bytes <= static_cast<int64_t>(lent().size())) return lent().data();
  if (bytes > workspace_bytes_) {
    workspace_ = std::make_unique_for_overwrite<std::byte[]>(bytes);
    workspace_bytes_ = bytes;
  }
  return workspace_.get();
}

}  // namespace weft

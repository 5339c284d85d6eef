#include "runtime/compare_clocks.h"

#include <limits>

#include "runtime/status.h"

namespace weft {
namespace {

// One of the transport's own: beyond those of rendezvous.cc and of messengers.
constexpr uint32_t kTag = Transport::kTagLimit + 3;
constexpr int kQuestions = 50;

// What rank 0 does for one other rank.
absl::Status Answer(Transport& transport, int rank, int64_t (*now)()) {
  Request request;
  for (int i = 0; i < kQuestions; ++i) {
    transport.Receive(rank, kTag, nullptr, 0, &request);
    WEFT_RETURN_IF_ERROR(transport.Wait(request));
    const int64_t time = now();
    transport.Send(rank, kTag, &time, sizeof(time), &request);
    WEFT_RETURN_IF_ERROR(transport.Wait(request));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ClockDifference> CompareClocks(Transport& transport, int64_t (*now)()) {
  ClockDifference best;
  if (transport.rank() == 0) {
    for (int rank = 1; rank < transport.size(); ++rank) {
      WEFT_RETURN_IF_ERROR(Answer(transport, rank, now));
    }
    return best;
  }
  best.error = std::numeric_limits<int64_t>::max();
  Request ask, answer;
  for (int i = 0; i < kQuestions; ++i) {
    int64_t theirs = 0;
    transport.Receive(0, kTag, &theirs, sizeof(theirs), &answer);
    const int64_t before = now();
    transport.Send(0, kTag, nullptr, 0, &ask);
    const absl::Status answered = transport.Wait(answer);
    const int64_t after = now();
    WEFT_RETURN_IF_ERROR(transport.Wait(ask));
    WEFT_RETURN_IF_ERROR(answered);
    const int64_t error = (after - before + 1) / 2;
    if (error >= best.error) continue;
    best.error = error;
    best.ahead = theirs - (before + (after - before) / 2);
  }
  if (best.ahead >= -best.error && best.ahead <= best.error) best.ahead = 0;
  return best;
}

}  // namespace weft

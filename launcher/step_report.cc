#include "launcher/step_report.h"

#include <algorithm>

#include "runtime/status.h"

namespace weft {
namespace {

// Beyond the tags of plans.
constexpr uint32_t kTag = Transport::kTagLimit - 1;

struct Message {
  StepReport report;
  Decision decision;
};

}  // namespace

absl::StatusOr<StepReport> ExchangeReports(Transport& transport, const StepReport& mine,
                                           Decision* decision) {
  Request request;
  Message message{mine, *decision};
  if (transport.rank() != 0) {
    transport.Send(0, kTag, &message, sizeof(message), &request);
    WEFT_RETURN_IF_ERROR(request.Wait());
    transport.Receive(0, kTag, decision, sizeof(*decision), &request);
    WEFT_RETURN_IF_ERROR(request.Wait());
    return mine;
  }
  StepReport total = mine;
  for (int rank = 1; rank < transport.size(); ++rank) {
    transport.Receive(rank, kTag, &message, sizeof(message), &request);
    WEFT_RETURN_IF_ERROR(request.Wait());
    total.bytes_sent += message.report.bytes_sent;
    total.memory_bytes = std::max(total.memory_bytes, message.report.memory_bytes);
    if (message.decision == Decision::kInterrupt) *decision = Decision::kInterrupt;
  }
  for (int rank = 1; rank < transport.size(); ++rank) {
    transport.Send(rank, kTag, decision, sizeof(*decision), &request);
    WEFT_RETURN_IF_ERROR(request.Wait());
  }
  return total;
}

}  // namespace weft

// Blocking messages of doubles between ranks, beside the plans': how a test brings together what
// the ranks of a job hold.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/status.h"
#include "runtime/transport.h"

namespace weft::testing {

inline constexpr uint32_t kDoublesTag = Transport::kTagLimit - 1;

inline absl::Status SendDoubles(Transport& transport, int to, const std::vector<double>& values) {
  const auto count = static_cast<int64_t>(values.size());
  Request size, content;
  transport.Send(to, kDoublesTag, &count, sizeof(count), &size);
  transport.Send(to, kDoublesTag, values.data(), count * static_cast<int64_t>(sizeof(double)),
                 &content);
  const absl::Status sent = transport.Wait(size);
  WEFT_RETURN_IF_ERROR(transport.Wait(content));
  return sent;
}

inline absl::StatusOr<std::vector<double>> ReceiveDoubles(Transport& transport, int from) {
  int64_t count = 0;
  Request request;
  transport.Receive(from, kDoublesTag, &count, sizeof(count), &request);
  WEFT_RETURN_IF_ERROR(transport.Wait(request));
  std::vector<double> values(count);
  transport.Receive(from, kDoublesTag, values.data(), count * static_cast<int64_t>(sizeof(double)),
                    &request);
  WEFT_RETURN_IF_ERROR(transport.Wait(request));
  return values;
}

}  // namespace weft::testing

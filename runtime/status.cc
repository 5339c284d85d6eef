#include "runtime/status.h"

namespace weft {

absl::Status Annotate(const absl::Status& status, std::string_view phrase) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat(std::string(phrase), ": ", status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    annotated.SetPayload(url, payload);
  });
  return annotated;
}

}  // namespace weft

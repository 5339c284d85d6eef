// Error plumbing: every fallible function returns absl::Status or absl::StatusOr; these macros pass
// failures up, and Annotate adds one phrase per layer. (Debian's Abseil has no status macros.)
#pragma once

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace weft {

// Returns `status` with "`phrase`: " before its message; OK stays OK. Payloads are kept.
absl::Status Annotate(const absl::Status& status, std::string_view phrase);

}  // namespace weft

#define WEFT_RETURN_IF_ERROR(expr)                         \
  do {                                                     \
    if (absl::Status weft_status_ = (expr); !weft_status_.ok()) return weft_status_; \
  } while (false)

#define WEFT_CONCAT_INNER_(a, b) a##b
#define WEFT_CONCAT_(a, b) WEFT_CONCAT_INNER_(a, b)
#define WEFT_ASSIGN_OR_RETURN(lhs, expr) \
  WEFT_ASSIGN_OR_RETURN_IMPL_(WEFT_CONCAT_(weft_statusor_, __LINE__), lhs, expr)
#define WEFT_ASSIGN_OR_RETURN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                                \
  if (!tmp.ok()) return std::move(tmp).status();    \
  lhs = *std::move(tmp)

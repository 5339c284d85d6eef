#include "graph/spec_text.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr int kMaxRank = 32;
constexpr int64_t kMaxElements = int64_t{1} << 56;  // so that bytes fit in 64 bits

}  // namespace

absl::Status CheckSize(const TensorSpec& spec) {
  int64_t elements = 1;
  for (int64_t extent : spec.shape) {
    if (extent < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("shape ", ToString(spec.shape), " has a negative extent"));
    }
    if (extent > 0 && elements > kMaxElements / extent) {
      return absl::InvalidArgumentError(absl::StrCat("shape ", ToString(spec.shape),
                                                     " has more than ", kMaxElements, " elements"));
    }
    elements *= std::max<int64_t>(extent, 1);
  }
  if (spec.rank() > kMaxRank) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a tensor of ", spec.rank(), " dimensions; at most ", kMaxRank, " are allowed"));
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorSpec> ParseSpec(const std::string& text) {
  const absl::Status malformed = absl::InvalidArgumentError(
      absl::StrCat("type '", text, "' must look like f32[4,3], or f32[] for a scalar"));
  const size_t bracket = text.find('[');
  if (bracket == std::string::npos || text.back() != ']') return malformed;
  TensorSpec spec;
  WEFT_ASSIGN_OR_RETURN(spec.dtype, ParseDType(text.substr(0, bracket)));
  const std::string extents = text.substr(bracket + 1, text.size() - bracket - 2);
  if (!extents.empty()) {
    for (absl::string_view part : absl::StrSplit(extents, ',')) {
      int64_t extent = 0;
      if (!absl::SimpleAtoi(part, &extent)) return malformed;
      spec.shape.push_back(extent);
    }
  }
  WEFT_RETURN_IF_ERROR(CheckSize(spec));
  return spec;
}

}  // namespace weft

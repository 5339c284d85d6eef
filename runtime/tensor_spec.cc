#include "runtime/tensor_spec.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace weft {

int64_t NumElements(absl::Span<const int64_t> shape) {
  int64_t n = 1;
  for (int64_t extent : shape) n *= extent;
  return n;
}

std::string ToString(absl::Span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ","), "]");
}

std::string TensorSpec::ToString() const {
  return absl::StrCat(std::string(Name(dtype)), weft::ToString(shape));
}

}  // namespace weft

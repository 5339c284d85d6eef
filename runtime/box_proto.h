// Boxes in plans: Box <-> BoxDef.
#pragma once

#include "absl/status/statusor.h"
#include "runtime/box.h"

namespace weft {

class BoxDef;  // runtime/plan.proto

void ToProto(const Box& box, BoxDef* proto);
// InvalidArgument unless every dimension's bounds come in pairs, increase and are not negative.
absl::StatusOr<Box> FromProto(const BoxDef& proto);

}  // namespace weft

// The only place that includes glog: newer Abseil defines CHECK as well, and the two must not meet.
// CHECK is for what only a weft bug can break; input, machine and peers answer with absl::Status.
#pragma once

#include <glog/logging.h>  // IWYU pragma: export

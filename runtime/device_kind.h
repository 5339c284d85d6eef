// DeviceKind: for which kind of device a plan is made.
#pragma once

namespace weft {

enum class DeviceKind { kCpu, kCuda };

}  // namespace weft

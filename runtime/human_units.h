// Numbers as people read them, for reports and errors.
#pragma once

#include <cstdint>
#include <string>

namespace weft {

// "512 B", "1.5 KiB", "42.4 MiB": three digits, powers of 1024.
std::string HumanBytes(int64_t bytes);
// "853,120".
std::string HumanCount(int64_t count);
// A short time: "21.4 us", "1.35 ms", "2.1 s".
std::string HumanSeconds(double seconds);
// A time to wait: "8s", "2m 05s", "1h 20m".
std::string HumanDuration(double seconds);

}  // namespace weft

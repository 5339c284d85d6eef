#include "runtime/human_units.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace weft {

std::string HumanBytes(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (std::abs(value) >= 1023.5 && unit < 6) {
    value /= 1024;
    ++unit;
  }
  const int decimals = unit == 0 || std::abs(value) >= 100 ? 0 : std::abs(value) >= 10 ? 1 : 2;
  return absl::StrFormat("%.*f %s", decimals, value, kUnits[unit]);
}

std::string HumanCount(int64_t count) {
  std::string text = absl::StrCat(count);
  const size_t sign = count < 0 ? 1 : 0;
  for (size_t at = text.size(); at > sign + 3;) {
    at -= 3;
    text.insert(at, 1, ',');
  }
  return text;
}

std::string HumanSeconds(double seconds) {
  if (seconds < 1e-3) return absl::StrFormat("%.3g us", seconds * 1e6);
  if (seconds < 1) return absl::StrFormat("%.3g ms", seconds * 1e3);
  return absl::StrFormat("%.3g s", seconds);
}

std::string HumanDuration(double seconds) {
  const int64_t s = static_cast<int64_t>(std::lround(seconds));
  if (s >= 3600) return absl::StrFormat("%dh %02dm", s / 3600, s / 60 % 60);
  if (s >= 60) return absl::StrFormat("%dm %02ds", s / 60, s % 60);
  return absl::StrFormat("%ds", s);
}

}  // namespace weft

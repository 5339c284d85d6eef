#include "runtime/utf8.h"

#include <cstddef>
#include <cstdint>

namespace weft {

bool IsUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const uint8_t lead = static_cast<uint8_t>(text[i]);
    const size_t bytes = lead < 0x80 ? 1 : lead < 0xc0 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (bytes == 0 || lead > 0xf4 || text.size() - i < bytes) return false;
    uint32_t point = bytes == 1 ? lead : lead & (0xff >> (bytes + 1));
    for (size_t j = 1; j < bytes; ++j) {
      const uint8_t next = static_cast<uint8_t>(text[i + j]);
      if ((next & 0xc0) != 0x80) return false;
      point = point << 6 | (next & 0x3f);
    }
    constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    if (point < kLeast[bytes] || point > 0x10ffff) return false;
    if (point >= 0xd800 && point < 0xe000) return false;
    i += bytes;
  }
  return true;
}

}  // namespace weft

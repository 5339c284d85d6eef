// Whether bytes are text: names go into JSON, terminals and files of other programs.
#pragma once

#include <string_view>

namespace weft {

// Well-formed UTF-8 (RFC 3629): no overlong forms, surrogates or code points beyond U+10FFFF.
bool IsUtf8(std::string_view text);

}  // namespace weft

// Text to token ids and back. One tokenizer so far: a token is a byte.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"

namespace weft {

// Ids of the byte tokenizer are 0 .. 255.
inline constexpr int64_t kByteVocabulary = 256;

// One id per byte.
std::vector<int32_t> EncodeBytes(std::string_view text);

// The bytes of the ids. An id outside 0 .. 255 (a model may have a larger vocabulary) becomes '?'.
std::string DecodeBytes(absl::Span<const int32_t> ids);

}  // namespace weft

#include "launcher/tokenizer.h"

namespace weft {

std::vector<int32_t> EncodeBytes(std::string_view text) {
  std::vector<int32_t> ids;
  ids.reserve(text.size());
  for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
  return ids;
}

std::string DecodeBytes(absl::Span<const int32_t> ids) {
  std::string text;
  text.reserve(ids.size());
  for (const int32_t id : ids) {
    text.push_back(id >= 0 && id < kByteVocabulary ? static_cast<char>(id) : '?');
  }
  return text;
}

}  // namespace weft

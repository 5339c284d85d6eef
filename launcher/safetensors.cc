#include "launcher/safetensors.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as in the reference implementation

}  // namespace

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  const auto bad = [&path](const std::string& why) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", path, "' is not a valid safetensors file: ", why));
  };
  SafetensorsFile file;
  WEFT_ASSIGN_OR_RETURN(file.file_, MappedFile::Open(path));
  const uint8_t* bytes = file.file_.data();
  const size_t size = file.file_.size();
  if (size < kLengthBytes) return bad("it is shorter than 8 bytes");
  uint64_t header_bytes = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) header_bytes |= uint64_t{bytes[i]} << (8 * i);
  if (header_bytes > kMaxHeaderBytes || header_bytes > size - kLengthBytes) {
    return bad(absl::StrCat("it promises a header of ", header_bytes, " bytes but has ",
                            size - kLengthBytes, "; the file is cut short or something else"));
  }
  const std::string text(reinterpret_cast<const char*>(bytes + kLengthBytes), header_bytes);
  const int64_t data_bytes = static_cast<int64_t>(size - kLengthBytes - header_bytes);
  absl::StatusOr<SafetensorsHeader> header = ParseSafetensorsHeader(text, data_bytes);
  if (!header.ok()) return bad(std::string(header.status().message()));
  file.header_ = *std::move(header);
  file.data_ = bytes + kLengthBytes + header_bytes;
  for (size_t i = 0; i < file.header_.entries.size(); ++i) {
    file.index_[file.header_.entries[i].name] = i;
  }
  return file;
}

const SafetensorsEntry* SafetensorsFile::Find(const std::string& name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &header_.entries[it->second];
}

}  // namespace weft

#include "launcher/dataset_source.h"

#include <google/protobuf/io/gzip_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr int64_t kLlmcHeaderBytes = 256 * 4;
constexpr int32_t kLlmcMagicU16 = 20240520;  // GPT-2 tokens
constexpr int32_t kLlmcMagicU32 = 20240801;  // Llama 3 tokens

template <typename T>
T Load(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

bool IsGzip(const MappedFile& file) {
  return file.size() >= 18 && file.data()[0] == 0x1f && file.data()[1] == 0x8b;
}

absl::StatusOr<std::vector<uint8_t>> Unpack(const std::string& path, const MappedFile& file) {
  if (file.size() > static_cast<size_t>(std::numeric_limits<int>::max())) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", path, "' is packed and over 2 GB; unpack it first (gunzip, dictunzip)"));
  }
  google::protobuf::io::ArrayInputStream packed(file.data(), static_cast<int>(file.size()));
  google::protobuf::io::GzipInputStream stream(&packed);
  std::vector<uint8_t> bytes;
  const void* part = nullptr;
  int size = 0;
  while (stream.Next(&part, &size)) {
    const uint8_t* begin = static_cast<const uint8_t*>(part);
    bytes.insert(bytes.end(), begin, begin + size);
  }
  // The last four bytes of a member are its unpacked size modulo 2^32 (RFC 1952).
  const uint32_t promised = Load<uint32_t>(file.data() + file.size() - 4);
  if (static_cast<uint32_t>(bytes.size()) != promised) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", path, "' is not one whole gzip member: ", bytes.size(),
                     " bytes came out, its end promises ", promised,
                     "; fetch it again, or unpack it and name the plain file"));
  }
  return bytes;
}

}  // namespace

int64_t BytesOf(TokenSource::Width width) {
  switch (width) {
    case TokenSource::Width::kU8: return 1;
    case TokenSource::Width::kU16:
    case TokenSource::Width::kI16: return 2;
    case TokenSource::Width::kI32:
    case TokenSource::Width::kU32: return 4;
    case TokenSource::Width::kI64: return 8;
  }
  return 1;
}

int64_t TokenSource::At(int64_t index) const {
  const uint8_t* at = data_ + index * BytesOf(width_);
  switch (width_) {
    case Width::kU8: return *at;
    case Width::kU16: return Load<uint16_t>(at);
    case Width::kI16: return Load<int16_t>(at);
    case Width::kI32: return Load<int32_t>(at);
    case Width::kU32: return Load<uint32_t>(at);
    case Width::kI64: return Load<int64_t>(at);
  }
  return -1;
}

TokenSource TokenSource::FromBytes(std::string name, std::vector<uint8_t> bytes) {
  TokenSource source;
  source.name_ = std::move(name);
  source.unpacked_ = std::move(bytes);
  source.data_ = source.unpacked_.data();
  source.size_ = static_cast<int64_t>(source.unpacked_.size());
  return source;
}

absl::StatusOr<TokenSource> TokenSource::OpenText(const std::string& path) {
  WEFT_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  if (IsGzip(file)) {
    WEFT_ASSIGN_OR_RETURN(std::vector<uint8_t> bytes, Unpack(path, file));
    return FromBytes(path, std::move(bytes));
  }
  TokenSource source;
  source.name_ = path;
  source.file_ = std::move(file);
  source.data_ = source.file_.data();
  source.size_ = static_cast<int64_t>(source.file_.size());
  return source;
}

absl::StatusOr<TokenSource> TokenSource::OpenRaw(const std::string& path, Width width) {
  WEFT_ASSIGN_OR_RETURN(TokenSource source, OpenText(path));
  if (source.size_ % BytesOf(width) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", path, "' has ", source.size_, " bytes, which is no whole number of ",
                     BytesOf(width), "-byte tokens; check data.format"));
  }
  source.size_ /= BytesOf(width);
  source.width_ = width;
  return source;
}

absl::StatusOr<TokenSource> TokenSource::OpenLlmc(const std::string& path) {
  WEFT_ASSIGN_OR_RETURN(TokenSource source, OpenText(path));
  const int64_t bytes = source.size_;
  if (bytes < kLlmcHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "' has ", bytes,
                                                   " bytes; an llm.c header alone has ",
                                                   kLlmcHeaderBytes, "; check data.format"));
  }
  const int32_t magic = Load<int32_t>(source.data_);
  const int32_t version = Load<int32_t>(source.data_ + 4);
  const int64_t count = Load<int32_t>(source.data_ + 8);
  if (magic != kLlmcMagicU16 && magic != kLlmcMagicU32) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", path, "' begins with ", magic, ", which is no llm.c token file (",
                     kLlmcMagicU16, " or ", kLlmcMagicU32, "); check data.format"));
  }
  const int32_t known = magic == kLlmcMagicU16 ? 1 : 7;
  if (version != known) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "' is llm.c version ", version,
                                                   " of magic ", magic, "; version ", known,
                                                   " is known. Write it again with today's llm.c"));
  }
  source.width_ = magic == kLlmcMagicU16 ? Width::kU16 : Width::kU32;
  const int64_t held = (bytes - kLlmcHeaderBytes) / BytesOf(source.width_);
  if (count < 0 || bytes != kLlmcHeaderBytes + count * BytesOf(source.width_)) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "' promises ", count,
                                                   " tokens but has room for ", held,
                                                   "; the file is cut short or damaged"));
  }
  source.data_ += kLlmcHeaderBytes;
  source.size_ = count;
  return source;
}

absl::StatusOr<TokenSource> TokenSource::OpenAny(const std::string& path) {
  const absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (file.ok() && file->size() >= 4) {
    const int32_t magic = Load<int32_t>(file->data());
    if (magic == kLlmcMagicU16 || magic == kLlmcMagicU32) return OpenLlmc(path);
  }
  std::string prefix = path;
  if (absl::EndsWith(path, ".bin")) prefix.resize(path.size() - 4);
  struct stat status = {};
  if (absl::EndsWith(path, ".idx") || stat((prefix + ".idx").c_str(), &status) == 0) {
    return OpenMegatron(path);
  }
  if (!file.ok()) return file.status();
  return absl::InvalidArgumentError(
      absl::StrCat("'", path,
                   "' has neither llm.c's header nor an .idx file beside it; if it is "
                   "nothing but tokens, say data.format: U16 or U32"));
}

}  // namespace weft

// Megatron-LM's indexed datasets: PREFIX.bin holds tokens, PREFIX.idx says where sequences lie.
//   "MMIDIDX\0\0" | u64 version | u8 dtype | u64 sequences | u64 documents + 1 |
//   i32 length[sequences] | i64 offset in bytes[sequences] | i64 first sequence[documents + 1]
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "launcher/dataset_source.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr char kMagic[] = "MMIDIDX\0";  // with the terminator: nine bytes
constexpr size_t kMagicBytes = 9;
constexpr size_t kHeaderBytes = kMagicBytes + 8 + 1 + 8 + 8;
constexpr uint64_t kVersion = 1;

template <typename T>
T Load(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

absl::StatusOr<TokenSource::Width> WidthOf(const std::string& path, uint8_t code) {
  switch (code) {
    case 1: return TokenSource::Width::kU8;
    case 3: return TokenSource::Width::kI16;
    case 4: return TokenSource::Width::kI32;
    case 5: return TokenSource::Width::kI64;
    case 8: return TokenSource::Width::kU16;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("'", path, "' has dtype code ", static_cast<int>(code),
                       ", which holds no token ids; known: 1, 3, 4, 5, 8"));
  }
}

struct Index {
  TokenSource::Width width = TokenSource::Width::kU16;
  int64_t tokens = 0;
};

absl::Status Damaged(const std::string& path, const std::string& why) {
  return absl::InvalidArgumentError(
      absl::StrCat("'", path, "' is no usable Megatron-LM index: ", why));
}

// Sums the sequences and checks that they follow each other without a gap.
absl::StatusOr<Index> ReadIndex(const std::string& path) {
  WEFT_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  if (file.size() < kHeaderBytes) return Damaged(path, "it is shorter than its header");
  const uint8_t* at = file.data();
  if (std::memcmp(at, kMagic, kMagicBytes) != 0) return Damaged(path, "it lacks MMIDIDX in front");
  const uint64_t version = Load<uint64_t>(at + kMagicBytes);
  if (version != kVersion)
    return Damaged(path, absl::StrCat("it has version ", version, ", not 1"));
  Index index;
  WEFT_ASSIGN_OR_RETURN(index.width, WidthOf(path, at[kMagicBytes + 8]));
  const uint64_t sequences = Load<uint64_t>(at + kMagicBytes + 9);
  const uint64_t documents = Load<uint64_t>(at + kMagicBytes + 17);
  const size_t body = file.size() - kHeaderBytes;
  if (sequences > body / 12 || documents > body / 8 || sequences * 12 + documents * 8 > body) {
    return Damaged(path, absl::StrCat("it promises ", sequences, " sequences and ", documents,
                                      " document marks but is too short for them"));
  }
  const uint8_t* lengths = at + kHeaderBytes;
  const uint8_t* offsets = lengths + sequences * 4;
  const int64_t item = BytesOf(index.width);
  for (uint64_t i = 0; i < sequences; ++i) {
    const int64_t length = Load<int32_t>(lengths + i * 4);
    const int64_t offset = Load<int64_t>(offsets + i * 8);
    if (length < 0) return Damaged(path, absl::StrCat("sequence ", i, " has length ", length));
    if (index.tokens > std::numeric_limits<int64_t>::max() / 16) {
      return Damaged(path, "it promises more tokens than any file holds");
    }
    if (offset != index.tokens * item) {
      return Damaged(path, absl::StrCat("sequence ", i, " begins at byte ", offset,
                                        " though the one before ends at ", index.tokens * item));
    }
    index.tokens += length;
  }
  return index;
}

}  // namespace

absl::StatusOr<TokenSource> TokenSource::OpenMegatron(const std::string& path) {
  std::string prefix = path;
  if (absl::EndsWith(path, ".bin") || absl::EndsWith(path, ".idx")) prefix.resize(path.size() - 4);
  WEFT_ASSIGN_OR_RETURN(const Index index, ReadIndex(prefix + ".idx"));
  TokenSource source;
  source.name_ = prefix + ".bin";
  WEFT_ASSIGN_OR_RETURN(source.file_, MappedFile::Open(source.name_));
  const int64_t bytes = static_cast<int64_t>(source.file_.size());
  if (bytes != index.tokens * BytesOf(index.width)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", source.name_, "' has ", bytes, " bytes but its index promises ", index.tokens,
        " tokens of ", BytesOf(index.width), " bytes; the two files do not belong together"));
  }
  source.data_ = source.file_.data();
  source.size_ = index.tokens;
  source.width_ = index.width;
  return source;
}

}  // namespace weft

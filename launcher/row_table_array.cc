// Arrays of numbers: NumPy's .npy (numpy/lib/format.py: "\x93NUMPY", version, length of the header,
// the header as a Python dictionary, then the numbers) and files of nothing but numbers.
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "graph/spec_text.h"
#include "launcher/row_table.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kVersionBytes = 2;

// What is known of the numbers of a file.
struct ArrayLayout {
  RowTable::Stored stored = RowTable::Stored::kF32;
  Shape shape;
  size_t begin = 0;  // where they start
};

absl::Status Wrong(const std::string& path, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat("'", path, "' ", why));
}

std::optional<RowTable::Stored> StoredOf(std::string_view descr) {
  using Stored = RowTable::Stored;
  constexpr std::pair<std::string_view, Stored> kKnown[] = {
      {"|b1", Stored::kBool}, {"|i1", Stored::kI8},  {"|u1", Stored::kU8},  {"<i2", Stored::kI16},
      {"<u2", Stored::kU16},  {"<i4", Stored::kI32}, {"<u4", Stored::kU32}, {"<i8", Stored::kI64},
      {"<f2", Stored::kF16},  {"<f4", Stored::kF32}, {"<f8", Stored::kF64}};
  for (const auto& [name, stored] : kKnown) {
    if (name == descr) return stored;
  }
  return std::nullopt;
}

// What stands behind 'key': in the header, up to `end`; empty if it does not.
std::string_view ValueOf(std::string_view header, std::string_view key, std::string_view end) {
  const size_t at = header.find(absl::StrCat("'", std::string(key), "':"));
  if (at == std::string_view::npos) return {};
  header.remove_prefix(at + key.size() + 3);
  while (!header.empty() && header.front() == ' ') header.remove_prefix(1);
  const size_t stop = header.find(end, 1);
  return stop == std::string_view::npos ? std::string_view() : header.substr(0, stop);
}

absl::StatusOr<Shape> ShapeOf(const std::string& path, std::string_view text) {
  Shape shape;
  const std::string inside(text.substr(std::min<size_t>(1, text.size())));  // without "("
  const std::vector<std::string> parts = absl::StrSplit(inside, ',', absl::SkipWhitespace());
  for (const std::string& part : parts) {
    int64_t extent = 0;
    if (!absl::SimpleAtoi(part, &extent) || extent < 0) {
      return Wrong(path, absl::StrCat("has the shape ", std::string(text), "), which is none"));
    }
    shape.push_back(extent);
  }
  WEFT_RETURN_IF_ERROR(CheckSize({shape, DType::kF64}));
  return shape;
}

absl::StatusOr<ArrayLayout> ReadNpyHeader(const std::string& path, const MappedFile& file) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  const int version = text.size() > kMagic.size() ? text[kMagic.size()] : 0;
  if (version < 1 || version > 3) {
    return Wrong(path, absl::StrCat("is .npy of version ", version, "; known: 1 to 3"));
  }
  const size_t length_bytes = version == 1 ? 2 : 4;
  const size_t start = kMagic.size() + kVersionBytes + length_bytes;
  uint32_t length = 0;
  if (text.size() >= start) std::memcpy(&length, &text[start - length_bytes], length_bytes);
  if (text.size() < start || text.size() - start < length) {
    return Wrong(path, "ends within its .npy header; it is cut short");
  }
  const std::string_view header = text.substr(start, length);
  const std::string_view descr = ValueOf(header, "descr", ",");
  const std::string_view order = ValueOf(header, "fortran_order", ",");
  const std::string_view shape = ValueOf(header, "shape", ")");
  if (descr.size() < 3 || order.empty() || shape.empty()) {
    return Wrong(path,
                 "has a .npy header without descr, fortran_order or "
                 "shape; it is damaged");
  }
  if (order != "False") {
    return Wrong(path, "is stored column by column; save numpy.ascontiguousarray of it");
  }
  const std::optional<RowTable::Stored> stored = StoredOf(descr.substr(1, descr.size() - 2));
  if (!stored) {
    return Wrong(path, absl::StrCat("holds ", std::string(descr),
                                    "; known: '<f4', '<f8', '<f2', '<i4', '<i8', '<i2', '<u4', "
                                    "'<u2', '|i1', '|u1' and '|b1'; convert it with astype"));
  }
  ArrayLayout layout{.stored = *stored, .begin = start + length};
  WEFT_ASSIGN_OR_RETURN(layout.shape, ShapeOf(path, shape));
  return layout;
}

absl::StatusOr<RowTable::Stored> StoredAs(DType type) {
  switch (type) {
    case DType::kF32: return RowTable::Stored::kF32;
    case DType::kF64: return RowTable::Stored::kF64;
    case DType::kF16: return RowTable::Stored::kF16;
    case DType::kI32: return RowTable::Stored::kI32;
    case DType::kI64: return RowTable::Stored::kI64;
    case DType::kU8: return RowTable::Stored::kU8;
    case DType::kBool: return RowTable::Stored::kBool;
    case DType::kBF16: break;
  }
  return absl::InvalidArgumentError("data.type: arrays of bf16 are not read; store f32");
}

}  // namespace

absl::StatusOr<RowTable> RowTable::OpenArray(const Job::Data& data, const TensorSpec& row) {
  const std::string& path = data.array();
  RowTable table(path, row);
  WEFT_ASSIGN_OR_RETURN(table.file_, MappedFile::Open(path));
  const std::string_view text(reinterpret_cast<const char*>(table.file_.data()),
                              table.file_.size());
  const bool npy = text.substr(0, kMagic.size()) == kMagic;
  ArrayLayout layout;
  if (npy) {
    if (data.has_type())
      return Wrong(path, "is .npy and says itself what it holds; drop data.type");
    WEFT_ASSIGN_OR_RETURN(layout, ReadNpyHeader(path, table.file_));
  } else {
    if (!data.has_type()) {
      return Wrong(path,
                   absl::StrCat("is no .npy; if it is nothing but numbers, say of which type, "
                                "such as data.type: \"f32[1000,3]\""));
    }
    WEFT_ASSIGN_OR_RETURN(const TensorSpec spec, ParseSpec(data.type()));
    WEFT_ASSIGN_OR_RETURN(layout.stored, StoredAs(spec.dtype));
    layout.shape = spec.shape;
  }
  const size_t bytes = static_cast<size_t>(NumElements(layout.shape) * BytesOf(layout.stored));
  if (text.size() - layout.begin != bytes) {
    return Wrong(path, absl::StrCat("has ", text.size() - layout.begin, " bytes of numbers, but ",
                                    ToString(layout.shape), " of ", BytesOf(layout.stored),
                                    " bytes each takes ", bytes,
                                    npy ? "; it is damaged" : "; correct data.type"));
  }
  WEFT_RETURN_IF_ERROR(table.Hold(table.file_.data() + layout.begin, layout.stored, layout.shape));
  return table;
}

}  // namespace weft

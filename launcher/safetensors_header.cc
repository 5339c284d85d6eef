#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "launcher/safetensors.h"
#include "runtime/status.h"

namespace weft {
namespace {

using nlohmann::json;

constexpr char kMetadata[] = "__metadata__";
constexpr size_t kMaxRank = 32;
constexpr int kMaxNesting = 4;  // header, tensor, shape: three are needed

struct DTypeName {
  DType dtype;
  const char* name;
};

constexpr DTypeName kDTypes[] = {
    {DType::kF32, "F32"}, {DType::kF64, "F64"}, {DType::kBF16, "BF16"}, {DType::kF16, "F16"},
    {DType::kI32, "I32"}, {DType::kI64, "I64"}, {DType::kU8, "U8"},     {DType::kBool, "BOOL"},
};

absl::Status Bad(const std::string& what) { return absl::InvalidArgumentError(what); }

// Whether brackets nest no deeper than a header's do. Looked at before parsing, so that a hostile
// header cannot grow the parser's stack.
bool NestingIsSane(const std::string& text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxNesting) return false;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return true;
}

absl::StatusOr<int64_t> ReadSize(const json& value) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > uint64_t{1} << 62) {
    return Bad("is not a size");
  }
  return static_cast<int64_t>(value.get<uint64_t>());
}

absl::StatusOr<TensorSpec> ReadSpec(const json& value) {
  const auto dtype = value.find("dtype");
  const auto shape = value.find("shape");
  if (dtype == value.end() || !dtype->is_string()) return Bad("has no dtype");
  if (shape == value.end() || !shape->is_array()) return Bad("has no shape");
  if (shape->size() > kMaxRank) return Bad("has too many dimensions");
  TensorSpec spec;
  const auto known = std::find_if(std::begin(kDTypes), std::end(kDTypes), [&](const DTypeName& d) {
    return dtype->get_ref<const std::string&>() == d.name;
  });
  if (known == std::end(kDTypes)) {
    return Bad(absl::StrCat("has dtype '", dtype->get_ref<const std::string&>(),
                            "', which weft does not read"));
  }
  spec.dtype = known->dtype;
  int64_t bytes = SizeOf(spec.dtype);
  bool has_zero = false;
  for (const json& extent : *shape) {
    absl::StatusOr<int64_t> size = ReadSize(extent);
    if (!size.ok()) return Bad("has an extent that is not a size");
    spec.shape.push_back(*size);
    if (*size == 0) has_zero = true;
    if (__builtin_mul_overflow(bytes, std::max<int64_t>(*size, 1), &bytes)) {
      return Bad("has a shape too large for any file");
    }
  }
  if (has_zero && spec.bytes() != 0) return Bad("has a shape too large for any file");
  return spec;
}

absl::StatusOr<SafetensorsEntry> ReadEntry(const std::string& name, const json& value) {
  if (!value.is_object()) return Bad("is not described by an object");
  SafetensorsEntry entry{.name = name, .spec = {}, .begin = 0};
  WEFT_ASSIGN_OR_RETURN(entry.spec, ReadSpec(value));
  const auto offsets = value.find("data_offsets");
  if (offsets == value.end() || !offsets->is_array() || offsets->size() != 2) {
    return Bad("has no data_offsets of two numbers");
  }
  WEFT_ASSIGN_OR_RETURN(entry.begin, ReadSize((*offsets)[0]));
  WEFT_ASSIGN_OR_RETURN(const int64_t end, ReadSize((*offsets)[1]));
  if (end < entry.begin || end - entry.begin != entry.spec.bytes()) {
    return Bad(absl::StrCat("is ", entry.spec.ToString(), ", ", entry.spec.bytes(),
                            " bytes, but its offsets are ", entry.begin, " to ", end));
  }
  return entry;
}

absl::Status CheckCoverage(const std::vector<SafetensorsEntry>& entries, int64_t data_bytes) {
  int64_t at = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin != at) {
      return Bad(absl::StrCat("tensor '", entry.name, "' begins at byte ", entry.begin, ", ",
                              entry.begin < at ? "inside another one" : "after a gap",
                              "; expected ", at));
    }
    at += entry.spec.bytes();
    if (at > data_bytes) break;
  }
  if (at == data_bytes) return absl::OkStatus();
  return Bad(absl::StrCat("the header describes ", at > data_bytes ? "more than " : "",
                          at < data_bytes ? "only " : "", std::min(at, data_bytes),
                          " bytes of the ", data_bytes, " that follow it"));
}

// Parses JSON, refusing repeated names; a discarded value on any error.
json ParseOnce(const std::string& text, std::string* repeated) {
  std::set<std::string> names;
  return json::parse(
      text,
      [&](int depth, json::parse_event_t event, json& parsed) {
        if (event == json::parse_event_t::key && depth == 1 &&
            !names.insert(parsed.get<std::string>()).second && repeated->empty()) {
          *repeated = parsed.get<std::string>();
        }
        return true;
      },
      /*allow_exceptions=*/false);
}

}  // namespace

std::string SafetensorsDTypeName(DType dtype) {
  for (const DTypeName& known : kDTypes) {
    if (known.dtype == dtype) return known.name;
  }
  return "";
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(const std::string& text,
                                                         int64_t data_bytes) {
  if (!NestingIsSane(text)) return Bad("the header nests deeper than any safetensors header");
  std::string repeated;
  const json root = ParseOnce(text, &repeated);
  if (root.is_discarded() || !root.is_object()) return Bad("the header is not a JSON object");
  if (!repeated.empty()) return Bad(absl::StrCat("'", repeated, "' is described twice"));
  SafetensorsHeader header;
  for (const auto& [name, value] : root.items()) {
    if (name != kMetadata) {
      absl::StatusOr<SafetensorsEntry> entry = ReadEntry(name, value);
      if (!entry.ok()) {
        return Bad(absl::StrCat("tensor '", name, "' ", std::string(entry.status().message())));
      }
      header.entries.push_back(*std::move(entry));
      continue;
    }
    if (!value.is_object()) return Bad("__metadata__ is not an object");
    for (const auto& [key, text_value] : value.items()) {
      if (!text_value.is_string()) return Bad(absl::StrCat("metadata '", key, "' is not a string"));
      header.metadata[key] = text_value.get<std::string>();
    }
  }
  std::sort(header.entries.begin(), header.entries.end(), [](const auto& a, const auto& b) {
    return std::make_pair(a.begin, a.begin + a.spec.bytes()) <
           std::make_pair(b.begin, b.begin + b.spec.bytes());
  });
  WEFT_RETURN_IF_ERROR(CheckCoverage(header.entries, data_bytes));
  return header;
}

std::string PrintSafetensorsHeader(const SafetensorsHeader& header) {
  json root = json::object();
  if (!header.metadata.empty()) root[kMetadata] = header.metadata;
  for (const SafetensorsEntry& entry : header.entries) {
    root[entry.name] = {
        {"dtype", SafetensorsDTypeName(entry.spec.dtype)},
        {"shape", std::vector<int64_t>(entry.spec.shape.begin(), entry.spec.shape.end())},
        {"data_offsets", {entry.begin, entry.begin + entry.spec.bytes()}},
    };
  }
  // Bytes that are not UTF-8 are replaced rather than refused; weft's names are ASCII.
  std::string text = root.dump(-1, ' ', false, json::error_handler_t::replace);
  while (text.size() % 8 != 0) text.push_back(' ');
  std::string length(8, '\0');
  for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);
  return length + text;
}

}  // namespace weft

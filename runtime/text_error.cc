#include "runtime/text_error.h"

#include <google/protobuf/descriptor.h>

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "runtime/near_name.h"

namespace weft {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;

// The message type called `full_name` among `type` and what it contains; nullptr if there is none.
const Descriptor* FindMessage(const Descriptor& type, const std::string& full_name) {
  if (type.full_name() == full_name) return &type;
  return type.file()->pool()->FindMessageTypeByName(full_name);
}

// The type of the enum field called `name`, anywhere below `type` (types do not recurse).
const EnumDescriptor* FindEnum(const Descriptor& type, const std::string& name) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.enum_type() != nullptr && field.name() == name) return field.enum_type();
    if (field.message_type() == nullptr) continue;
    if (const EnumDescriptor* found = FindEnum(*field.message_type(), name)) return found;
  }
  return nullptr;
}

std::vector<std::string> FieldNames(const Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return names;
}

// Puts the parser's messages in the words of the text's author.
std::string Reword(const Descriptor& root, const std::string& message) {
  const std::vector<std::string> parts = absl::StrSplit(message, '"');
  if (parts.size() >= 4 && absl::StartsWith(message, "Message type ")) {
    const Descriptor* type = FindMessage(root, parts[1]);
    if (type == nullptr) return message;
    return absl::StrCat(type->name(), " has no field '", parts[3], "'",
                        Suggest(parts[3], FieldNames(*type)));
  }
  if (parts.size() >= 4 && absl::StartsWith(message, "Unknown enumeration value of ")) {
    const EnumDescriptor* type = FindEnum(root, parts[3]);
    if (type == nullptr) return message;
    std::vector<std::string> names;
    for (int i = 0; i < type->value_count(); ++i) names.push_back(type->value(i)->name());
    return absl::StrCat("'", parts[1], "' is not a value of ", parts[3], Suggest(parts[1], names));
  }
  if (parts.size() >= 2 && absl::StartsWith(message, "Extension ")) {
    return absl::StrCat("'[", parts[1], "]' is an extension; there are none here, drop it");
  }
  if (absl::StartsWith(message, "Message is too deep")) {
    return "nested deeper than any field is";
  }
  if (parts.size() >= 2 && absl::StartsWith(message, "Non-repeated field ")) {
    return absl::StrCat("'", parts[1], "' is given multiple times; keep one");
  }
  if (parts.size() >= 4 && absl::StrContains(message, "another member of oneof")) {
    return absl::StrCat("'", parts[1], "' and '", parts[3],
                        "' exclude each other (a oneof); keep one of them");
  }
  return message;
}

// The column of an unknown field: the parser has already read its name and points behind it.
// Lines with tabs are left alone, there columns are not bytes.
int ColumnOfName(const std::string& text, int line, int column, const std::string& message) {
  const std::vector<std::string> parts = absl::StrSplit(message, '"');
  if (parts.size() < 4 || !absl::StartsWith(message, "Message type ")) return column;
  const std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  if (line >= static_cast<int>(lines.size()) || absl::StrContains(lines[line], '\t')) return column;
  const size_t name = lines[line].substr(0, column).rfind(parts[3]);
  return name == absl::string_view::npos ? column : static_cast<int>(name);
}

}  // namespace

void FirstTextError::AddError(int line, google::protobuf::io::ColumnNumber column,
                              const std::string& message) {
  if (!text_.empty()) return;
  if (line >= 0) column = ColumnOfName(input_, line, column, message);
  text_ = line < 0 ? absl::StrCat(file_, ": ")
                   : absl::StrCat(file_, ":", line + 1, ":", column + 1, ": ");
  absl::StrAppend(&text_, Reword(root_, message));
}

}  // namespace weft

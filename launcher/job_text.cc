#include "launcher/job_text.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>

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
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::TextFormat;

constexpr size_t kMaxTextBytes = 1 << 20;
constexpr int kMaxNesting = 32;

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
    return absl::StrCat("'[", parts[1], "]' is an extension; there are none, drop it");
  }
  if (absl::StartsWith(message, "Message is too deep")) {
    return absl::StrCat("nested more than ", kMaxNesting, " levels deep");
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

// Keeps the first error; what follows it is mostly its echo.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  FirstError(const Descriptor& root, const std::string& file, const std::string& input)
      : root_(root), file_(file), input_(input) {}

  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    if (!text_.empty()) return;
    if (line >= 0) column = ColumnOfName(input_, line, column, message);
    text_ = line < 0 ? absl::StrCat(file_, ": ")
                     : absl::StrCat(file_, ":", line + 1, ":", column + 1, ": ");
    absl::StrAppend(&text_, Reword(root_, message));
  }
  void AddWarning(int, google::protobuf::io::ColumnNumber, const std::string&) override {}

  const std::string& text() const { return text_; }

 private:
  const Descriptor& root_;
  const std::string& file_;
  const std::string& input_;
  std::string text_;
};

void RecordOrigins(const Message& message, const std::string& file, const std::string& prefix,
                   const TextFormat::ParseInfoTree& tree, FieldOrigins* origins) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->is_repeated()) continue;
    const std::string path = absl::StrCat(prefix, field->name());
    const TextFormat::ParseLocation at = tree.GetLocation(field, -1);
    if (at.line >= 0) {
      (*origins)[path] = absl::StrCat(file, ":", at.line + 1, ":", at.column + 1);
    }
    const TextFormat::ParseInfoTree* nested = tree.GetTreeForNested(field, -1);
    if (field->message_type() != nullptr && nested != nullptr) {
      RecordOrigins(message.GetReflection()->GetMessage(message, field), file, path + ".", *nested,
                    origins);
    }
  }
}

}  // namespace

std::string WhereWritten(const FieldOrigins& origins, const std::string& path) {
  std::string written = path;
  while (true) {
    auto it = origins.find(written);
    if (it != origins.end()) return absl::StrCat(it->second, ": ", path);
    if (written.empty()) return path;
    const size_t dot = written.rfind('.');
    written = dot == std::string::npos ? "" : written.substr(0, dot);
  }
}

absl::Status ParseStrictText(const std::string& text, const std::string& file, Message* message,
                             FieldOrigins* origins) {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": ", text.size(), " bytes; the limit is ", kMaxTextBytes));
  }
  FirstError error(*message->GetDescriptor(), file, text);
  TextFormat::ParseInfoTree tree;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.WriteLocationsTo(&tree);
  parser.SetRecursionLimit(kMaxNesting);
  if (!parser.ParseFromString(text, message) || !error.text().empty()) {
    return absl::InvalidArgumentError(
        error.text().empty() ? absl::StrCat(file, ": not protobuf text") : error.text());
  }
  RecordOrigins(*message, file, "", tree, origins);
  return absl::OkStatus();
}

std::vector<std::string> FieldNames(const Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return names;
}

}  // namespace weft

#include "launcher/job_text.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>

#include "absl/strings/str_cat.h"
#include "runtime/text_error.h"

namespace weft {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::TextFormat;

constexpr size_t kMaxTextBytes = 1 << 20;
constexpr int kMaxNesting = 32;

void RecordOrigins(const Message& message, const std::string& file, const std::string& prefix,
                   const TextFormat::ParseInfoTree& tree, FieldOrigins* origins) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const bool repeated = field->is_repeated();
    const int size = repeated ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < size; ++i) {
      const std::string path =
          absl::StrCat(prefix, field->name(), size == 1 ? "" : absl::StrCat("[", i, "]"));
      const int index = repeated ? i : -1;
      const TextFormat::ParseLocation at = tree.GetLocation(field, index);
      if (at.line >= 0) {
        (*origins)[path] = absl::StrCat(file, ":", at.line + 1, ":", at.column + 1);
      }
      if (field->message_type() == nullptr) continue;
      const TextFormat::ParseInfoTree* nested = tree.GetTreeForNested(field, index);
      if (nested == nullptr) continue;
      RecordOrigins(repeated ? reflection.GetRepeatedMessage(message, field, i)
                             : reflection.GetMessage(message, field),
                    file, path + ".", *nested, origins);
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
  FirstTextError error(*message->GetDescriptor(), file, text);
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

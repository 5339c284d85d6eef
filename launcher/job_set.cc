// --set path=value: an override is turned into the protobuf text it abbreviates, parsed with the
// same strict parser, and merged.
#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "launcher/job.h"
#include "runtime/near_name.h"
#include "runtime/status.h"

namespace weft {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

absl::Status Refuse(const std::string& assignment, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat("--set ", assignment, ": ", why));
}

// The fields that a dotted path names, outermost first.
absl::StatusOr<std::vector<const FieldDescriptor*>> ResolvePath(const std::string& assignment,
                                                                const std::string& path) {
  std::vector<const FieldDescriptor*> fields;
  const Descriptor* type = Job::descriptor();
  for (const std::string& name : std::vector<std::string>(absl::StrSplit(path, '.'))) {
    if (type == nullptr) {
      return Refuse(assignment, absl::StrCat("'", fields.back()->name(),
                                             "' is a value and has no field '", name, "'"));
    }
    const FieldDescriptor* field = type->FindFieldByName(name);
    if (field == nullptr) {
      return Refuse(assignment, absl::StrCat(type->name(), " has no field '", name, "'",
                                             Suggest(name, FieldNames(*type))));
    }
    fields.push_back(field);
    type = field->message_type();
  }
  return fields;
}

// The value as protobuf text: bare strings get quotes.
std::string Literal(const FieldDescriptor& field, const std::string& value) {
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_STRING) return value;
  const bool quoted = value.size() >= 2 && (value.front() == '"' || value.front() == '\'') &&
                      value.back() == value.front();
  return quoted ? value : absl::StrCat("\"", absl::CEscape(value), "\"");
}

// Whether `message` holds the one chain of fields and nothing beside it: "5 seed: 6" as a value
// would add a second field.
bool HoldsOnly(const Message& message, const std::vector<const FieldDescriptor*>& fields) {
  const Message* at = &message;
  for (const FieldDescriptor* field : fields) {
    std::vector<const FieldDescriptor*> set;
    at->GetReflection()->ListFields(*at, &set);
    if (set.size() != 1 || set[0] != field) return false;
    if (field->message_type() != nullptr) at = &at->GetReflection()->GetMessage(*at, field);
  }
  return true;
}

}  // namespace

absl::Status ApplySet(const std::string& assignment, Job* job, FieldOrigins* origins) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) {
    return Refuse(assignment, "write path=value, for example --set train.steps=5");
  }
  const std::string path(absl::StripAsciiWhitespace(assignment.substr(0, equals)));
  const std::string value(absl::StripAsciiWhitespace(assignment.substr(equals + 1)));
  WEFT_ASSIGN_OR_RETURN(const std::vector<const FieldDescriptor*> fields,
                        ResolvePath(assignment, path));
  const FieldDescriptor& leaf = *fields.back();
  const bool is_message = leaf.message_type() != nullptr;
  if (is_message && !(absl::StartsWith(value, "{") && absl::EndsWith(value, "}"))) {
    return Refuse(assignment, absl::StrCat("'", leaf.name(), "' is a message; write '", path,
                                           "={field: value}' or name one of its fields: ",
                                           absl::StrJoin(FieldNames(*leaf.message_type()), ", ")));
  }
  std::string text;
  for (size_t i = 0; i + 1 < fields.size(); ++i) absl::StrAppend(&text, fields[i]->name(), " { ");
  absl::StrAppend(&text, leaf.name(), is_message ? " " : ": ", Literal(leaf, value), "\n");
  for (size_t i = 0; i + 1 < fields.size(); ++i) absl::StrAppend(&text, " }");

  Job change;
  FieldOrigins written;
  const absl::Status parsed = ParseStrictText(text, "value", &change, &written);
  if (!parsed.ok()) {
    // The position is within the text made here, which the user never saw.
    const std::string message(parsed.message());
    const size_t after = message.find(": ");
    return Refuse(assignment, after == std::string::npos ? message : message.substr(after + 2));
  }
  if (!HoldsOnly(change, fields)) {
    return Refuse(assignment, "sets more than one field; use one --set for each");
  }
  job->MergeFrom(change);
  for (const auto& [changed, position] : written) {
    (*origins)[changed] = absl::StrCat("--set ", assignment);
  }
  return absl::OkStatus();
}

}  // namespace weft

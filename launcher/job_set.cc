// --set path=value: an override is turned into the protobuf text it abbreviates, parsed with the
// same strict parser, and merged.
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
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

// One name of a path.
struct Part {
  const FieldDescriptor* field;
  int index;  // of the entry, where the field is a list of messages: "data[1]"
};

// "data[1]" -> "data" and 1; -1 where there is no index.
absl::StatusOr<std::pair<std::string, int>> SplitIndex(const std::string& assignment,
                                                       const std::string& part) {
  const size_t bracket = part.find('[');
  if (bracket == std::string::npos) return std::make_pair(part, -1);
  int index = 0;
  if (part.back() != ']' ||
      !absl::SimpleAtoi(part.substr(bracket + 1, part.size() - bracket - 2), &index) || index < 0) {
    return Refuse(assignment, absl::StrCat("'", part, "' is no entry; write data[0]"));
  }
  return std::make_pair(part.substr(0, bracket), index);
}

// The fields that a dotted path names, outermost first. An entry of a list exists, or is the first.
absl::StatusOr<std::vector<Part>> ResolvePath(const std::string& assignment,
                                              const std::string& path, const Job& job) {
  std::vector<Part> parts;
  const Descriptor* type = Job::descriptor();
  for (const std::string& name : std::vector<std::string>(absl::StrSplit(path, '.'))) {
    if (type == nullptr) {
      return Refuse(assignment, absl::StrCat("'", parts.back().field->name(),
                                             "' is a value and has no field '", name, "'"));
    }
    WEFT_ASSIGN_OR_RETURN(const auto split, SplitIndex(assignment, name));
    const FieldDescriptor* field = type->FindFieldByName(split.first);
    if (field == nullptr) {
      return Refuse(assignment, absl::StrCat(type->name(), " has no field '", split.first, "'",
                                             Suggest(split.first, FieldNames(*type))));
    }
    const bool list = field->is_repeated() && field->message_type() != nullptr;
    const int size = list && parts.empty() ? job.GetReflection()->FieldSize(job, field) : 0;
    if (!list && split.second >= 0) {
      return Refuse(assignment, absl::StrCat("'", split.first, "' is no list of entries"));
    }
    if (size > 1 && split.second < 0) {
      return Refuse(assignment, absl::StrCat("there are ", size, " entries; say ", name, "[0] to ",
                                             name, "[", size - 1, "]"));
    }
    if (split.second >= std::max(size, 1)) {
      return Refuse(assignment, absl::StrCat("there is no ", name, "; there are ", size));
    }
    parts.push_back({field, std::max(split.second, 0)});
    type = field->message_type();
  }
  return parts;
}

// The value as protobuf text: bare strings get quotes.
std::string Literal(const FieldDescriptor& field, const std::string& value) {
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_STRING) return value;
  if (field.is_repeated() && absl::StartsWith(value, "[")) return value;
  const bool quoted = value.size() >= 2 && (value.front() == '"' || value.front() == '\'') &&
                      value.back() == value.front();
  return quoted ? value : absl::StrCat("\"", absl::CEscape(value), "\"");
}

// What a chain of fields leads to in a message that has it; lists have one entry.
const Message& Nested(const Message& message, const FieldDescriptor* field) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  return field->is_repeated() ? reflection.GetRepeatedMessage(message, field, 0)
                              : reflection.GetMessage(message, field);
}

// Whether `message` holds the one chain of fields and nothing beside it: "5 seed: 6" as a value
// would add a second field.
bool HoldsOnly(const Message& message, const std::vector<Part>& parts) {
  const Message* at = &message;
  for (const Part& part : parts) {
    std::vector<const FieldDescriptor*> set;
    at->GetReflection()->ListFields(*at, &set);
    if (set.size() != 1 || set[0] != part.field) return false;
    if (part.field->message_type() == nullptr) continue;
    if (part.field->is_repeated() && at->GetReflection()->FieldSize(*at, part.field) != 1) {
      return false;
    }
    at = &Nested(*at, part.field);
  }
  return true;
}

// Merges the chain into `message`: entries of lists where the parts say, lists of values anew.
void MergeChain(const Message& change, absl::Span<const Part> parts, Message* message) {
  const google::protobuf::Reflection& reflection = *message->GetReflection();
  const FieldDescriptor* field = parts[0].field;
  if (field->message_type() == nullptr || (parts.size() == 1 && !field->is_repeated())) {
    if (field->is_repeated()) reflection.ClearField(message, field);
    return message->MergeFrom(change);
  }
  Message* nested = nullptr;
  if (!field->is_repeated()) {
    // Another member of a oneof goes, as it does when messages are merged.
    nested = reflection.MutableMessage(message, field);
  } else if (reflection.FieldSize(*message, field) == 0) {
    nested = reflection.AddMessage(message, field);
  } else {
    nested = reflection.MutableRepeatedMessage(message, field, parts[0].index);
  }
  if (parts.size() == 1) return nested->MergeFrom(Nested(change, field));
  MergeChain(Nested(change, field), parts.subspan(1), nested);
}

}  // namespace

absl::Status ApplySet(const std::string& assignment, Job* job, FieldOrigins* origins) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) {
    return Refuse(assignment, "write path=value, for example --set train.steps=5");
  }
  const std::string path(absl::StripAsciiWhitespace(assignment.substr(0, equals)));
  const std::string value(absl::StripAsciiWhitespace(assignment.substr(equals + 1)));
  WEFT_ASSIGN_OR_RETURN(const std::vector<Part> parts, ResolvePath(assignment, path, *job));
  const FieldDescriptor& leaf = *parts.back().field;
  const bool is_message = leaf.message_type() != nullptr;
  if (is_message && !(absl::StartsWith(value, "{") && absl::EndsWith(value, "}"))) {
    return Refuse(assignment, absl::StrCat("'", leaf.name(), "' is a message; write '", path,
                                           "={field: value}' or name one of its fields: ",
                                           absl::StrJoin(FieldNames(*leaf.message_type()), ", ")));
  }
  std::string text;
  for (size_t i = 0; i + 1 < parts.size(); ++i)
    absl::StrAppend(&text, parts[i].field->name(), " { ");
  absl::StrAppend(&text, leaf.name(), is_message ? " " : ": ", Literal(leaf, value), "\n");
  for (size_t i = 0; i + 1 < parts.size(); ++i) absl::StrAppend(&text, " }");

  Job change;
  FieldOrigins written;
  const absl::Status parsed = ParseStrictText(text, "value", &change, &written);
  if (!parsed.ok()) {
    // The position is within the text made here, which the user never saw.
    const std::string message(parsed.message());
    const size_t after = message.find(": ");
    return Refuse(assignment, after == std::string::npos ? message : message.substr(after + 2));
  }
  if (!HoldsOnly(change, parts)) {
    return Refuse(assignment, "sets more than one field; use one --set for each");
  }
  MergeChain(change, parts, job);
  const std::string first = parts[0].field->name();
  const std::string as_written = path.substr(0, path.find('.'));
  for (const auto& [changed, position] : written) {
    (*origins)[as_written + changed.substr(first.size())] = absl::StrCat("--set ", assignment);
  }
  return absl::OkStatus();
}

}  // namespace weft

// Reads protobuf text strictly, and remembers where each field was written, so that errors found
// long after parsing still name a file and a line.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace google::protobuf {
class Descriptor;
class Message;
}  // namespace google::protobuf

namespace weft {

// Field path ("train.steps"; "data[1].csv" for an entry of a list of several) -> where its value
// came from ("tiny.pbtxt:9:9" or "--set ...").
using FieldOrigins = std::map<std::string, std::string>;

// "tiny.pbtxt:9:9: train.steps": where the field was written, or else the nearest enclosing one;
// the field alone if nothing is known. origins[""] stands for the whole text.
std::string WhereWritten(const FieldOrigins& origins, const std::string& path);

// Parses `text` into an empty *message and adds the origin of every field. InvalidArgument names
// `file`, line and column (from 1): syntax, unknown fields and enum values (with the nearest known
// name), wrong types, numbers out of range, fields given twice, deep nesting.
absl::Status ParseStrictText(const std::string& text, const std::string& file,
                             google::protobuf::Message* message, FieldOrigins* origins);

// Names of a message's fields, in declaration order.
std::vector<std::string> FieldNames(const google::protobuf::Descriptor& type);

}  // namespace weft

// What is wrong with protobuf text, in the words of those who write it.
#pragma once

#include <google/protobuf/io/tokenizer.h>

#include <string>

namespace google::protobuf {
class Descriptor;
}  // namespace google::protobuf

namespace weft {

// Keeps the first error of a parse, what follows it is mostly its echo: "file:line:column:
// message", counted from 1, with the nearest known name where a field or enum value is unknown. One
// parse.
class FirstTextError final : public google::protobuf::io::ErrorCollector {
 public:
  // `root` is the type of the message that is read from `input`. All are borrowed and outlive this.
  FirstTextError(const google::protobuf::Descriptor& root, const std::string& file,
                 const std::string& input)
      : root_(root), file_(file), input_(input) {}

  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override;
  void AddWarning(int, google::protobuf::io::ColumnNumber, const std::string&) override {}

  // Empty: no error.
  const std::string& text() const { return text_; }

 private:
  const google::protobuf::Descriptor& root_;
  const std::string& file_;
  const std::string& input_;
  std::string text_;
};

}  // namespace weft

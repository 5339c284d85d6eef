// Aligned columns of text, for reports that people read.
#pragma once

#include <string>
#include <vector>

namespace weft {

// A value. Columns are as wide as their widest cell; the last one is not filled up.
class TextTable {
 public:
  // A heading that begins with '>' aligns its column right (the '>' is not printed).
  explicit TextTable(std::vector<std::string> headings);
  // As many cells as there are headings.
  void Add(std::vector<std::string> cells);
  // One line for the headings and one a row, each behind `indent` spaces and ended by a newline.
  std::string Text(int indent) const;

 private:
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace weft

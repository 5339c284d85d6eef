// Numbers in comma-separated text (RFC 4180, without line breaks inside of quotes).
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "launcher/row_table.h"
#include "runtime/dtype.h"
#include "runtime/near_name.h"
#include "runtime/status.h"

namespace weft {
namespace {

struct Field {
  std::string_view text;  // without the quotes around it
  int64_t column = 1;     // in the line, from 1
};

// Goes through the lines of a file.
class CsvLines {
 public:
  CsvLines(std::string file, std::string_view text, char delimiter)
      : file_(std::move(file)), rest_(text), delimiter_(delimiter) {
    constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
    if (rest_.substr(0, kByteOrderMark.size()) == kByteOrderMark) {
      rest_.remove_prefix(kByteOrderMark.size());
    }
  }

  bool done() const { return rest_.empty(); }
  int64_t line() const { return line_; }
  absl::Status Wrong(int64_t column, const std::string& why) const {
    return absl::InvalidArgumentError(absl::StrCat(file_, ":", line_, ":", column, ": ", why));
  }
  // Splits the next line.
  absl::Status Next(std::vector<Field>* fields) {
    ++line_;
    fields->clear();
    const size_t end = rest_.find('\n');
    std::string_view line = rest_.substr(0, end);
    rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) return Wrong(1, "an empty line; every line is a row");
    for (size_t at = 0;;) {
      const int64_t column = static_cast<int64_t>(at) + 1;
      size_t stop = std::min(line.find(delimiter_, at), line.size());
      if (at < line.size() && line[at] == '"') {
        WEFT_ASSIGN_OR_RETURN(stop, EndOfQuoted(line, at));
        fields->push_back({line.substr(at + 1, stop - at - 2), column});
      } else {
        fields->push_back({line.substr(at, stop - at), column});
      }
      if (stop == line.size()) return absl::OkStatus();
      at = stop + 1;
    }
  }

 private:
  // Behind the closing quote of the field that begins at `at`.
  absl::StatusOr<size_t> EndOfQuoted(std::string_view line, size_t at) const {
    for (size_t i = at + 1; i < line.size(); ++i) {
      if (line[i] != '"') continue;
      if (i + 1 < line.size() && line[i + 1] == '"') {
        ++i;  // a quote within
      } else if (i + 1 == line.size() || line[i + 1] == delimiter_) {
        return i + 1;
      } else {
        return Wrong(static_cast<int64_t>(i) + 2, "something follows the closing quote");
      }
    }
    return Wrong(static_cast<int64_t>(at) + 1, "the quote is not closed in this line");
  }

  std::string file_;
  std::string_view rest_;
  char delimiter_;
  int64_t line_ = 0;
};

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Whether a type of whole numbers holds `value`.
bool Holds(DType type, int64_t value) {
  switch (type) {
    case DType::kBool: return value == 0 || value == 1;
    case DType::kU8: return value >= 0 && value <= 255;
    case DType::kI32:
      return value >= std::numeric_limits<int32_t>::min() &&
             value <= std::numeric_limits<int32_t>::max();
    default: return true;
  }
}

// What is wrong with `text` as a number of `type`; empty: nothing, and it lies at `out`, as an
// int64 or a double.
std::string ParseNumber(std::string_view text, DType type, uint8_t* out) {
  std::string_view digits = Trimmed(text);
  if (digits.empty()) return "is empty; every row needs a number";
  if (digits.size() > 1 && digits[0] == '+' && digits[1] != '-') digits.remove_prefix(1);
  const auto quoted = [&](const std::string& why) {
    return absl::StrCat("'", std::string(text), "' ", why);
  };
  const char* end = digits.data() + digits.size();
  if (!IsFloat(type)) {
    int64_t value = 0;
    const std::from_chars_result read = std::from_chars(digits.data(), end, value);
    if (read.ec == std::errc::invalid_argument || read.ptr != end) {
      return quoted(absl::StrCat("is no whole number, as ", std::string(Name(type)), " needs"));
    }
    if (read.ec != std::errc() || !Holds(type, value)) {
      return quoted(absl::StrCat("does not fit ", std::string(Name(type))));
    }
    std::memcpy(out, &value, sizeof(value));
    return "";
  }
  double value = 0;
  const std::from_chars_result read = std::from_chars(digits.data(), end, value);
  if (read.ec == std::errc::invalid_argument || read.ptr != end) return quoted("is no number");
  const double most = type == DType::kF64 ? std::numeric_limits<double>::max()
                                          : static_cast<double>(std::numeric_limits<float>::max());
  if (read.ec == std::errc::result_out_of_range || !(std::abs(value) <= most)) {
    return quoted(absl::StrCat("is no finite ", std::string(Name(type))));
  }
  std::memcpy(out, &value, sizeof(value));
  return "";
}

std::string Unquoted(std::string_view text) {
  std::string name;
  for (size_t i = 0; i < text.size(); ++i) {
    name.push_back(text[i]);
    if (text[i] == '"' && i + 1 < text.size() && text[i + 1] == '"') ++i;
  }
  return name;
}

// Which fields of a line are wanted, in order.
absl::StatusOr<std::vector<size_t>> Choose(const Job::Data& data, const CsvLines& lines,
                                           const std::vector<std::string>& names) {
  std::vector<size_t> chosen;
  for (const std::string& wanted : data.columns()) {
    const size_t before = chosen.size();
    for (size_t i = 0; i < names.size(); ++i) {
      if (names[i] == wanted) chosen.push_back(i);
    }
    if (chosen.size() == before) {
      return lines.Wrong(1, absl::StrCat("no column '", wanted, "'", Suggest(wanted, names)));
    }
    if (chosen.size() > before + 1) {
      return lines.Wrong(1, absl::StrCat("two columns are named '", wanted, "'; rename one"));
    }
  }
  if (data.columns().empty()) {
    for (size_t i = 0; i < names.size(); ++i) chosen.push_back(i);
  }
  return chosen;
}

}  // namespace

absl::StatusOr<RowTable> RowTable::OpenCsv(const Job::Data& data, const TensorSpec& row) {
  RowTable table(data.csv(), row);
  WEFT_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(data.csv()));
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  CsvLines lines(data.csv(), text, data.delimiter()[0]);
  if (lines.done()) {
    return absl::InvalidArgumentError(absl::StrCat(data.csv(), ": the file is empty"));
  }
  std::vector<Field> fields;
  std::vector<std::string> names;
  CsvLines first = lines;
  WEFT_RETURN_IF_ERROR(first.Next(&fields));
  for (size_t i = 0; i < fields.size(); ++i) {
    names.push_back(data.header() ? Unquoted(Trimmed(fields[i].text)) : absl::StrCat(i + 1));
  }
  WEFT_ASSIGN_OR_RETURN(const std::vector<size_t> chosen, Choose(data, first, names));
  if (static_cast<int64_t>(chosen.size()) != row.elements()) {
    return first.Wrong(
        1, absl::StrCat("columns ", absl::StrJoin(names, ", "), ": ", chosen.size(),
                        chosen.size() == 1 ? " is" : " are", " taken, but a row of the input is ",
                        row.ToString(), ", ", row.elements(), " numbers; see data.columns"));
  }
  if (data.header()) lines = first;
  constexpr size_t kBytes = 8;
  while (!lines.done()) {
    WEFT_RETURN_IF_ERROR(lines.Next(&fields));
    if (fields.size() != names.size()) {
      return lines.Wrong(1, absl::StrCat(fields.size(), fields.size() == 1 ? " field" : " fields",
                                         ", but there are ", names.size(), " columns"));
    }
    for (size_t i : chosen) {
      const size_t at = table.parsed_.size();
      table.parsed_.resize(at + kBytes);
      const std::string wrong = ParseNumber(fields[i].text, row.dtype, &table.parsed_[at]);
      if (!wrong.empty()) {
        return lines.Wrong(fields[i].column, absl::StrCat("column '", names[i], "': ", wrong));
      }
    }
    ++table.rows_;
  }
  Shape shape = row.shape;
  shape.insert(shape.begin(), table.rows_);
  WEFT_RETURN_IF_ERROR(
      table.Hold(table.parsed_.data(), IsFloat(row.dtype) ? Stored::kF64 : Stored::kI64, shape));
  return table;
}

}  // namespace weft

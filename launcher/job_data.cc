#include "launcher/job_data.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "graph/spec_text.h"
#include "runtime/status.h"

namespace weft {
namespace {

// One check of one entry.
class EntryCheck {
 public:
  EntryCheck(const Job& job, const FieldOrigins& origins, int entry)
      : job_(job), origins_(origins), entry_(entry), data_(job.data(entry)) {}

  absl::Status Run() const {
    if (data_.source_case() == Job::Data::SOURCE_NOT_SET) {
      return Wrong("",
                   "names no file; add text: \"FILE\" or tokens: \"FILE\", "
                   "or for an input of a "
                   "graph file csv: \"FILE\" or array: \"FILE\"");
    }
    const std::string& file = data_.has_text()     ? data_.text()
                              : data_.has_tokens() ? data_.tokens()
                              : data_.has_csv()    ? data_.csv()
                                                   : data_.array();
    if (file.empty()) return Wrong(SourceField(), "is empty; name a file");
    WEFT_RETURN_IF_ERROR(CheckInput());
    WEFT_RETURN_IF_ERROR(IsStream(data_) ? CheckStream() : CheckRows());
    return CheckWithOthers();
  }

 private:
  absl::Status Wrong(const std::string& field, const std::string& why) const {
    const std::string path = absl::StrCat(DataPath(job_, entry_), field.empty() ? "" : ".", field);
    return absl::InvalidArgumentError(absl::StrCat(WhereWritten(origins_, path), ": ", why));
  }
  std::string SourceField() const {
    if (data_.has_text()) return "text";
    if (data_.has_tokens()) return "tokens";
    return data_.has_csv() ? "csv" : "array";
  }

  absl::Status CheckInput() const {
    if (job_.model().has_decoder() && data_.has_input()) {
      return Wrong("input",
                   "a decoder has the inputs tokens and targets, "
                   "which one text or tokens "
                   "file feeds; drop input, or use model.graph_file");
    }
    if (job_.model().has_decoder() && !IsStream(data_)) {
      return Wrong(SourceField(),
                   "a decoder reads text or tokens; rows of numbers are for the "
                   "inputs of a model.graph_file");
    }
    if (data_.has_input() && data_.input().empty())
      return Wrong("input", "is empty; name an input");
    if (!data_.has_input() && !IsStream(data_)) {
      return Wrong("input", "missing; say which input of the graph this feeds");
    }
    return absl::OkStatus();
  }

  absl::Status CheckStream() const {
    if (!data_.has_sequence()) {
      return Wrong("sequence", "missing; say how many tokens a row has, such as sequence: 128");
    }
    if (data_.has_text() && data_.has_format()) {
      return Wrong("format", "says how a token file is laid out; text has no format, drop it");
    }
    if (data_.has_tokens() && data_.has_tokenizer()) {
      return Wrong("tokenizer", "is for text; a token file holds tokens already, drop it");
    }
    if (data_.has_shift() && !data_.has_input()) {
      return Wrong("shift",
                   "is for one input; without data.input both tokens "
                   "and targets are fed");
    }
    if (!data_.columns().empty()) return OnlyFor("columns", "csv");
    if (data_.has_header()) return OnlyFor("header", "csv");
    if (data_.has_delimiter()) return OnlyFor("delimiter", "csv");
    if (data_.has_type()) return OnlyFor("type", "array");
    return absl::OkStatus();
  }

  absl::Status CheckRows() const {
    if (data_.has_sequence()) return OnlyFor("sequence", "text and tokens");
    if (data_.has_shift()) return OnlyFor("shift", "text and tokens");
    if (data_.has_format()) return OnlyFor("format", "tokens");
    if (data_.has_tokenizer()) return OnlyFor("tokenizer", "text");
    if (data_.has_csv()) {
      if (data_.has_type()) return OnlyFor("type", "array");
      const std::string& delimiter = data_.delimiter();
      if (delimiter.size() == 1 && !absl::StrContains("\"\r\n+-.0123456789eE", delimiter)) {
        return absl::OkStatus();
      }
      return Wrong("delimiter", absl::StrCat("is '", delimiter,
                                             "'; it must be one character that no number has, "
                                             "such as \",\" or \"\\t\""));
    }
    if (!data_.columns().empty()) return OnlyFor("columns", "csv");
    if (data_.has_header()) return OnlyFor("header", "csv");
    if (data_.has_delimiter()) return OnlyFor("delimiter", "csv");
    if (!data_.has_type()) return absl::OkStatus();
    const absl::StatusOr<TensorSpec> spec = ParseSpec(data_.type());
    if (!spec.ok()) return Wrong("type", std::string(spec.status().message()));
    if (spec->rank() > 0) return absl::OkStatus();
    return Wrong("type", absl::StrCat("'", data_.type(),
                                      "' has no rows; its first dimension counts "
                                      "them, such as f32[1000]"));
  }

  absl::Status OnlyFor(const std::string& field, const std::string& kind) const {
    return Wrong(field, absl::StrCat("is for ", kind, "; drop it"));
  }

  // Against the entries before it.
  absl::Status CheckWithOthers() const {
    for (int i = 0; i < entry_; ++i) {
      const Job::Data& other = job_.data(i);
      const std::string path = DataPath(job_, i);
      const bool same = data_.has_input()   ? Feeds(other, data_.input())
                        : other.has_input() ? Feeds(data_, other.input())
                                            : true;
      if (same) {
        return Wrong(data_.has_input() ? "input" : "",
                     absl::StrCat("feeds ", FedInputs(data_), ", which ", path,
                                  " feeds already; keep one, or name another input"));
      }
      if (IsStream(data_) != IsStream(other)) {
        return Wrong(SourceField(),
                     absl::StrCat("a stream of tokens has no rows to go with those of ",
                                  "a csv or array file, as ", path,
                                  " does; store the tokens as an array of rows"));
      }
      if (data_.sequence() != other.sequence()) {
        return Wrong("sequence", absl::StrCat("is ", data_.sequence(), " but that of ", path,
                                              " is ", other.sequence(),
                                              "; rows are cut alike, so make "
                                              "them equal"));
      }
      if (data_.has_held_out() && other.has_held_out() && data_.held_out() != other.held_out()) {
        return Wrong("held_out", absl::StrCat("is ", data_.held_out(), " but that of ", path,
                                              " is ", other.held_out(),
                                              "; rows belong together, so make "
                                              "them equal"));
      }
    }
    return absl::OkStatus();
  }

  const Job& job_;
  const FieldOrigins& origins_;
  const int entry_;
  const Job::Data& data_;
};

}  // namespace

absl::Status CheckJobData(const Job& job, const FieldOrigins& origins) {
  for (int i = 0; i < job.data_size(); ++i) {
    WEFT_RETURN_IF_ERROR(EntryCheck(job, origins, i).Run());
  }
  return absl::OkStatus();
}

std::string DataPath(const Job& job, int i) {
  return job.data_size() <= 1 ? "data" : absl::StrCat("data[", i, "]");
}

bool IsStream(const Job::Data& data) { return data.has_text() || data.has_tokens(); }

std::string FedInputs(const Job::Data& data) {
  return data.has_input() ? absl::StrCat("'", data.input(), "'") : "tokens and targets";
}

bool Feeds(const Job::Data& data, std::string_view input) {
  if (data.has_input()) return data.input() == input;
  return IsStream(data) && (input == "tokens" || input == "targets");
}

int64_t TargetsPerStep(const Job& job) {
  const int64_t rows = job.train().global_batch();
  if (job.data().empty() || !IsStream(job.data(0))) return rows;
  return rows * job.data(0).sequence();
}

double HeldOutShare(const Job& job) {
  double share = 0;
  for (const Job::Data& data : job.data()) share = std::max(share, data.held_out());
  return share;
}

}  // namespace weft

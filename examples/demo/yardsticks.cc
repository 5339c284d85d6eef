#include "examples/demo/yardsticks.h"

#include <google/protobuf/io/gzip_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "examples/demo/ngram_model.h"
#include "launcher/dataset.h"
#include "launcher/dataset_source.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Bytes, counted from the start of the held-out part, that the job's evaluation predicts.
absl::StatusOr<int64_t> EvaluatedBytes(const Job& job, const Dataset& dataset) {
  int64_t batches = dataset.held_out_batches();
  if (job.evaluate().batches() > 0) batches = std::min(batches, job.evaluate().batches());
  int64_t bytes = 1;  // the first byte is context alone
  for (int64_t i = 0; i < batches; ++i) bytes += dataset.HeldOutTargets(i);
  return bytes;
}

}  // namespace

double Yardsticks::LossToBeat() const {
  return std::log(2.0) * std::min({ngram3_bpb, gzip_bpb, ngram3_evaluated_bpb});
}

double GzipBitsPerByte(absl::Span<const uint8_t> text) {
  std::string packed;
  google::protobuf::io::StringOutputStream out(&packed);
  google::protobuf::io::GzipOutputStream::Options options;
  options.format = google::protobuf::io::GzipOutputStream::GZIP;
  options.compression_level = 9;
  google::protobuf::io::GzipOutputStream gzip(&out, options);
  while (!text.empty()) {
    void* room = nullptr;
    int size = 0;
    if (!gzip.Next(&room, &size)) break;
    const size_t taken = std::min(text.size(), static_cast<size_t>(size));
    std::memcpy(room, text.data(), taken);
    gzip.BackUp(size - static_cast<int>(taken));
    text.remove_prefix(taken);
  }
  const double bytes = static_cast<double>(gzip.ByteCount());
  gzip.Close();
  return bytes > 0 ? 8.0 * static_cast<double>(packed.size()) / bytes : 0;
}

absl::StatusOr<Yardsticks> MeasureYardsticks(const Job& job) {
  if (job.data_size() != 1 || !job.data(0).has_text() || job.data(0).held_out() <= 0) {
    return absl::InvalidArgumentError("the yardsticks need data.text and data.held_out");
  }
  WEFT_ASSIGN_OR_RETURN(const Dataset dataset, Dataset::Open(job));
  WEFT_ASSIGN_OR_RETURN(const TokenSource source, TokenSource::OpenText(job.data(0).text()));
  std::vector<uint8_t> bytes(static_cast<size_t>(source.size()));
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<uint8_t>(source.At(static_cast<int64_t>(i)));
  }
  Yardsticks result;
  result.train_bytes = dataset.train_tokens();
  result.held_out_bytes = dataset.held_out_tokens();
  WEFT_ASSIGN_OR_RETURN(result.evaluated_bytes, EvaluatedBytes(job, dataset));
  const absl::Span<const uint8_t> text(bytes);
  const absl::Span<const uint8_t> held_out = text.subspan(static_cast<size_t>(result.train_bytes));
  const NgramModel ngram(text.first(static_cast<size_t>(result.train_bytes)));
  result.ngram3_bpb = ngram.BitsPerByte(held_out);
  result.ngram3_evaluated_bpb =
      ngram.BitsPerByte(held_out.first(static_cast<size_t>(result.evaluated_bytes)));
  result.gzip_bpb = GzipBitsPerByte(held_out);
  return result;
}

absl::Status WriteYardsticks(const Yardsticks& y, const std::string& path) {
  const nlohmann::ordered_json json = {{"ngram3_bpb", y.ngram3_bpb},
                                       {"gzip_bpb", y.gzip_bpb},
                                       {"ngram3_evaluated_bpb", y.ngram3_evaluated_bpb},
                                       {"train_bytes", y.train_bytes},
                                       {"held_out_bytes", y.held_out_bytes},
                                       {"evaluated_bytes", y.evaluated_bytes}};
  std::ofstream file(path);
  file << json.dump(2) << "\n";
  file.flush();
  if (!file) return absl::FailedPreconditionError(absl::StrCat("cannot write '", path, "'"));
  return absl::OkStatus();
}

absl::StatusOr<Yardsticks> ReadYardsticks(const std::string& path) {
  std::ifstream file(path);
  const nlohmann::json json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "' holds no yardsticks"));
  }
  const auto number = [&](const char* key) {
    const auto it = json.find(key);
    return it != json.end() && it->is_number() ? it->get<double>() : 0.0;
  };
  Yardsticks y;
  y.ngram3_bpb = number("ngram3_bpb");
  y.gzip_bpb = number("gzip_bpb");
  y.ngram3_evaluated_bpb = number("ngram3_evaluated_bpb");
  y.train_bytes = static_cast<int64_t>(number("train_bytes"));
  y.held_out_bytes = static_cast<int64_t>(number("held_out_bytes"));
  y.evaluated_bytes = static_cast<int64_t>(number("evaluated_bytes"));
  return y;
}

}  // namespace weft

// What the demo's model is measured against, on the very bytes that it is evaluated on.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "launcher/job.pb.h"

namespace weft {

// Bits per byte, of the held-out part of a job's text.
struct Yardsticks {
  double ngram3_bpb = 0;  // NgramModel of the whole training part
  double gzip_bpb = 0;    // gzip -9 of the held-out part
  // The n-gram model again, on those bytes alone that the job evaluates (evaluate.batches).
  double ngram3_evaluated_bpb = 0;
  int64_t train_bytes = 0;
  int64_t held_out_bytes = 0;
  int64_t evaluated_bytes = 0;

  // What a model has to get below to beat all of them, as a loss: nats per byte.
  double LossToBeat() const;
};

// Bits per byte of `text` after gzip -9.
double GzipBitsPerByte(absl::Span<const uint8_t> text);

// Splits the text of a resolved job as launcher/dataset.h does and measures. Takes seconds. Errors:
// those of reading the text; InvalidArgument if the job has no text or holds nothing out.
absl::StatusOr<Yardsticks> MeasureYardsticks(const Job& job);

// A JSON file, written and read back.
absl::Status WriteYardsticks(const Yardsticks& yardsticks, const std::string& path);
absl::StatusOr<Yardsticks> ReadYardsticks(const std::string& path);

}  // namespace weft

// What the demo leaves behind for programs to read: runs/demo/summary.json.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "examples/demo/metrics_curve.h"
#include "examples/demo/yardsticks.h"
#include "launcher/job.pb.h"

namespace weft {

// What a run comes to.
struct Outcome {
  double weft_bpb = 0;          // of the last evaluation
  int64_t evaluated_bytes = 0;  // what it was made on
  double ngram3_bpb = 0;        // the 3-gram model on the same bytes
  double gzip_bpb = 0;          // gzip -9 on the whole held-out part

  bool beats_both() const { return weft_bpb < ngram3_bpb && weft_bpb < gzip_bpb; }
};

// `whole` is the metrics of an evaluation of the whole held-out part after the run; nullptr if
// there was none, and the run's own last evaluation counts, on the bytes that it covers.
// FailedPrecondition if there was no evaluation at all: training loss is no substitute.
absl::StatusOr<Outcome> OutcomeOf(const MetricsCurve& curve, const MetricsCurve* whole,
                                  const Yardsticks& yardsticks);

// JSON: weft_bpb, ngram3_bpb, gzip_bpb, tokens_per_s, train_seconds (spent in steps), parameters,
// mesh; then beats_both and what explains them.
std::string PrintSummary(const Job& job, const MetricsCurve& curve, const Outcome& outcome);

// The three figures side by side for a person to read, with the bytes they were measured on.
std::string PrintFigures(const MetricsCurve& curve, const Outcome& outcome,
                         const Yardsticks& yardsticks);

}  // namespace weft

#include "examples/demo/summary.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launcher/job_graph.h"

namespace weft {

absl::StatusOr<Outcome> OutcomeOf(const MetricsCurve& curve, const MetricsCurve* whole,
                                  const Yardsticks& y) {
  if (whole != nullptr && !whole->evaluation.empty()) {
    return Outcome{whole->evaluation.back().bits, y.held_out_bytes, y.ngram3_bpb, y.gzip_bpb};
  }
  if (curve.evaluation.empty()) {
    return absl::FailedPreconditionError(
        "the run has no evaluation; set evaluate.every below the number of its steps");
  }
  return Outcome{curve.evaluation.back().bits, y.evaluated_bytes, y.ngram3_evaluated_bpb,
                 y.gzip_bpb};
}

std::string PrintSummary(const Job& job, const MetricsCurve& curve, const Outcome& outcome) {
  const nlohmann::ordered_json json = {{"weft_bpb", outcome.weft_bpb},
                                       {"ngram3_bpb", outcome.ngram3_bpb},
                                       {"gzip_bpb", outcome.gzip_bpb},
                                       {"tokens_per_s", curve.tokens_per_s()},
                                       {"train_seconds", curve.seconds},
                                       {"parameters", NumParameters(DecoderOf(job))},
                                       {"mesh", job.mesh()},
                                       {"beats_both", outcome.beats_both()},
                                       {"evaluated_bytes", outcome.evaluated_bytes},
                                       {"steps", curve.last_step},
                                       {"tokens", curve.tokens},
                                       {"bytes_sent", curve.bytes_sent},
                                       {"dtype", Job::Train::DataType_Name(job.train().dtype())}};
  return json.dump(2) + "\n";
}

std::string PrintFigures(const MetricsCurve& curve, const Outcome& outcome, const Yardsticks& y) {
  std::string text = absl::StrFormat(
      "bits per byte on the last %.2f million bytes, never trained on; lower is better:\n",
      static_cast<double>(y.held_out_bytes) / 1e6);
  absl::StrAppend(
      &text,
      absl::StrFormat("  weft     %.3f   after %d steps, %.1f million bytes read "
                      "in %.0f s (%.0f a second)\n",
                      outcome.weft_bpb, curve.last_step, static_cast<double>(curve.tokens) / 1e6,
                      curve.seconds, curve.tokens_per_s()));
  absl::StrAppend(&text,
                  absl::StrFormat("  3-gram   %.3f   three bytes of context, fitted to all "
                                  "%.1f million bytes of the training part\n",
                                  outcome.ngram3_bpb, static_cast<double>(y.train_bytes) / 1e6));
  absl::StrAppend(&text, absl::StrFormat("  gzip -9  %.3f\n", outcome.gzip_bpb));
  if (outcome.evaluated_bytes < y.held_out_bytes) {
    absl::StrAppend(&text,
                    absl::StrFormat("weft and the 3-gram model were measured on the first %d "
                                    "of these bytes\n",
                                    outcome.evaluated_bytes));
  }
  absl::StrAppend(&text, outcome.beats_both() ? "weft beats both.\n"
                                              : "weft does not beat both yet; train longer.\n");
  return text;
}

}  // namespace weft

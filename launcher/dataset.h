// Dataset: which tokens a step trains on. Every rank asks for its own box of the global batch; what
// lies there depends on seed, step, row and column alone, never on the rank or the mesh.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "launcher/dataset_source.h"
#include "launcher/job.pb.h"
#include "launcher/job_text.h"
#include "runtime/box.h"

namespace weft {

// What a position without a target holds in `targets`; the loss leaves it out.
inline constexpr int32_t kIgnoredTarget = -1;

struct DatasetOptions {
  int64_t batch = 1;     // rows of the global batch
  int64_t sequence = 1;  // tokens a row
  int64_t vocab = 256;   // ids must be below it
  uint64_t seed = 1;
  double held_out = 0;  // share of the tokens, at the end, kept for evaluation
};

// Immutable after creation: every method is safe from any thread. Movable.
class Dataset {
 public:
  // The data of a resolved job. Errors: a file that is missing, damaged, empty or too short (saying
  // how many tokens are needed), a token id beyond the vocabulary. `origins` says where the job's
  // fields were written; `entry` is which of its data, a stream.
  static absl::StatusOr<Dataset> Open(const Job& job, const FieldOrigins& origins = {},
                                      int entry = 0);
  static absl::StatusOr<Dataset> Create(TokenSource source, const DatasetOptions& options);

  // Fills the part `box` (rows, columns) of the batch of `step`. Both spans are dense row-major
  // over box.shape(); either may be empty to leave it out. Row r is a window of sequence + 1
  // training tokens at a place drawn from (seed, step, r); targets are the tokens one further on.
  absl::Status FillRows(int64_t step, const Box& box, absl::Span<int32_t> tokens,
                        absl::Span<int32_t> targets) const;

  // The same for batch `index` (0 <= index < held_out_batches()) of the held-out tokens. Windows
  // follow each other so that every held-out token but the first is a target exactly once; places
  // beyond the end hold token 0 and kIgnoredTarget.
  absl::Status FillHeldOutRows(int64_t index, const Box& box, absl::Span<int32_t> tokens,
                               absl::Span<int32_t> targets) const;

  int64_t train_tokens() const { return train_tokens_; }
  int64_t held_out_tokens() const { return source_.size() - train_tokens_; }
  int64_t held_out_batches() const;
  // Positions with a target in held-out batch `index`, over all rows; in training it is
  // batch * sequence.
  int64_t HeldOutTargets(int64_t index) const;
  const DatasetOptions& options() const { return options_; }

 private:
  Dataset(TokenSource source, const DatasetOptions& options, int64_t train_tokens)
      : source_(std::move(source)), options_(options), train_tokens_(train_tokens) {}

  absl::Status CheckRequest(const Box& box, absl::Span<int32_t> tokens,
                            absl::Span<int32_t> targets) const;
  absl::StatusOr<int32_t> Token(int64_t index) const;
  int64_t WindowStart(int64_t step, int64_t row) const;
  // Fills one row: column c is token begin + c, its target begin + c + 1, for indices below `end`.
  absl::Status FillRow(int64_t begin, int64_t end, const IndexSet& columns, int32_t* tokens,
                       int32_t* targets) const;

  TokenSource source_;
  DatasetOptions options_;
  int64_t train_tokens_;
};

}  // namespace weft

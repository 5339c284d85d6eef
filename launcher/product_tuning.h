// Which algorithms the matrix products of a job use: rank 0 measures, or reads what it has measured
// before, and all ranks take what it says. Values that ranks hold copies of stay equal only where
// all form them alike.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actors/executor.h"
#include "kernels/product_measurer.h"
#include "runtime/transport.h"

namespace weft {

// A rank's own, for all programs of a session. Rank 0's cache, limit and say are what counts.
struct ProductTuning {
  std::unique_ptr<ProductMeasurer> measurer;
  std::string cache;          // a file; "": algorithms are not kept
  double limit_seconds = 20;  // that all measuring of the session may take, but for one product
  std::function<void(const std::string&)> say;  // to people, a line; may be empty
  // What is in use, and how it came so; `left` had no time or memory and keep the first guess.
  ProductAlgorithms in_use;
  double seconds_spent = 0;
  int from_file = 0;
  int measured = 0;
  int left = 0;
};

// The products of a plan that are worth measuring.
absl::StatusOr<ProductSet> ListProducts(Executor& executor, ProductMeasurer& measurer);

// Decides on the products of all ranks and has this rank's kernels use what was decided. Every rank
// calls it, before steps run. A cache that cannot be read or written is told and otherwise ignored;
// ranks of different machines use the library's first guesses. Errors: the device's and the
// transport's.
absl::Status TuneProducts(const ProductSet& products, Transport& transport, ProductTuning& tuning);

}  // namespace weft

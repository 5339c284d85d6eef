// --metrics FILE: one JSON object a step, so that any tool can plot a run while it lasts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace weft {

// One step. Not-a-number means "not known" and is written as null.
struct StepMetrics {
  int64_t step = 0;  // from 1
  double loss = 0;   // mean over the step's targets, nats
  double grad_norm = 0;
  double lr = 0;
  int64_t tokens = 0;  // of this step, over all ranks
  double tokens_per_s = 0;
  double step_ms = 0;
  // The model's arithmetic (ModelFlops, no recomputation) in a step over what all ranks could do in
  // that time at their measured rate of matrix products (MeasurePeakFlops).
  double mfu = 0;
  int64_t bytes_sent = 0;  // of this step, over all ranks
  // What the largest rank has taken for arenas and variables: as planned, all of it in use from the
  // first step on. The program's code, the mapped data file, and MPI's and the kernel library's own
  // memory come on top: 25 MiB for one rank of the tiny job, and as much for one of 435 MiB.
  int64_t mem_peak_bytes = 0;
  // In F16 only. By what the gradients of this step were multiplied; loss and grad_norm are without
  // it. A step is skipped where a gradient is not finite: nothing is updated.
  std::optional<double> loss_scale;
  bool skipped = false;                              // printed with loss_scale
  std::vector<std::pair<std::string, double>> more;  // further keys, such as "held_out_loss"
};

// {"step":1,"loss":5.545177444479562,...}: keys in the order of the struct, no newline. Numbers
// read back as the same doubles.
std::string PrintMetrics(const StepMetrics& metrics);

// Appends lines to a file; each is in the file when Append returns. One thread. Rank 0 owns it.
class MetricsFile {
 public:
  // Creates the file and its directories where they are missing; an existing file grows.
  static absl::StatusOr<MetricsFile> Open(const std::string& path);
  MetricsFile(MetricsFile&& other) noexcept
      : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}
  MetricsFile& operator=(MetricsFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~MetricsFile();

  absl::Status Append(const StepMetrics& metrics);

 private:
  MetricsFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  std::string path_;
  int fd_ = -1;
};

}  // namespace weft

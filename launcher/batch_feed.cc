#include "launcher/batch_feed.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "launcher/job_data.h"
#include "launcher/job_graph.h"
#include "runtime/status.h"

namespace weft {

absl::Status BatchFeed::FillRows(std::string_view name, int64_t step, int64_t microbatch,
                                 const Operand& out) const {
  const int64_t batch = job_.train().global_batch(), microbatches = job_.train().microbatches();
  const int64_t first = microbatch * batch / microbatches;
  const int64_t size = (microbatch + 1) * batch / microbatches - first;
  Box box = *out.box;
  IndexSet rows;
  for (const Interval& i : box.dims[0].intervals()) {
    const int64_t end = std::min(i.end, size);
    if (i.begin < end) rows.Append({i.begin + first, end + first});
  }
  box.dims[0] = rows;
  WEFT_RETURN_IF_ERROR(data_.Fill(name, held_out_, step, box, out.data));
  const int64_t filled = box.elements();
  if (filled == out.elements()) return absl::OkStatus();
  // A shorter microbatch ends in rows without targets, which count nowhere.
  if (data_.feeds_targets(name)) {
    std::fill(out.as<int32_t>() + filled, out.as<int32_t>() + out.elements(), kIgnoredTarget);
  } else {
    const int64_t bytes = SizeOf(out.dtype());
    std::memset(out.as<uint8_t>() + filled * bytes, 0, (out.elements() - filled) * bytes);
  }
  return absl::OkStatus();
}

absl::Status BatchFeed::operator()(std::string_view name, int64_t step, int64_t microbatch,
                                   const Operand& out) const {
  if (data_.feeds(name)) return FillRows(name, step, microbatch, out);
  float* value = out.as<float>();
  if (name == "loss_scale") {
    const int64_t targets = held_out_ ? data_.HeldOutTargets(step) : TargetsPerStep(job_);
    *value = 1.0f / static_cast<float>(targets);
  } else if (name == "learning_rate") {
    *value = static_cast<float>(LearningRate(job_, step));
  } else if (name == "step") {
    *value = static_cast<float>(step + 1);
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("the graph has an input '", std::string(name), "' that no data is bound to"));
  }
  return absl::OkStatus();
}

}  // namespace weft

#include "launcher/batch_feed.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "launcher/job_graph.h"

namespace weft {

absl::Status BatchFeed::FillTokens(bool targets, int64_t step, int64_t microbatch,
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
  // A shorter microbatch ends in rows without targets, which count nowhere.
  const absl::Span<int32_t> whole(out.as<int32_t>(), out.elements());
  const absl::Span<int32_t> values = whole.subspan(0, box.elements());
  const absl::Span<int32_t> padding = whole.subspan(box.elements());
  std::fill(padding.begin(), padding.end(), targets ? kIgnoredTarget : 0);
  if (values.empty()) return absl::OkStatus();
  const absl::Span<int32_t> none;
  const absl::Span<int32_t> tokens = targets ? none : values;
  const absl::Span<int32_t> wanted = targets ? values : none;
  return held_out_ ? dataset_.FillHeldOutRows(step, box, tokens, wanted)
                   : dataset_.FillRows(step, box, tokens, wanted);
}

absl::Status BatchFeed::operator()(std::string_view name, int64_t step, int64_t microbatch,
                                   const Operand& out) const {
  if (name == "tokens") return FillTokens(false, step, microbatch, out);
  if (name == "targets") return FillTokens(true, step, microbatch, out);
  float* value = out.as<float>();
  if (name == "loss_scale") {
    const int64_t valid = held_out_ ? dataset_.HeldOutTargets(step)
                                    : job_.train().global_batch() * job_.data().sequence();
    *value = 1.0f / static_cast<float>(valid);
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

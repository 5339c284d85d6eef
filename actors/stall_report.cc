#include "actors/stall_report.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace weft {

StallReport::StallReport(const Executor& executor)
    : executor_(executor), done_(executor.plan_.actors_size(), 0) {
  const Plan& plan = executor.plan_;
  const int64_t first = std::max<int64_t>(executor.launched_ - Executor::kStepsAhead, 0);
  for (int a = 0; a < plan.actors_size(); ++a) {
    done_[a] = first * plan.actors(a).firings_per_step();
  }
  for (int s = 0; s < plan.streams_size(); ++s) {
    const Executor::Lane& lane = executor.lanes_[s];
    const int64_t completed = lane.stream->completed().value();
    Head head;
    for (int64_t launch = first; launch < executor.launched_ && head.actor < 0; ++launch) {
      for (size_t i = 0; i < lane.order.size(); ++i) {
        const int actor = plan.streams(s).order(static_cast<int>(i));
        if (executor.EndOf(lane, launch, i) > completed) {
          head = {actor, done_[actor]};
          break;
        }
        ++done_[actor];
      }
    }
    heads_.push_back(head);
  }
}

std::string StallReport::MissingSlot(const Head& head) const {
  const Plan& plan = executor_.plan_;
  const ActorDef& actor = plan.actors(head.actor);
  for (int id : actor.inputs()) {
    const ChannelDef& c = plan.channels(id);
    for (const ConsumerDef& consumer : c.consumers()) {
      if (consumer.actor() != head.actor) continue;
      const int64_t slot = head.firing / consumer.reads_per_slot();
      const int64_t filled = c.initial() + done_[c.producer()] / c.writes_per_slot();
      if (slot < filled) continue;
      return absl::StrCat("input `", c.name(), "` from `", plan.actors(c.producer()).name(),
                          "`, slot ", slot % c.slots() + 1, " of ", c.slots());
    }
  }
  for (int id : actor.outputs()) {
    const ChannelDef& c = plan.channels(id);
    const int64_t slot = c.initial() + head.firing / c.writes_per_slot();
    for (const ConsumerDef& consumer : c.consumers()) {
      const int64_t freed = done_[consumer.actor()] / consumer.reads_per_slot();
      if (slot - freed < c.slots()) continue;
      return absl::StrCat("output `", c.name(), "`, slot ", slot % c.slots() + 1, " of ", c.slots(),
                          " held by `", plan.actors(consumer.actor()).name(), "`");
    }
  }
  return "";
}

std::string StallReport::Describe(const Head& head) const {
  const std::string who =
      absl::StrCat("`", executor_.plan_.actors(head.actor).name(), "` (firing ", head.firing, ")");
  const std::string slot = MissingSlot(head);
  if (!slot.empty()) return absl::StrCat(who, " waits: ", slot);
  const std::string peer = executor_.actors_[head.actor]->Waiting();
  if (!peer.empty()) return absl::StrCat(who, " waits: ", peer);
  return absl::StrCat(who, " runs");
}

std::vector<StallReport::Wait> StallReport::WaitsForRanks() const {
  std::vector<Wait> waits;
  for (const Head& head : heads_) {
    if (head.actor < 0 || !MissingSlot(head).empty()) continue;
    Wait wait{executor_.actors_[head.actor]->name(), executor_.actors_[head.actor]->WaitingFor()};
    if (!wait.ranks.empty()) waits.push_back(std::move(wait));
  }
  return waits;
}

std::string StallReport::ToString() const {
  const int64_t ended = executor_.ended();
  std::string text = absl::StrCat("rank ", executor_.plan_.rank(), ": ");
  if (ended == executor_.launched_) {
    absl::StrAppend(&text, "idle, ", ended, " steps done");
  } else {
    absl::StrAppend(&text, "in ", executor_.options_.step_word, " ",
                    executor_.steps_.number[ended % StepsInFlight::kInFlight] + 1);
  }
  const auto now = std::chrono::steady_clock::now();
  for (size_t s = 0; s < heads_.size(); ++s) {
    const Executor::Lane& lane = executor_.lanes_[s];
    absl::StrAppend(&text, "\n  stream `", lane.stream->name(), "`: ");
    if (heads_[s].actor < 0) {
      absl::StrAppend(&text, "idle");
      continue;
    }
    absl::StrAppend(
        &text, Describe(heads_[s]),
        absl::StrFormat(", %.1f s", std::chrono::duration<double>(now - lane.since).count()));
  }
  return text;
}

}  // namespace weft

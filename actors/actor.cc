#include "actors/actor.h"

#include <numeric>

#include "absl/strings/str_cat.h"
#include "runtime/status.h"

namespace weft {

Actor::Actor(const ActorContext& context, int index)
    : def_(context.plan.actors(index)),
      index_(index),
      failure_(context.failure),
      steps_(context.steps),
      step_word_(context.step_word) {
  for (int id : def_.inputs()) {
    const ChannelDef& channel = context.plan.channels(id);
    for (int i = 0; i < channel.consumers_size(); ++i) {
      if (channel.consumers(i).actor() == index) {
        inputs_.push_back({.channel = context.channels[id].get(), .consumer = i});
      }
    }
  }
  for (int id : def_.outputs()) outputs_.push_back({.channel = context.channels[id].get()});
}

Actor::Port* Actor::FindPort(int id, bool output) {
  const auto& ids = output ? def_.outputs() : def_.inputs();
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] == id) return output ? &outputs_[i] : &inputs_[i];
  }
  return nullptr;
}

bool Actor::Ready() const {
  for (const Port& port : inputs_) {
    if (!port.channel->CanRead(port.consumer)) return false;
  }
  for (const Port& port : outputs_) {
    if (!port.channel->CanWrite()) return false;
  }
  return true;
}

void Actor::set_times(FiringTimes* times) {
  times_ = times;
  const TimedActor timed = this->timed();
  marks_in_firing_ = std::accumulate(timed.runs.begin(), timed.runs.end(),
                                     static_cast<int64_t>(timed.runs.size()));
}

void Actor::Launch() {
  for (const Port& port : inputs_) port.channel->AwaitFull(port.consumer, *stream_);
  for (const Port& port : outputs_) port.channel->AwaitFree(*stream_);
  const bool marks = Timed(launched_) && !marks_within();
  if (marks)
    stream_->Enqueue({.run = &MarkBegin, .context = this, .argument = launched_, .more = true});
  Fire(launched_);
  if (marks) stream_->Enqueue({.run = &MarkEnd, .context = this, .argument = launched_});
  for (const Port& port : inputs_) {
    if (!port.early) Send(port);
  }
  for (const Port& port : outputs_) {
    if (!port.early) Send(port);
  }
  ++launched_;
}

void Actor::Fail(std::string_view op, int64_t firing, const absl::Status& cause) {
  std::string where = absl::StrCat("actor `", name(), "`");
  if (!op.empty()) absl::StrAppend(&where, ", op `", std::string(op), "`");
  absl::StrAppend(&where, ", ", step_word_, " ", StepOf(firing) + 1);
  failure_.Set(Annotate(cause, where));
}

}  // namespace weft

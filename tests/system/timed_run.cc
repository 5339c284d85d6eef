#include "tests/system/timed_run.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/dtype.h"

namespace weft {
namespace {

int64_t BytesOf(const BufferDef& def) {
  int64_t elements = 1;
  for (const IndexSetDef& dim : def.box().dims()) {
    int64_t size = 0;
    for (int i = 0; i + 1 < dim.bounds_size(); i += 2) size += dim.bounds(i + 1) - dim.bounds(i);
    elements *= size;
  }
  return elements * SizeOf(static_cast<DType>(def.dtype()));
}

// Operands of an actor without kernel calls, and whether it writes them.
std::vector<std::pair<OperandDef, bool>> Operands(const ActorDef& actor) {
  switch (actor.kind_case()) {
    case ActorDef::kAllReduce:
      return {{actor.all_reduce().input(), false}, {actor.all_reduce().output(), true}};
    case ActorDef::kExchange:
      return {{actor.exchange().input(), false}, {actor.exchange().output(), true}};
    case ActorDef::kFeed: return {{actor.feed().output(), true}};
    case ActorDef::kFetch: return {{actor.fetch().input(), false}};
    default: return {};
  }
}

}  // namespace

TimedRun::TimedRun(const Plan& plan, uint64_t seed)
    : plan_(plan), random_(seed), stream_free_(plan.streams_size(), 0.0) {
  for (const ChannelDef& def : plan.channels()) {
    ChannelState& channel = channels_.emplace_back();
    channel.filled.assign(def.initial(), 0.0);
    channel.freed.resize(def.consumers_size());
    channel.reads.resize(def.consumers_size());
  }
  for (const BufferDef& def : plan.buffers()) {
    // Of what has several slots only the protocol is looked at: it is never shared.
    const bool one = def.offsets_size() == 1;
    memory_.push_back(
        {def.name(), one ? def.offsets(0) : 0, one ? def.offsets(0) + BytesOf(def) : 0, {}});
  }
}

bool TimedRun::Run(int steps) {
  for (int step = 0; step < steps; ++step) {
    std::vector<int> next(plan_.streams_size(), 0);
    for (bool moved = true; moved;) {
      moved = false;
      for (int s = 0; s < plan_.streams_size(); ++s) {
        while (next[s] < plan_.streams(s).order_size() && Fire(plan_.streams(s).order(next[s]))) {
          ++next[s];
          moved = true;
        }
      }
    }
    for (int s = 0; s < plan_.streams_size(); ++s) {
      if (next[s] < plan_.streams(s).order_size()) return false;
    }
  }
  return true;
}

int TimedRun::ConsumerIndex(int channel, int actor) const {
  int k = 0;
  while (plan_.channels(channel).consumers(k).actor() != actor) ++k;
  return k;
}

bool TimedRun::Start(int a, double* start) const {
  const ActorDef& actor = plan_.actors(a);
  *start = stream_free_[actor.stream()];
  for (int c : actor.inputs()) {
    const ChannelState& channel = channels_[c];
    const size_t taken = channel.freed[ConsumerIndex(c, a)].size();
    if (channel.filled.size() <= taken) return false;
    *start = std::max(*start, channel.filled[taken]);
  }
  for (int c : actor.outputs()) {
    const ChannelState& channel = channels_[c];
    const int64_t before = static_cast<int64_t>(channel.filled.size()) - plan_.channels(c).slots();
    if (channel.writes > 0 || before < 0) continue;
    for (const std::vector<double>& freed : channel.freed) {
      if (before >= static_cast<int64_t>(freed.size())) return false;
      *start = std::max(*start, freed[before]);
    }
  }
  return true;
}

bool TimedRun::Fire(int a) {
  const ActorDef& actor = plan_.actors(a);
  double at = 0;
  if (!Start(a, &at)) return false;
  std::uniform_real_distribution<double> magnitude(0, 7);
  Ends ends;
  for (const KernelCallDef& call : actor.compute().calls()) {
    const double from = at;
    at += std::exp(magnitude(random_));
    for (int i = 0; i < call.outputs_size(); ++i) {
      const OperandDef& output = call.outputs(i);
      const auto& adds = call.accumulate();
      if (std::count(adds.begin(), adds.end(), i) > 0 && channels_[output.channel()].writes > 0) {
        Touch(output, /*write=*/false, from, at, &ends);
      }
    }
    for (const OperandDef& input : call.inputs()) Touch(input, /*write=*/false, from, at, &ends);
    for (const OperandDef& output : call.outputs()) Touch(output, /*write=*/true, from, at, &ends);
    if (call.workspace_bytes() == 0) continue;
    const auto [found, added] = workspaces_.insert({call.name(), memory_.size()});
    if (added) {
      memory_.push_back({absl::StrCat("workspace of ", call.name()),
                         call.workspace_offset(),
                         call.workspace_offset() + call.workspace_bytes(),
                         {}});
    }
    memory_[found->second].uses.push_back({true, from, at});
    memory_[found->second].uses.push_back({false, from, at});
  }
  if (!actor.has_compute()) {
    const double from = at;
    at += std::exp(magnitude(random_));
    for (const auto& [operand, write] : Operands(actor)) Touch(operand, write, from, at, &ends);
  }
  Send(a, ends, at);
  stream_free_[actor.stream()] = at;
  return true;
}

void TimedRun::Touch(const OperandDef& operand, bool write, double from, double to, Ends* ends) {
  if (operand.buffer() < 0) return;
  double& last = (write ? ends->written : ends->touched)[operand.buffer()];
  last = std::max(last, to);
  if (write) ends->touched[operand.buffer()] = std::max(ends->touched[operand.buffer()], to);
  memory_[operand.buffer()].uses.push_back({write, from, to});
}

void TimedRun::Send(int a, const Ends& ends, double end) {
  const auto release = [&](int c, const std::map<int, double>& last) {
    if (plan_.channels(c).buffers_size() == 0) return end;
    const auto found = last.find(plan_.channels(c).buffers(0));
    return found == last.end() ? end : found->second;
  };
  for (int c : plan_.actors(a).inputs()) {
    const int k = ConsumerIndex(c, a);
    ChannelState& channel = channels_[c];
    if (++channel.reads[k] < plan_.channels(c).consumers(k).reads_per_slot()) continue;
    channel.reads[k] = 0;
    channel.freed[k].push_back(release(c, ends.touched));
  }
  for (int c : plan_.actors(a).outputs()) {
    ChannelState& channel = channels_[c];
    if (++channel.writes < plan_.channels(c).writes_per_slot()) continue;
    channel.writes = 0;
    channel.filled.push_back(release(c, ends.written));
  }
}

std::vector<std::string> TimedRun::Overwritten() const {
  std::vector<std::string> lines;
  for (const Memory& own : memory_) {
    for (const Memory& other : memory_) {
      if (&own == &other || own.begin >= other.end || other.begin >= own.end) continue;
      const Use* source = nullptr;
      for (const Use& use : own.uses) {
        if (use.write) {
          source = &use;
          continue;
        }
        if (source == nullptr) continue;
        for (const Use& intruder : other.uses) {
          if (!intruder.write || intruder.from >= use.to || intruder.to <= source->from) continue;
          lines.push_back(absl::StrCat("'", own.name, "', written from ", source->from,
                                       " and read until ", use.to, ", was overwritten by '",
                                       other.name, "' at ", intruder.from));
        }
      }
    }
  }
  return lines;
}

}  // namespace weft

#include "tests/system/memory_proof.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runtime/dtype.h"

namespace weft {
namespace {

constexpr size_t kConflictsShown = 100;

int64_t BytesOf(const BufferDef& def) {
  int64_t elements = 1;
  for (const IndexSetDef& dim : def.box().dims()) {
    int64_t size = 0;
    for (int i = 0; i + 1 < dim.bounds_size(); i += 2) size += dim.bounds(i + 1) - dim.bounds(i);
    elements *= size;
  }
  return elements * SizeOf(static_cast<DType>(def.dtype()));
}

void Merge(const std::vector<int64_t>& other, std::vector<int64_t>& clock) {
  for (size_t s = 0; s < clock.size(); ++s) clock[s] = std::max(clock[s], other[s]);
}

}  // namespace

MemoryProof::MemoryProof(const Plan& plan)
    : plan_(plan),
      streams_(plan.streams_size(), Clock(plan.streams_size(), 0)),
      fired_(plan.actors_size(), 0) {
  const Clock nothing(plan.streams_size(), 0);
  for (const ChannelDef& def : plan.channels()) {
    ChannelState& channel = channels_.emplace_back();
    channel.filled.assign(def.initial(), nothing);
    channel.freed.resize(def.consumers_size());
    channel.reads.resize(def.consumers_size());
  }
  arena_[0] = {plan.arena_bytes(), "", nothing, nothing};
}

bool MemoryProof::Run(int steps) {
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

int MemoryProof::ConsumerIndex(int channel, int actor) const {
  for (int k = 0; k < plan_.channels(channel).consumers_size(); ++k) {
    if (plan_.channels(channel).consumers(k).actor() == actor) return k;
  }
  return -1;
}

bool MemoryProof::Start(int a, Clock* clock) const {
  const ActorDef& actor = plan_.actors(a);
  *clock = streams_[actor.stream()];
  for (int c : actor.inputs()) {
    const ChannelState& channel = channels_[c];
    const size_t taken = channel.freed[ConsumerIndex(c, a)].size();
    if (channel.filled.size() <= taken) return false;
    Merge(channel.filled[taken], *clock);
  }
  for (int c : actor.outputs()) {
    const ChannelState& channel = channels_[c];
    const int64_t before = static_cast<int64_t>(channel.filled.size()) - plan_.channels(c).slots();
    if (channel.writes > 0 || before < 0) continue;
    for (const std::vector<Clock>& freed : channel.freed) {
      if (before >= static_cast<int64_t>(freed.size())) return false;
      Merge(freed[before], *clock);
    }
  }
  return true;
}

bool MemoryProof::Fire(int a) {
  const ActorDef& actor = plan_.actors(a);
  Clock clock;
  if (!Start(a, &clock)) return false;
  const int64_t begin = clock[actor.stream()];
  Place at{.clock = &clock, .stream = actor.stream(), .end = begin, .name = actor.name()};
  for (const KernelCallDef& call : actor.compute().calls()) {
    ++at.end;
    at.name = call.name();
    for (const OperandDef& input : call.inputs()) UseOperand(a, input, false, false, at);
    for (int i = 0; i < call.outputs_size(); ++i) {
      const OperandDef& output = call.outputs(i);
      const auto& adds = call.accumulate();
      const bool goes_on =
          std::count(adds.begin(), adds.end(), i) > 0 && channels_[output.channel()].writes > 0;
      if (goes_on) UseOperand(a, output, true, false, at);
      UseOperand(a, output, true, true, at);
    }
    const std::string workspace = absl::StrCat("workspace of ", call.name());
    Use(workspace, call.workspace_offset(), call.workspace_bytes(), true, at);
  }
  if (!actor.has_compute()) {
    ++at.end;
    if (actor.has_all_reduce()) UseOperand(a, actor.all_reduce().input(), false, false, at);
    if (actor.has_exchange()) UseOperand(a, actor.exchange().input(), false, false, at);
    if (actor.has_fetch()) UseOperand(a, actor.fetch().input(), false, false, at);
    if (actor.has_all_reduce()) UseOperand(a, actor.all_reduce().output(), true, true, at);
    if (actor.has_exchange()) UseOperand(a, actor.exchange().output(), true, true, at);
    if (actor.has_feed()) UseOperand(a, actor.feed().output(), true, true, at);
    const std::string workspace = absl::StrCat("workspace of ", actor.name());
    Use(workspace, actor.all_reduce().workspace_offset(), actor.all_reduce().workspace_bytes(),
        true, at);
    Use(workspace, actor.exchange().workspace_offset(), actor.exchange().workspace_bytes(), true,
        at);
  }
  Send(a, clock, begin, at.end);
  clock[actor.stream()] = at.end;
  streams_[actor.stream()] = clock;
  ++fired_[a];
  return true;
}

void MemoryProof::UseOperand(int a, const OperandDef& operand, bool output, bool write,
                             const Place& at) {
  if (operand.buffer() < 0) return;
  const BufferDef& buffer = plan_.buffers(operand.buffer());
  if (!buffer.variable().empty()) return;
  int64_t slot = 0;
  if (operand.channel() >= 0) {
    const ChannelDef& channel = plan_.channels(operand.channel());
    const int reader = ConsumerIndex(operand.channel(), a);
    const bool as_producer = channel.producer() == a && (output || reader < 0);
    const int64_t generation = as_producer
                                   ? channel.initial() + fired_[a] / channel.writes_per_slot()
                                   : fired_[a] / channel.consumers(reader).reads_per_slot();
    slot = generation % channel.slots();
  }
  Use(absl::StrCat(buffer.name(), " #", operand.buffer(), " slot ", slot),
      buffer.offsets(static_cast<int>(slot)), BytesOf(buffer), write, at);
}

void MemoryProof::Cut(int64_t begin, int64_t end) {
  for (const int64_t at : {begin, end}) {
    const auto segment = std::prev(arena_.upper_bound(at));
    if (segment->first == at || segment->second.end <= at) continue;
    Segment rest = segment->second;
    segment->second.end = at;
    arena_[at] = std::move(rest);
  }
}

void MemoryProof::Use(const std::string& owner, int64_t begin, int64_t bytes, bool write,
                      const Place& at) {
  if (bytes == 0) return;
  ++uses_;
  Cut(begin, begin + bytes);
  std::string conflict;
  for (auto i = arena_.find(begin); i != arena_.end() && i->first < begin + bytes; ++i) {
    Segment& segment = i->second;
    if (!write && segment.owner != owner) {
      conflict = absl::StrCat("finds '", segment.owner, "' there");
    }
    // A write comes after all uses, a read after all writes.
    const Clock& before = write ? segment.used : segment.written;
    for (size_t s = 0; s < before.size(); ++s) {
      if (static_cast<int>(s) == at.stream || before[s] <= (*at.clock)[s]) continue;
      conflict = absl::StrCat("does not wait for '", segment.owner, "', which stream ",
                              plan_.streams(static_cast<int>(s)).name(), " may still ",
                              write ? "use" : "write");
    }
    if (write) {
      segment.owner = owner;
      segment.written[at.stream] = at.end;
    }
    segment.used[at.stream] = at.end;
  }
  if (conflict.empty() || conflicts_.size() >= kConflictsShown) return;
  conflicts_.push_back(
      absl::StrCat("'", at.name, "' ", write ? "writing" : "reading", " '", owner, "' ", conflict));
}

void MemoryProof::Send(int a, const Clock& clock, int64_t begin, int64_t end) {
  const ActorDef& actor = plan_.actors(a);
  const auto departure = [&](const auto& after, int port) {
    Clock message = clock;
    message[actor.stream()] = after.empty() ? end : begin + after[port];
    return message;
  };
  for (int i = 0; i < actor.inputs_size(); ++i) {
    const int c = actor.inputs(i), k = ConsumerIndex(c, a);
    ChannelState& channel = channels_[c];
    if (++channel.reads[k] < plan_.channels(c).consumers(k).reads_per_slot()) continue;
    channel.reads[k] = 0;
    channel.freed[k].push_back(departure(actor.free_after(), i));
  }
  for (int i = 0; i < actor.outputs_size(); ++i) {
    const int c = actor.outputs(i);
    ChannelState& channel = channels_[c];
    if (++channel.writes < plan_.channels(c).writes_per_slot()) continue;
    channel.writes = 0;
    channel.filled.push_back(departure(actor.full_after(), i));
  }
}

}  // namespace weft

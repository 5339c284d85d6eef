#include "parallel/step_clocks.h"

#include <algorithm>
#include <unordered_map>

namespace weft {
namespace {

constexpr Clock kNothing = {-1, -1, -1};

// A channel's messages, as clocks.
struct ChannelClocks {
  std::vector<Clock> full;               // per slot
  std::vector<std::vector<Clock>> left;  // per consumer and slot
  int write_slot = 0;
  int writes = 0;              // of the slot under writing
  std::vector<int> read_slot;  // per consumer
  std::vector<int> reads;      // per consumer: of the slot under reading
};

class Player {
 public:
  Player(const LoweredProgram& program, const StepSchedule& schedule)
      : program_(program), schedule_(schedule), streams_(kNumStreams, kNothing) {
    for (const LoweredChannel& channel : program.channels) {
      const int slots = program.buffers[channel.buffer].slots;
      const size_t consumers = channel.consumers.size();
      ChannelClocks& clocks = channels_.emplace_back();
      clocks.full.assign(slots, kNothing);
      clocks.left.assign(consumers, std::vector<Clock>(slots, kNothing));
      clocks.write_slot = channel.initial % slots;
      clocks.read_slot.assign(consumers, 0);
      clocks.reads.assign(consumers, 0);
    }
    ends_.resize(program.actors.size());
    for (size_t a = 0; a < program.actors.size(); ++a) FindPortEnds(static_cast<int>(a));
  }

  void Play(int step, int f, const std::function<void(int, int, Clock&)>& visit) {
    const ScheduledFiring& firing = schedule_.firings[f];
    const LoweredActor& actor = program_.actors[firing.actor];
    const int stream = static_cast<int>(actor.stream);
    Clock& clock = streams_[stream];
    for (int c : actor.inputs) {
      const ChannelClocks& channel = channels_[c];
      Merge(channel.full[channel.read_slot[ConsumerIndex(c, firing.actor)]], clock);
    }
    for (int c : actor.outputs) {
      const ChannelClocks& channel = channels_[c];
      if (channel.writes > 0) continue;
      for (const std::vector<Clock>& left : channel.left) Merge(left[channel.write_slot], clock);
    }
    visit(step, f, clock);
    const int64_t begin = step * schedule_.ticks + firing.begin;
    for (size_t i = 0; i < actor.inputs.size(); ++i) {
      Clock at = clock;
      at[stream] = begin + ends_[firing.actor].inputs[i];
      Read(actor.inputs[i], firing.actor, at);
    }
    for (size_t i = 0; i < actor.outputs.size(); ++i) {
      Clock at = clock;
      at[stream] = begin + ends_[firing.actor].outputs[i];
      Write(actor.outputs[i], at);
    }
    clock[stream] = EndTick(schedule_, step, f);
  }

 private:
  // Ticks after the begin of a firing at which a port's message leaves, as ComputeActor has it:
  // free after the last call that reads, full after the last that writes, even where later calls of
  // the firing read what it wrote. Parallel to inputs, outputs.
  struct PortEnds {
    std::vector<int64_t> inputs, outputs;
  };

  void FindPortEnds(int a) {
    const LoweredActor& actor = program_.actors[a];
    std::unordered_map<int, int64_t> read, written;  // buffer -> end of the last such call
    int64_t at = 0;
    for (const LoweredCall& call : actor.calls) {
      at += call.ticks;
      for (int b : call.inputs) read[b] = at;
      for (int b : call.outputs) written[b] = at;
    }
    const auto end_of = [&](int channel, const std::unordered_map<int, int64_t>& ends) {
      const auto found = ends.find(program_.channels[channel].buffer);
      return found == ends.end() ? actor.ticks : found->second;
    };
    for (int c : actor.inputs) {
      // In place: what replaces the content is a use of it as well.
      const int64_t end = end_of(c, read);
      const auto replaced = written.find(program_.channels[c].buffer);
      ends_[a].inputs.push_back(replaced == written.end() ? end : std::max(end, replaced->second));
    }
    for (int c : actor.outputs) ends_[a].outputs.push_back(end_of(c, written));
  }

  int ConsumerIndex(int channel, int actor) const {
    const std::vector<LoweredConsumer>& consumers = program_.channels[channel].consumers;
    int k = 0;
    while (consumers[k].actor != actor) ++k;
    return k;
  }

  void Read(int c, int actor, const Clock& at) {
    const int k = ConsumerIndex(c, actor);
    ChannelClocks& channel = channels_[c];
    if (++channel.reads[k] < program_.channels[c].consumers[k].reads_per_slot) return;
    channel.reads[k] = 0;
    channel.left[k][channel.read_slot[k]] = at;
    channel.read_slot[k] = (channel.read_slot[k] + 1) % static_cast<int>(channel.full.size());
  }

  void Write(int c, const Clock& at) {
    ChannelClocks& channel = channels_[c];
    if (++channel.writes < program_.channels[c].writes_per_slot) return;
    channel.writes = 0;
    channel.full[channel.write_slot] = at;
    channel.write_slot = (channel.write_slot + 1) % static_cast<int>(channel.full.size());
  }

  const LoweredProgram& program_;
  const StepSchedule& schedule_;
  std::vector<Clock> streams_;  // what is over when the stream goes on
  std::vector<ChannelClocks> channels_;
  std::vector<PortEnds> ends_;
};

}  // namespace

void Merge(const Clock& other, Clock& clock) {
  for (int s = 0; s < kNumStreams; ++s) clock[s] = std::max(clock[s], other[s]);
}

void PlayClocks(const LoweredProgram& program, const StepSchedule& schedule, int steps,
                const std::function<void(int step, int firing, Clock& clock)>& visit) {
  Player player(program, schedule);
  for (int step = 0; step < steps; ++step) {
    for (size_t f = 0; f < schedule.firings.size(); ++f) {
      player.Play(step, static_cast<int>(f), visit);
    }
  }
}

}  // namespace weft

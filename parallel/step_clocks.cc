#include "parallel/step_clocks.h"

#include <algorithm>

namespace weft {
namespace {

constexpr Clock Nothing() {
  Clock clock{};
  for (int64_t& tick : clock) tick = -1;
  return clock;
}
constexpr Clock kNothing = Nothing();

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
    Clock at = clock;
    for (size_t i = 0; i < actor.inputs.size(); ++i) {
      at[stream] = TickAfter(program_, schedule_, step, f, actor.free_after[i]);
      Read(actor.inputs[i], firing.actor, at);
    }
    for (size_t i = 0; i < actor.outputs.size(); ++i) {
      at[stream] = TickAfter(program_, schedule_, step, f, actor.full_after[i]);
      Write(actor.outputs[i], at);
    }
    clock[stream] = step * schedule_.ticks + firing.end;
  }

 private:
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
};

}  // namespace

int64_t TickAfter(const LoweredProgram& program, const StepSchedule& schedule, int step, int firing,
                  int calls) {
  const ScheduledFiring& at = schedule.firings[firing];
  const std::vector<LoweredCall>& all = program.actors[at.actor].calls;
  if (calls == static_cast<int>(all.size())) return step * schedule.ticks + at.end;
  int64_t tick = step * schedule.ticks + at.begin;
  for (int c = 0; c < calls; ++c) tick += all[c].ticks;
  return tick;
}

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

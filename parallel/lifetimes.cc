#include "parallel/lifetimes.h"

#include <algorithm>

#include "parallel/stream_timelines.h"

namespace weft {
namespace {

class LifeFinder {
 public:
  LifeFinder(const LoweredProgram& program, const StepSchedule& schedule)
      : program_(program),
        schedule_(schedule),
        lives_(program.buffers.size()),
        shared_(program.buffers.size(), true),
        writes_(program.buffers.size(), 0),
        writes_per_life_(program.buffers.size(), 1) {}

  std::vector<std::vector<BufferLife>> Run() {
    for (const LoweredChannel& channel : program_.channels) {
      writes_per_life_[channel.buffer] = channel.writes_per_slot;
      if (channel.initial > 0) shared_[channel.buffer] = false;
    }
    for (size_t b = 0; b < shared_.size(); ++b) {
      const LoweredBuffer& buffer = program_.buffers[b];
      if (buffer.slots > 1 || !buffer.variable.empty()) shared_[b] = false;
    }
    for (size_t f = 0; f < schedule_.firings.size(); ++f) TouchAll(static_cast<int>(f));
    const StreamTimelines timelines(program_, schedule_);
    for (size_t b = 0; b < lives_.size(); ++b) {
      if (!shared_[b]) lives_[b].clear();
      if (OnlyComputes(lives_[b])) continue;
      for (BufferLife& life : lives_[b]) life.time = timelines.Widen(life.time);
    }
    return std::move(lives_);
  }

 private:
  void TouchAll(int f) {
    const ScheduledFiring& firing = schedule_.firings[f];
    const LoweredActor& actor = program_.actors[firing.actor];
    const Lifetime whole{firing.begin, firing.end - 1};
    Touch(f, 0, actor.output_buffer, whole, /*write=*/true);
    Touch(f, 0, actor.input_buffer, whole, /*write=*/false);
    int64_t at = firing.begin;
    int calls = 0;
    for (const LoweredCall& call : actor.calls) {
      const Lifetime time{at, at + call.ticks - 1};
      ++calls;
      for (int b : call.outputs) Touch(f, calls, b, time, /*write=*/true);
      for (int b : call.inputs) Touch(f, calls, b, time, /*write=*/false);
      at += call.ticks;
    }
  }

  void Touch(int f, int calls, int b, Lifetime time, bool write) {
    if (b < 0 || !shared_[b]) return;
    std::vector<BufferLife>& lives = lives_[b];
    if (write && writes_[b]++ % writes_per_life_[b] == 0) {
      lives.push_back({.time = time, .first = f});
    } else if (lives.empty()) {
      shared_[b] = false;  // read before it is written: carried over from the step before
      return;
    }
    BufferLife& life = lives.back();
    life.time.last = std::max(life.time.last, time.last);
    life.last[static_cast<int>(program_.actors[schedule_.firings[f].actor].stream)] = {
        .firing = f, .calls = calls, .end = time.last + 1};
  }

  static bool OnlyComputes(const std::vector<BufferLife>& lives) {
    for (const BufferLife& life : lives) {
      for (int s = 0; s < kNumStreams; ++s) {
        if (s != static_cast<int>(StreamId::kCompute) && life.last[s].firing >= 0) return false;
      }
    }
    return true;
  }

  const LoweredProgram& program_;
  const StepSchedule& schedule_;
  std::vector<std::vector<BufferLife>> lives_;
  std::vector<bool> shared_;  // may share its memory
  std::vector<int> writes_;   // so far
  std::vector<int> writes_per_life_;
};

}  // namespace

void Join(const std::vector<BufferLife>& guest, std::vector<BufferLife>& host) {
  for (size_t i = 0; i < host.size(); ++i) {
    host[i].first = guest[i].first;
    host[i].time.first = std::min(host[i].time.first, guest[i].time.first);
    host[i].time.last = std::max(host[i].time.last, guest[i].time.last);
    for (size_t s = 0; s < host[i].last.size(); ++s) {
      if (guest[i].last[s].end > host[i].last[s].end) host[i].last[s] = guest[i].last[s];
    }
  }
}

std::vector<std::vector<BufferLife>> BufferLives(const LoweredProgram& program,
                                                 const StepSchedule& schedule) {
  return LifeFinder(program, schedule).Run();
}

}  // namespace weft

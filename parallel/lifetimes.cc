#include "parallel/lifetimes.h"

#include <algorithm>

namespace weft {
namespace {

// A touch of a buffer at a position of the order.
struct Touch {
  int64_t position;
  bool write;
};

}  // namespace

std::vector<std::vector<Lifetime>> BufferLifetimes(const LoweredProgram& program,
                                                   const std::vector<int>& order) {
  const size_t n = program.buffers.size();
  std::vector<std::vector<Touch>> touches(n);
  std::vector<bool> always(n, false);
  std::vector<int> writes_per_cycle(n, 1);
  for (const LoweredChannel& channel : program.channels) {
    writes_per_cycle[channel.buffer] = channel.writes_per_slot;
    if (channel.initial > 0) always[channel.buffer] = true;
  }
  for (size_t b = 0; b < n; ++b) {
    if (program.buffers[b].slots > 1) always[b] = true;
  }
  int64_t position = 0;
  for (int a : order) {
    const LoweredActor& actor = program.actors[a];
    for (int b : {actor.input_buffer, actor.output_buffer}) {
      if (b >= 0) always[b] = true;
    }
    for (const LoweredCall& call : actor.calls) {
      for (int b : call.inputs) {
        if (b >= 0) touches[b].push_back({position, false});
      }
      for (int b : call.outputs) {
        if (b >= 0) touches[b].push_back({position, true});
      }
      ++position;
    }
  }
  std::vector<std::vector<Lifetime>> lifetimes(n);
  for (size_t b = 0; b < n; ++b) {
    if (always[b]) continue;
    int writes = 0;
    for (const Touch& touch : touches[b]) {
      // The first write of a cycle begins a life; all other touches extend it.
      if (touch.write && writes++ % writes_per_cycle[b] == 0) {
        lifetimes[b].push_back({touch.position, touch.position});
      } else if (!lifetimes[b].empty()) {
        lifetimes[b].back().last = touch.position;
      } else {
        always[b] = true;  // read before it is written: carried over from the step before
        break;
      }
    }
    if (always[b]) lifetimes[b].clear();
  }
  return lifetimes;
}

}  // namespace weft

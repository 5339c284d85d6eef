#include <vector>

#include "absl/strings/str_cat.h"
#include "parallel/lowered_program.h"

namespace weft {
namespace {

// A channel's marking while the step is played.
struct Marking {
  int full = 0;              // slots full and not yet given back
  int writing = 0;           // writes into the slot being filled
  std::vector<int> taken;    // per consumer: slots it has finished reading
  std::vector<int> reading;  // per consumer: reads of the slot it is in
  int filled = 0;            // slots filled since the start, initial ones included
};

}  // namespace

absl::StatusOr<std::vector<int>> GlobalOrder(const LoweredProgram& program) {
  std::vector<Marking> markings(program.channels.size());
  std::vector<int> left(program.actors.size());
  // Consumer's place in its channels, parallel to LoweredActor::inputs.
  std::vector<std::vector<int>> place(program.actors.size());
  int total = 0;
  for (size_t a = 0; a < program.actors.size(); ++a) {
    left[a] = program.actors[a].firings;
    total += left[a];
    for (int c : program.actors[a].inputs) {
      const std::vector<LoweredConsumer>& consumers = program.channels[c].consumers;
      for (size_t k = 0; k < consumers.size(); ++k) {
        if (consumers[k].actor == static_cast<int>(a)) place[a].push_back(static_cast<int>(k));
      }
    }
  }
  for (size_t c = 0; c < markings.size(); ++c) {
    markings[c].filled = program.channels[c].initial;
    markings[c].taken.assign(program.channels[c].consumers.size(), 0);
    markings[c].reading.assign(program.channels[c].consumers.size(), 0);
  }
  const auto can_fire = [&](size_t a) {
    if (left[a] == 0) return false;
    const LoweredActor& actor = program.actors[a];
    for (size_t i = 0; i < actor.inputs.size(); ++i) {
      const Marking& m = markings[actor.inputs[i]];
      if (m.filled <= m.taken[place[a][i]]) return false;
    }
    for (int c : actor.outputs) {
      const Marking& m = markings[c];
      int slowest = m.filled;
      for (int taken : m.taken) slowest = std::min(slowest, taken);
      const int slots = program.buffers[program.channels[c].buffer].slots;
      if (m.writing == 0 && m.filled - slowest >= slots) return false;
    }
    return true;
  };
  const auto fire = [&](size_t a) {
    const LoweredActor& actor = program.actors[a];
    for (size_t i = 0; i < actor.inputs.size(); ++i) {
      Marking& m = markings[actor.inputs[i]];
      const int k = place[a][i];
      if (++m.reading[k] == program.channels[actor.inputs[i]].consumers[k].reads_per_slot) {
        m.reading[k] = 0;
        ++m.taken[k];
      }
    }
    for (int c : actor.outputs) {
      Marking& m = markings[c];
      if (++m.writing == program.channels[c].writes_per_slot) {
        m.writing = 0;
        ++m.filled;
      }
    }
    --left[a];
  };
  // The actor furthest down the data flow first: microbatches drain before new ones enter.
  std::vector<int> order;
  order.reserve(total);
  while (static_cast<int>(order.size()) < total) {
    int next = -1;
    for (int a = static_cast<int>(program.actors.size()) - 1; a >= 0 && next < 0; --a) {
      if (can_fire(a)) next = a;
    }
    if (next < 0) {
      std::string waiting;
      for (size_t a = 0; a < left.size(); ++a) {
        if (left[a] > 0) absl::StrAppend(&waiting, " '", program.actors[a].name, "'");
      }
      return absl::InternalError(absl::StrCat("no complete step is possible; left:", waiting));
    }
    fire(next);
    order.push_back(next);
  }
  return order;
}

}  // namespace weft

// After how many calls of a firing its messages leave; the plan says so and the actors obey.
#include <algorithm>
#include <map>

#include "parallel/lowered_program.h"

namespace weft {
namespace {

// Buffer -> calls of a firing up to the last that uses it.
using LastUses = std::map<int, int>;

int Last(const LastUses& uses, int buffer) {
  const auto found = uses.find(buffer);
  return found == uses.end() ? 0 : found->second;
}

// Free leaves after the last call that reads the slot, or in place of what it read writes it;
// full after the last that writes it, even where later calls of the firing read what was written.
void SetDepartures(const LoweredProgram& program, LoweredActor& actor) {
  LastUses read, written;
  int calls = 0;
  for (const LoweredCall& call : actor.calls) {
    ++calls;
    for (int b : call.inputs) read[b] = calls;
    for (int b : call.outputs) written[b] = calls;
  }
  actor.free_after.clear();
  for (int c : actor.inputs) {
    const LoweredChannel& channel = program.channels[c];
    const bool leaves = program.actors[channel.producer].stream != actor.stream;
    const int last = std::max(Last(read, channel.buffer), Last(written, channel.buffer));
    actor.free_after.push_back(leaves && last > 0 ? last : calls);
  }
  actor.full_after.clear();
  for (int c : actor.outputs) {
    const LoweredChannel& channel = program.channels[c];
    const bool leaves = std::any_of(channel.consumers.begin(), channel.consumers.end(),
                                    [&](const LoweredConsumer& consumer) {
                                      return program.actors[consumer.actor].stream != actor.stream;
                                    });
    actor.full_after.push_back(leaves ? Last(written, channel.buffer) : calls);
  }
}

}  // namespace

void SetDepartures(LoweredProgram& program) {
  for (LoweredActor& actor : program.actors) SetDepartures(program, actor);
}

}  // namespace weft

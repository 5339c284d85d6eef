#include "parallel/pipeline_slots.h"

#include <algorithm>
#include <vector>

namespace weft {
namespace {

bool Crosses(const LoweredActor& actor) {
  return actor.kind == LoweredActor::Kind::kReshard && actor.from_mesh != actor.to_mesh &&
         actor.stream == StreamId::kCommunication;
}

}  // namespace

void SetPipelineSlots(LoweredProgram& program) {
  const int microbatches = program.microbatches;
  const auto recurs = [&](int a) { return program.actors[a].firings == microbatches; };
  if (microbatches == 1 ||
      std::none_of(program.actors.begin(), program.actors.end(), [&](const LoweredActor& actor) {
        return Crosses(actor) && actor.firings == microbatches;
      })) {
    return;
  }
  // Crossings before an actor begins, and before what it makes is there. Actors are in data-flow
  // order.
  std::vector<int> begins(program.actors.size(), 0), ends(program.actors.size(), 0);
  for (size_t a = 0; a < program.actors.size(); ++a) {
    const LoweredActor& actor = program.actors[a];
    for (int c : actor.inputs) {
      const LoweredChannel& channel = program.channels[c];
      if (channel.initial == 0 && recurs(channel.producer)) {
        begins[a] = std::max(begins[a], ends[channel.producer]);
      }
    }
    ends[a] = begins[a] + (Crosses(actor) ? 1 : 0);
  }
  for (const LoweredChannel& channel : program.channels) {
    if (channel.initial > 0 || !recurs(channel.producer) || channel.writes_per_slot != 1) continue;
    const LoweredActor& producer = program.actors[channel.producer];
    int last = ends[channel.producer];
    bool crosses = Crosses(producer) || producer.kind == LoweredActor::Kind::kFeed;
    for (const LoweredConsumer& consumer : channel.consumers) {
      last = std::max(last, begins[consumer.actor]);
      crosses = crosses || Crosses(program.actors[consumer.actor]);
    }
    const int slots = (last - ends[channel.producer] + 1) / 2 + 1 + (crosses ? 1 : 0);
    LoweredBuffer& buffer = program.buffers[channel.buffer];
    buffer.slots = std::max(buffer.slots, std::min(slots, microbatches));
  }
}

}  // namespace weft

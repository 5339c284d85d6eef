#include "actors/channel.h"

namespace weft {

Channel::Channel(const ChannelDef& def)
    : name_(def.name()),
      slots_(def.slots()),
      writes_per_slot_(def.writes_per_slot()),
      write_slot_(def.initial() % def.slots()),
      filled_(def.initial()),
      full_(def.slots()) {
  for (const ConsumerDef& consumer : def.consumers()) {
    consumers_.push_back(
        {.reads_per_slot = consumer.reads_per_slot(), .left = std::vector<Event>(def.slots())});
  }
  if (consumers_.empty()) freed_ = filled_;
}

}  // namespace weft

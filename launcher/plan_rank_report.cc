#include "launcher/plan_rank_report.h"

#include "launcher/plan_memory_report.h"

namespace weft {
namespace {

int64_t SlotBytes(const Plan& plan, const ChannelDef& channel) {
  int64_t bytes = 0;
  for (int b : channel.buffers()) bytes += BoxBytes(plan.buffers(b));
  return bytes;
}

PlanReport::Channel ReportChannel(const StageRows& rows, const Plan& plan, const ChannelDef& def) {
  PlanReport::Channel channel;
  channel.name = def.name();
  channel.slots = def.slots();
  channel.writes_per_slot = def.writes_per_slot();
  channel.initial = def.initial();
  channel.writer = rows.actors[def.producer()];
  for (const ConsumerDef& consumer : def.consumers()) {
    channel.readers.push_back({rows.actors[consumer.actor()], consumer.reads_per_slot()});
  }
  channel.bytes = SlotBytes(plan, def);
  return channel;
}

}  // namespace

PlanReport::Rank ReportRank(const Program& program, const StageRows& rows, const Plan& plan,
                            const std::vector<PlanReport::Value>& values,
                            const std::vector<PlanReport::Stream>& timeline) {
  PlanReport::Rank rank;
  rank.rank = plan.rank();
  rank.stage = static_cast<int>(rows.stage - program.stages.data());
  for (const ChannelDef& channel : plan.channels()) {
    rank.channels.push_back(ReportChannel(rows, plan, channel));
  }
  for (const StreamDef& def : plan.streams()) {
    PlanReport::Stream& stream = rank.streams.emplace_back();
    stream.name = def.name();
    for (int actor : def.order()) stream.order.push_back(rows.actors[actor]);
  }
  rank.memory = ReportMemory(program.graph, rows, plan, values, timeline);
  return rank;
}

}  // namespace weft

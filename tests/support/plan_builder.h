// Writes small plans for tests of the run side: f32 tensors of one dimension, offsets dealt out one
// after the other, lists in the order in which firings are named.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/box.h"
#include "runtime/box_proto.h"
#include "runtime/collective_bytes.h"
#include "runtime/dtype.h"
#include "runtime/exchange_pieces.h"
#include "runtime/plan.pb.h"

namespace weft::testing {

class PlanBuilder {
 public:
  explicit PlanBuilder(int rank = 0, int world_size = 1) {
    plan_.set_version(1);
    plan_.set_rank(rank);
    plan_.set_world_size(world_size);
  }

  int Stream(std::string_view name) {
    plan_.add_streams()->set_name(std::string(name));
    return plan_.streams_size() - 1;
  }
  int Actor(std::string_view name, int stream, int firings = 1, double seconds = 1e-3) {
    ActorDef* actor = plan_.add_actors();
    actor->set_name(std::string(name));
    actor->set_stream(stream);
    actor->set_firings_per_step(firings);
    actor->set_seconds(seconds);
    actor->mutable_compute();
    return plan_.actors_size() - 1;
  }
  struct Reader {
    int actor;
    int reads_per_slot = 1;
  };
  // A channel; with `elements` > 0 also a buffer, which lies in every slot.
  int Channel(std::string_view name, int producer, std::vector<Reader> readers, int slots = 1,
              int64_t elements = 0, int writes_per_slot = 1, int initial = 0) {
    const int id = plan_.channels_size();
    ChannelDef* channel = plan_.add_channels();
    channel->set_name(std::string(name));
    channel->set_producer(producer);
    channel->set_slots(slots);
    channel->set_writes_per_slot(writes_per_slot);
    channel->set_initial(initial);
    plan_.mutable_actors(producer)->add_outputs(id);
    for (const Reader& reader : readers) {
      ConsumerDef* consumer = channel->add_consumers();
      consumer->set_actor(reader.actor);
      consumer->set_reads_per_slot(reader.reads_per_slot);
      plan_.mutable_actors(reader.actor)->add_inputs(id);
    }
    if (elements > 0) channel->add_buffers(Buffer(name, elements, slots));
    return id;
  }
  int Buffer(std::string_view name, int64_t elements, int slots = 1) {
    return Buffer(name, {elements}, Box::Whole({elements}), slots);
  }
  int Buffer(std::string_view name, std::vector<int64_t> shape, const Box& box, int slots = 1) {
    BufferDef* buffer = plan_.add_buffers();
    buffer->set_name(std::string(name));
    for (int64_t extent : shape) buffer->add_shape(extent);
    buffer->set_dtype(static_cast<int>(DType::kF32));
    ToProto(box, buffer->mutable_box());
    for (int i = 0; i < slots; ++i) {
      buffer->add_offsets(Take(box.elements() * 4));
    }
    return plan_.buffers_size() - 1;
  }
  int Variable(std::string_view name, int64_t elements) {
    const int id = Buffer(name, elements);
    plan_.mutable_buffers(id)->clear_offsets();
    plan_.mutable_buffers(id)->set_variable(std::string(name));
    return id;
  }
  // The operand of a channel made with elements > 0.
  OperandDef On(int channel) const { return At(plan_.channels(channel).buffers(0), channel); }
  static OperandDef At(int buffer, int channel = -1) {
    OperandDef operand;
    operand.set_buffer(buffer);
    operand.set_channel(channel);
    return operand;
  }
  KernelCallDef* Call(int actor, std::string_view kernel, const std::vector<OperandDef>& inputs,
                      const std::vector<OperandDef>& outputs) {
    KernelCallDef* call = plan_.mutable_actors(actor)->mutable_compute()->add_calls();
    call->set_kernel(std::string(kernel));
    call->set_name(plan_.actors(actor).name());
    for (const OperandDef& operand : inputs) *call->add_inputs() = operand;
    for (const OperandDef& operand : outputs) *call->add_outputs() = operand;
    return call;
  }
  void Feed(int actor, std::string_view name, const OperandDef& output) {
    FeedDef* feed = plan_.mutable_actors(actor)->mutable_feed();
    feed->set_name(std::string(name));
    *feed->mutable_output() = output;
  }
  void Fetch(int actor, std::string_view name, const OperandDef& input) {
    FetchDef* fetch = plan_.mutable_actors(actor)->mutable_fetch();
    fetch->set_name(std::string(name));
    *fetch->mutable_input() = input;
  }
  ExchangeDef* Exchange(int actor, int tag, const OperandDef& input, const OperandDef& output) {
    ExchangeDef* exchange = plan_.mutable_actors(actor)->mutable_exchange();
    exchange->set_tag(tag);
    *exchange->mutable_input() = input;
    *exchange->mutable_output() = output;
    return exchange;
  }
  static void Piece(PieceDef* piece, int peer, const Box& box) {
    piece->set_peer(peer);
    ToProto(box, piece->mutable_box());
  }
  AllReduceDef* AllReduce(int actor, int communicator, const OperandDef& input,
                          const OperandDef& output) {
    AllReduceDef* reduce = plan_.mutable_actors(actor)->mutable_all_reduce();
    for (int r = 0; r < plan_.world_size(); ++r) reduce->add_ranks(r);
    const int64_t bytes = AllReduceWorkspaceBytes(plan_.rank(), plan_.world_size(),
                                                  BoxOf(input).elements(), DType::kF32);
    reduce->set_workspace_offset(Take(bytes));
    reduce->set_workspace_bytes(bytes);
    reduce->set_communicator(communicator);
    *reduce->mutable_input() = input;
    *reduce->mutable_output() = output;
    return reduce;
  }
  // Gives the exchanges, whose pieces are complete, what they need to stage, and all-reduces that
  // have none yet what they collect in.
  void PlaceStaging() {
    for (ActorDef& actor : *plan_.mutable_actors()) {
      if (actor.has_all_reduce() && actor.all_reduce().workspace_bytes() == 0) {
        AllReduceDef& reduce = *actor.mutable_all_reduce();
        const auto place = std::find(reduce.ranks().begin(), reduce.ranks().end(), plan_.rank());
        const ExchangeSide side = SideOf(reduce.input());
        const int64_t bytes =
            AllReduceWorkspaceBytes(static_cast<int>(place - reduce.ranks().begin()),
                                    reduce.ranks_size(), side.box.elements(), side.dtype);
        reduce.set_workspace_offset(Take(bytes));
        reduce.set_workspace_bytes(bytes);
      }
      if (!actor.has_exchange()) continue;
      ExchangeDef& exchange = *actor.mutable_exchange();
      const auto pieces = PiecesOf(exchange, plan_.rank(), plan_.world_size(),
                                   SideOf(exchange.input()), SideOf(exchange.output()));
      if (!pieces.ok()) continue;  // a test of errors
      exchange.set_workspace_offset(Take(pieces->workspace_bytes));
      exchange.set_workspace_bytes(pieces->workspace_bytes);
    }
  }
  // The actor sends full (free) of `channel` after `calls` of its calls, and its other messages
  // when the firing ends. After all calls and channels of the actor.
  void Early(int actor, int channel, int calls) {
    ActorDef* def = plan_.mutable_actors(actor);
    for (const bool output : {false, true}) {
      const auto& channels = output ? def->outputs() : def->inputs();
      auto* after = output ? def->mutable_full_after() : def->mutable_free_after();
      after->Resize(channels.size(), def->compute().calls_size());
      for (int i = 0; i < channels.size(); ++i) {
        if (channels[i] == channel) after->Set(i, calls);
      }
    }
  }
  // Appends to the list of the actor's stream.
  void Order(const std::vector<int>& actors) {
    for (int a : actors) plan_.mutable_streams(plan_.actors(a).stream())->add_order(a);
  }

  Plan& plan() { return plan_; }

 private:
  // The next `bytes` of the arena.
  int64_t Take(int64_t bytes) {
    const int64_t at = plan_.arena_bytes();
    plan_.set_arena_bytes(at + CacheLines(bytes));
    return at;
  }
  Box BoxOf(const OperandDef& operand) const {
    return FromProto(plan_.buffers(operand.buffer()).box()).value();
  }
  ExchangeSide SideOf(const OperandDef& operand) const {
    if (operand.buffer() < 0) return {};
    return {.present = true,
            .box = BoxOf(operand),
            .dtype = static_cast<DType>(plan_.buffers(operand.buffer()).dtype())};
  }

  Plan plan_;
};

}  // namespace weft::testing

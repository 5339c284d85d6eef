#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "parallel/lowered_program.h"
#include "parallel/segments.h"
#include "runtime/status.h"

namespace weft {
namespace {

class Lowering {
 public:
  Lowering(const Graph& graph, int microbatches, int64_t bucket_bytes)
      : graph_(graph), bucket_bytes_(bucket_bytes) {
    program_.microbatches = microbatches;
  }

  absl::StatusOr<LoweredProgram> Run() {
    CountUses();
    buffer_.assign(graph_.values.size(), -1);
    AddFeeds();
    FoldAccumulations();
    WEFT_RETURN_IF_ERROR(BindVariables());
    WEFT_ASSIGN_OR_RETURN(const std::vector<Segment> segments,
                          FormSegments(graph_, program_.microbatches, bucket_bytes_));
    for (const Segment& segment : segments) AddSegment(segment);
    AddFetches();
    AddChannels();
    for (size_t a = 0; a < program_.actors.size(); ++a) {
      program_.actors[a].depth = static_cast<int>(a);
    }
    SetDepartures(program_);
    return std::move(program_);
  }

 private:
  int Firings(bool microbatch) const { return microbatch ? program_.microbatches : 1; }

  int AddBuffer(Value value, std::string variable = "", int slots = 1) {
    LoweredBuffer buffer;
    buffer.name = graph_.info(value).name;
    buffer.value = value;
    buffer.variable = std::move(variable);
    buffer.slots = slots;
    program_.buffers.push_back(std::move(buffer));
    return static_cast<int>(program_.buffers.size()) - 1;
  }

  // The buffer of a value, made at first use.
  int BufferOf(Value value) {
    if (buffer_[value.id] < 0) buffer_[value.id] = AddBuffer(value);
    return buffer_[value.id];
  }

  void CountUses() {
    uses_.assign(graph_.values.size(), 0);
    for (const Node& node : graph_.nodes) {
      for (Value v : node.inputs) {
        if (v) ++uses_[v.id];
      }
      for (Value v : node.after) ++uses_[v.id];
    }
    for (const GraphOutput& output : graph_.outputs) ++uses_[output.value.id];
    for (const Variable& variable : graph_.variables) {
      if (variable.update) ++uses_[variable.update.id];
    }
  }

  void AddFeeds() {
    for (const GraphInput& input : graph_.inputs) {
      if (uses_[input.value.id] == 0) continue;
      const bool microbatch = graph_.info(input.value).rate == Rate::kMicrobatch;
      buffer_[input.value.id] = AddBuffer(input.value, "", 2);
      LoweredActor actor;
      actor.kind = LoweredActor::Kind::kFeed;
      actor.name = absl::StrCat("feed ", input.name);
      actor.from_mesh = actor.to_mesh = graph_.info(input.value).mesh;
      actor.stream = StreamId::kFeed;
      actor.firings = Firings(microbatch);
      actor.host_name = input.name;
      actor.output_buffer = buffer_[input.value.id];
      program_.actors.push_back(std::move(actor));
    }
  }

  // A kernel that can add to its result writes the per-step sum itself; with one microbatch any
  // kernel does, and any conversion.
  void FoldAccumulations() {
    for (const Node& node : graph_.nodes) {
      if (node.is_reshard() || !node.op->sums_microbatches) continue;
      const Value in = node.inputs[0];
      const ValueInfo& info = graph_.info(in);
      if (uses_[in.id] != 1 || info.node < 0) continue;
      const Node& producer = graph_.nodes[info.node];
      if (program_.microbatches > 1 && !Adds(producer, info.output)) continue;
      folded_[in.id] = node.outputs[0];
    }
  }

  static bool Adds(const Node& node, int output) {
    if (node.is_reshard()) return false;
    const std::vector<int>& able = node.op->accumulates;
    return std::count(able.begin(), able.end(), output) > 0;
  }

  // The value itself, or the sum that is written in its place.
  Value Written(Value v) const {
    const auto folded = folded_.find(v.id);
    return folded == folded_.end() ? v : folded->second;
  }

  // The update's producer writes the variable's memory itself where that is safe.
  absl::Status BindVariables() {
    for (size_t i = 0; i < graph_.variables.size(); ++i) {
      const Variable& variable = graph_.variables[i];
      buffer_[variable.value.id] = AddBuffer(variable.value, variable.name);
      if (!variable.update) continue;
      const ValueInfo& info = graph_.info(variable.update);
      if (info.node < 0) {
        return absl::UnimplementedError(
            absl::StrCat("variable '", variable.name, "' is updated by a value no op makes"));
      }
      const Node& producer = graph_.nodes[info.node];
      if (program_.microbatches > 1 && !producer.is_reshard() && producer.op->sums_microbatches) {
        return absl::UnimplementedError(absl::StrCat(
            "variable '", variable.name, "' takes a sum over microbatches ('", producer.name,
            "') as it is; put an op between them, such as scale by 1, or use one microbatch"));
      }
      bool in_place = true;  // whichever operand is the old content may share the new one's memory
      for (size_t k = 0; k < producer.inputs.size(); ++k) {
        if (producer.inputs[k] != variable.value) continue;
        const std::pair<int, int> shared(static_cast<int>(k), info.output);
        in_place =
            in_place && !producer.is_reshard() &&
            std::count(producer.op->in_place.begin(), producer.op->in_place.end(), shared) > 0;
      }
      const bool direct = in_place && uses_[variable.update.id] == 1 &&
                          buffer_[variable.update.id] < 0 && info.rate == Rate::kStep &&
                          !(!producer.is_reshard() && producer.op->sums_microbatches);
      if (direct) {
        buffer_[variable.update.id] = buffer_[variable.value.id];
      } else {
        copies_[info.node].push_back(static_cast<int>(i));
      }
    }
    return absl::OkStatus();
  }

  void AddSegment(const Segment& segment) {
    LoweredActor actor;
    actor.stream = segment.stream;
    actor.firings = Firings(segment.microbatch);
    const Node& first = graph_.nodes[segment.nodes.front()];
    actor.name = first.name;
    actor.from_mesh = actor.to_mesh = graph_.info(first.outputs[0]).mesh;
    if (first.is_reshard()) {
      actor.kind = LoweredActor::Kind::kReshard;
      actor.node = segment.nodes.front();
      actor.from_mesh = graph_.info(first.inputs[0]).mesh;
      actor.input_buffer = BufferOf(first.inputs[0]);
      actor.output_buffer = BufferOf(Written(first.outputs[0]));
    } else {
      actor.name = absl::StrCat(first.name, " .. ", graph_.nodes[segment.nodes.back()].name);
      for (int n : segment.nodes) AddCalls(n, actor);
      if (actor.calls.empty()) return;  // sums that conversions write
    }
    for (int n : segment.nodes) {
      for (Value v : graph_.nodes[n].after) actor.awaited.push_back(BufferOf(v));
    }
    program_.actors.push_back(std::move(actor));
    if (first.is_reshard()) AddConvertedCopies(segment);
  }

  // A conversion has no calls of its own: an actor after it hands its result to variables.
  void AddConvertedCopies(const Segment& conversion) {
    const int n = conversion.nodes.front();
    if (copies_[n].empty()) return;
    LoweredActor actor;
    actor.firings = Firings(conversion.microbatch);
    actor.from_mesh = actor.to_mesh = graph_.info(graph_.nodes[n].outputs[0]).mesh;
    AddCopies(n, actor);
    actor.name = actor.calls.front().name;
    program_.actors.push_back(std::move(actor));
  }

  void AddCalls(int n, LoweredActor& actor) {
    const Node& node = graph_.nodes[n];
    const bool sums = node.op->sums_microbatches;
    if (sums && folded_.count(node.inputs[0].id)) {  // the producer writes the sum
      AddCopies(n, actor);
      return;
    }
    LoweredCall call;
    call.kernel = node.op->name;
    call.name = node.name;
    call.node = n;
    for (Value v : node.inputs) call.inputs.push_back(v ? BufferOf(v) : -1);
    for (size_t k = 0; k < node.outputs.size(); ++k) {
      const Value v = Written(node.outputs[k]);
      call.outputs.push_back(uses_[v.id] > 0 ? BufferOf(v) : -1);
      if ((sums || !(v == node.outputs[k])) && program_.microbatches > 1) {
        call.accumulate.push_back(static_cast<int>(k));
      }
    }
    actor.calls.push_back(std::move(call));
    AddCopies(n, actor);
  }

  // What the node hands to variables besides its other readers.
  void AddCopies(int n, LoweredActor& actor) {
    for (int i : copies_[n]) {
      const Variable& variable = graph_.variables[i];
      LoweredCall copy;
      copy.name = absl::StrCat("update ", variable.name);
      copy.inputs = {BufferOf(variable.update)};
      copy.outputs = {buffer_[variable.value.id]};
      actor.calls.push_back(std::move(copy));
    }
  }

  void AddFetches() {
    for (const GraphOutput& output : graph_.outputs) {
      LoweredActor actor;
      actor.kind = LoweredActor::Kind::kFetch;
      actor.name = absl::StrCat("fetch ", output.name);
      actor.from_mesh = actor.to_mesh = graph_.info(output.value).mesh;
      actor.stream = StreamId::kFetch;
      actor.firings = Firings(graph_.info(output.value).rate == Rate::kMicrobatch);
      actor.host_name = output.name;
      actor.input_buffer = BufferOf(output.value);
      program_.actors.push_back(std::move(actor));
    }
  }

  // Which actors read each buffer.
  std::vector<std::set<int>> Readers() const {
    std::vector<std::set<int>> readers(program_.buffers.size());
    for (size_t a = 0; a < program_.actors.size(); ++a) {
      const LoweredActor& actor = program_.actors[a];
      if (actor.input_buffer >= 0) readers[actor.input_buffer].insert(static_cast<int>(a));
      for (int b : actor.awaited) readers[b].insert(static_cast<int>(a));
      for (const LoweredCall& call : actor.calls) {
        for (int b : call.inputs) {
          if (b >= 0) readers[b].insert(static_cast<int>(a));
        }
      }
    }
    return readers;
  }

  // Which actor writes each buffer, or -1.
  std::vector<int> Writers() const {
    std::vector<int> writers(program_.buffers.size(), -1);
    for (size_t a = 0; a < program_.actors.size(); ++a) {
      const LoweredActor& actor = program_.actors[a];
      if (actor.output_buffer >= 0) writers[actor.output_buffer] = static_cast<int>(a);
      for (const LoweredCall& call : actor.calls) {
        for (int b : call.outputs) {
          if (b >= 0) writers[b] = static_cast<int>(a);
        }
      }
    }
    return writers;
  }

  void AddChannels() {
    const std::vector<std::set<int>> readers = Readers();
    const std::vector<int> writers = Writers();
    for (size_t b = 0; b < program_.buffers.size(); ++b) {
      if (writers[b] < 0) continue;  // a variable that nobody replaces
      LoweredActor& producer = program_.actors[writers[b]];
      LoweredChannel channel;
      channel.buffer = static_cast<int>(b);
      channel.producer = writers[b];
      channel.initial = program_.buffers[b].variable.empty() ? 0 : 1;
      int slowest = program_.microbatches;
      for (int reader : readers[b]) {
        if (reader == writers[b]) continue;
        channel.consumers.push_back({reader, 1});
        slowest = std::min(slowest, program_.actors[reader].firings);
      }
      if (channel.consumers.empty()) continue;
      // One slot lasts a microbatch if every reader and the writer fire per microbatch, else a
      // step.
      const bool per_step = std::min(slowest, producer.firings) == 1;
      channel.writes_per_slot = per_step ? producer.firings : 1;
      for (LoweredConsumer& consumer : channel.consumers) {
        consumer.reads_per_slot = per_step ? program_.actors[consumer.actor].firings : 1;
      }
      const int id = static_cast<int>(program_.channels.size());
      producer.outputs.push_back(id);
      for (const LoweredConsumer& consumer : channel.consumers) {
        program_.actors[consumer.actor].inputs.push_back(id);
      }
      program_.channels.push_back(std::move(channel));
    }
  }

  const Graph& graph_;
  const int64_t bucket_bytes_;
  LoweredProgram program_;
  std::vector<int> uses_;                   // by value
  std::vector<int> buffer_;                 // by value
  std::map<int, Value> folded_;             // value -> the per-step sum written in its place
  std::map<int, std::vector<int>> copies_;  // node -> variables to copy its result to
};

}  // namespace

absl::StatusOr<LoweredProgram> Lower(const Graph& graph, int microbatches, int64_t bucket_bytes) {
  return Lowering(graph, microbatches, bucket_bytes).Run();
}

}  // namespace weft

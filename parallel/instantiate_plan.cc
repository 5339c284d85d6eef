#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "parallel/compile.h"
#include "parallel/instantiate_reshard.h"
#include "parallel/lifetimes.h"
#include "parallel/reshard_step.h"
#include "runtime/attr.pb.h"
#include "runtime/box_proto.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr const char* kStreamNames[kNumStreams] = {"compute", "communication", "host"};

class PlanMaker {
 public:
  PlanMaker(const Program& program, int rank)
      : program_(program), graph_(program.graph), lowered_(program.lowered), rank_(rank) {}

  absl::StatusOr<Plan> Run() {
    const Mesh& mesh = graph_.meshes[0];
    index_ = mesh.IndexOf(rank_);
    if (index_ < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("rank ", rank_, " is not on mesh ", mesh.ToString()));
    }
    plan_.set_version(1);
    plan_.set_rank(rank_);
    plan_.set_world_size(mesh.size());
    AddBuffers();
    PlaceBuffers();
    AddChannels();
    for (size_t a = 0; a < lowered_.actors.size(); ++a) {
      WEFT_RETURN_IF_ERROR(Annotate(AddActor(lowered_.actors[a]),
                                    absl::StrCat("actor '", lowered_.actors[a].name, "'")));
    }
    AddStreams();
    AddVariables();
    return std::move(plan_);
  }

 private:
  Box BoxOfValue(Value v) const {
    const ValueInfo& info = graph_.info(v);
    return BoxOf(info.spec.shape, info.layout, graph_.mesh(v), index_);
  }
  TensorSpec LocalSpec(Value v) const { return {BoxOfValue(v).shape(), graph_.spec(v).dtype}; }

  void AddBuffers() {
    for (const LoweredBuffer& buffer : lowered_.buffers) {
      BufferDef* def = plan_.add_buffers();
      const TensorSpec& spec = graph_.spec(buffer.value);
      def->set_name(buffer.name);
      def->mutable_shape()->Assign(spec.shape.begin(), spec.shape.end());
      def->set_dtype(static_cast<int>(spec.dtype));
      ToProto(BoxOfValue(buffer.value), def->mutable_box());
      def->set_variable(buffer.variable);
    }
  }

  int64_t WorkspaceOf(const LoweredCall& call) const {
    if (call.node < 0) return 0;
    const Node& node = graph_.nodes[call.node];
    if (node.op->workspace == nullptr) return 0;
    std::vector<TensorSpec> inputs, outputs;
    for (Value v : node.inputs) inputs.push_back(v ? LocalSpec(v) : TensorSpec{});
    for (Value v : node.outputs) outputs.push_back(LocalSpec(v));
    return node.op->workspace(CostContext{inputs, outputs, node.attrs});
  }

  // Slots of arena buffers, then one scratch area shared by all kernels of the compute stream.
  void PlaceBuffers() {
    const std::vector<std::vector<Lifetime>> lifetimes = BufferLifetimes(lowered_, program_.order);
    std::vector<MemoryRequest> requests;
    std::vector<int> first(lowered_.buffers.size(), -1);
    for (size_t b = 0; b < lowered_.buffers.size(); ++b) {
      const LoweredBuffer& buffer = lowered_.buffers[b];
      if (!buffer.variable.empty()) continue;
      first[b] = static_cast<int>(requests.size());
      for (int s = 0; s < buffer.slots; ++s) {
        requests.push_back({LocalSpec(buffer.value).bytes(), lifetimes[b]});
      }
    }
    int64_t workspace = 0;
    for (const LoweredActor& actor : lowered_.actors) {
      for (const LoweredCall& call : actor.calls) {
        workspace = std::max(workspace, WorkspaceOf(call));
      }
    }
    requests.push_back({workspace, {}});
    const Placement placement = PlaceMemory(requests);
    workspace_offset_ = placement.offsets.back();
    plan_.set_arena_bytes(placement.bytes);
    for (size_t b = 0; b < lowered_.buffers.size(); ++b) {
      if (first[b] < 0) continue;
      for (int s = 0; s < lowered_.buffers[b].slots; ++s) {
        plan_.mutable_buffers(static_cast<int>(b))->add_offsets(placement.offsets[first[b] + s]);
      }
    }
  }

  void AddChannels() {
    for (const LoweredChannel& channel : lowered_.channels) {
      ChannelDef* def = plan_.add_channels();
      def->set_name(lowered_.buffers[channel.buffer].name);
      def->set_producer(channel.producer);
      for (const LoweredConsumer& consumer : channel.consumers) {
        ConsumerDef* c = def->add_consumers();
        c->set_actor(consumer.actor);
        c->set_reads_per_slot(consumer.reads_per_slot);
      }
      def->set_slots(lowered_.buffers[channel.buffer].slots);
      def->set_writes_per_slot(channel.writes_per_slot);
      def->set_initial(channel.initial);
      def->add_buffers(channel.buffer);
    }
  }

  // The operand of `buffer` as seen by an actor whose channels are `channels`.
  OperandDef Operand(int buffer, const std::vector<int>& channels) const {
    OperandDef operand;
    operand.set_buffer(buffer);
    operand.set_channel(-1);
    for (int c : channels) {
      if (lowered_.channels[c].buffer == buffer) operand.set_channel(c);
    }
    return operand;
  }

  // A buffer read by its own writer (within a segment) is under writing: it has the output channel.
  OperandDef InputOperand(int buffer, const LoweredActor& actor) const {
    OperandDef operand = Operand(buffer, actor.inputs);
    return operand.channel() >= 0 ? operand : Operand(buffer, actor.outputs);
  }

  void AddCall(const LoweredCall& call, const LoweredActor& actor, ComputeDef* compute) {
    KernelCallDef* def = compute->add_calls();
    def->set_kernel(call.kernel);
    def->set_name(call.name);
    for (int b : call.inputs) *def->add_inputs() = InputOperand(b, actor);
    for (int b : call.outputs) *def->add_outputs() = Operand(b, actor.outputs);
    for (int k : call.accumulate) def->add_accumulate(k);
    if (call.node >= 0) {
      for (const auto& [name, value] : graph_.nodes[call.node].attrs.values()) {
        ToProto(value, &(*def->mutable_attrs())[name]);
      }
    }
    def->set_workspace_offset(workspace_offset_);
    def->set_workspace_bytes(WorkspaceOf(call));
  }

  double Seconds(const LoweredActor& actor) const {
    double seconds = 0;
    for (const LoweredCall& call : actor.calls) {
      if (call.node < 0) continue;
      const Node& node = graph_.nodes[call.node];
      std::vector<TensorSpec> inputs, outputs;
      for (Value v : node.inputs) inputs.push_back(v ? LocalSpec(v) : TensorSpec{});
      for (Value v : node.outputs) outputs.push_back(LocalSpec(v));
      seconds += program_.cost.Seconds(node.op->cost(CostContext{inputs, outputs, node.attrs}));
    }
    return seconds;
  }

  absl::Status AddReshard(const LoweredActor& actor, ActorDef* def) {
    const Node& node = graph_.nodes[actor.node];
    const ValueInfo& from = graph_.info(node.inputs[0]);
    const ValueInfo& to = graph_.info(node.outputs[0]);
    const Mesh& mesh = graph_.mesh(node.inputs[0]);
    WEFT_ASSIGN_OR_RETURN(
        const ReshardStep step,
        MakeReshardStep(from.spec, from.layout, mesh, to.layout, graph_.mesh(node.outputs[0])));
    WEFT_ASSIGN_OR_RETURN(RankReshard part, InstantiateStep(step, from.spec, rank_));
    const OperandDef input = Operand(actor.input_buffer, actor.inputs);
    const OperandDef output = Operand(actor.output_buffer, actor.outputs);
    const int64_t bytes = BytesSent(step, from.spec, rank_);
    plan_.set_bytes_sent_per_step(plan_.bytes_sent_per_step() + bytes * actor.firings);
    def->set_seconds(program_.cost.LinkSeconds(bytes, 1));
    if (part.all_reduce) {
      AllReduceDef* all_reduce = def->mutable_all_reduce();
      *all_reduce = *std::move(part.all_reduce);
      all_reduce->set_communicator(step.axis);  // lines of one axis are disjoint, so they share it
      *all_reduce->mutable_input() = input;
      *all_reduce->mutable_output() = output;
    } else {
      ExchangeDef* exchange = def->mutable_exchange();
      *exchange = *std::move(part.exchange);
      exchange->set_tag(actor.node);
      if (exchange->input().buffer() >= 0) *exchange->mutable_input() = input;
      if (exchange->output().buffer() >= 0) *exchange->mutable_output() = output;
    }
    return absl::OkStatus();
  }

  absl::Status AddActor(const LoweredActor& actor) {
    ActorDef* def = plan_.add_actors();
    def->set_name(actor.name);
    def->set_stream(static_cast<int>(actor.stream));
    def->set_firings_per_step(actor.firings);
    def->mutable_inputs()->Assign(actor.inputs.begin(), actor.inputs.end());
    def->mutable_outputs()->Assign(actor.outputs.begin(), actor.outputs.end());
    def->set_seconds(Seconds(actor));
    switch (actor.kind) {
      case LoweredActor::Kind::kCompute:
        def->mutable_compute();
        for (const LoweredCall& call : actor.calls) AddCall(call, actor, def->mutable_compute());
        return absl::OkStatus();
      case LoweredActor::Kind::kReshard: return AddReshard(actor, def);
      case LoweredActor::Kind::kFeed:
        def->mutable_feed()->set_name(actor.host_name);
        *def->mutable_feed()->mutable_output() = Operand(actor.output_buffer, actor.outputs);
        return absl::OkStatus();
      case LoweredActor::Kind::kFetch:
        def->mutable_fetch()->set_name(actor.host_name);
        *def->mutable_fetch()->mutable_input() = Operand(actor.input_buffer, actor.inputs);
        return absl::OkStatus();
    }
    return absl::InternalError("unknown kind of actor");
  }

  void AddStreams() {
    for (const char* name : kStreamNames) plan_.add_streams()->set_name(name);
    for (int a : program_.order) {
      plan_.mutable_streams(static_cast<int>(lowered_.actors[a].stream))->add_order(a);
    }
  }

  void AddVariables() {
    for (const LoweredBuffer& buffer : lowered_.buffers) {
      if (buffer.variable.empty()) continue;
      VariableBindingDef* def = plan_.add_variables();
      const TensorSpec& spec = graph_.spec(buffer.value);
      def->set_name(buffer.variable);
      def->mutable_shape()->Assign(spec.shape.begin(), spec.shape.end());
      def->set_dtype(static_cast<int>(spec.dtype));
      ToProto(BoxOfValue(buffer.value), def->mutable_box());
    }
  }

  const Program& program_;
  const Graph& graph_;
  const LoweredProgram& lowered_;
  const int rank_;
  int index_ = 0;
  int64_t workspace_offset_ = 0;
  Plan plan_;
};

}  // namespace

absl::StatusOr<Plan> InstantiatePlan(const Program& program, int rank) {
  return PlanMaker(program, rank).Run();
}

}  // namespace weft

#include <algorithm>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "parallel/compile.h"
#include "parallel/estimate_times.h"
#include "parallel/instantiate_reshard.h"
#include "parallel/memory_budget.h"
#include "parallel/plan_memory.h"
#include "parallel/reshard_step.h"
#include "runtime/attr.pb.h"
#include "runtime/box_proto.h"
#include "runtime/collective_bytes.h"
#include "runtime/exchange_pieces.h"
#include "runtime/status.h"

namespace weft {
namespace {

class PlanMaker {
 public:
  PlanMaker(const Program& program, const StageProgram& stage, int rank)
      : program_(program),
        stage_(stage),
        graph_(program.graph),
        lowered_(stage.lowered),
        rank_(rank) {
    for (const Mesh& mesh : graph_.meshes) {
      index_.push_back(mesh.IndexOf(rank));
      first_axis_.push_back(num_axes_);
      num_axes_ += mesh.num_axes();
    }
  }

  absl::StatusOr<Plan> Run() {
    plan_.set_version(1);
    plan_.set_rank(rank_);
    plan_.set_world_size(WorldSize(graph_));
    AddBuffers();
    WEFT_RETURN_IF_ERROR(MakeConversions());
    WEFT_RETURN_IF_ERROR(PlaceBuffers());
    AddChannels();
    for (size_t a = 0; a < lowered_.actors.size(); ++a) {
      WEFT_RETURN_IF_ERROR(Annotate(AddActor(static_cast<int>(a)),
                                    absl::StrCat("actor '", lowered_.actors[a].name, "'")));
    }
    AddEdges();
    AddStreams();
    AddVariables();
    return std::move(plan_);
  }

 private:
  Box BoxOfValue(Value v) const {
    const ValueInfo& info = graph_.info(v);
    return BoxOf(info.spec.shape, info.layout, graph_.mesh(v), index_[info.mesh]);
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
    const bool on_cuda = program_.device == DeviceKind::kCuda && node.op->cuda_workspace != nullptr;
    const auto workspace = on_cuda ? node.op->cuda_workspace : node.op->workspace;
    if (workspace == nullptr) return 0;
    std::vector<TensorSpec> inputs, outputs;
    for (Value v : node.inputs) inputs.push_back(v ? LocalSpec(v) : TensorSpec{});
    for (Value v : node.outputs) outputs.push_back(LocalSpec(v));
    return workspace(CostContext{inputs, outputs, node.attrs});
  }

  // This rank's part of a conversion, without tag, operands and place of the workspace: the same
  // for all values that lie alike, as those of a model's layers do.
  struct Conversion {
    RankReshard part;
    int64_t bytes_sent = 0;
    double seconds = 0;
    // Where in the output all of the input lies as it is, in bytes; -1: nowhere, or not as one run.
    int64_t own_place = -1;
  };

  static int64_t OwnPlace(const ExchangePieces& pieces, const ExchangeDef& def, int rank,
                          int64_t input_bytes) {
    if (pieces.fills || def.combine()) return -1;
    for (const ExchangePieces::Piece& piece : pieces.receives) {
      const BoxCopy& copy = piece.copy;
      if (piece.peer != rank || !copy.from_contiguous() || !copy.to_contiguous()) continue;
      const bool all = copy.from_offset() == 0 && copy.bytes() == input_bytes;
      return all && copy.to_offset() % kArenaAlignment == 0 ? copy.to_offset() : -1;
    }
    return -1;
  }

  absl::Status MakeConversions() {
    conversions_.resize(lowered_.actors.size());
    for (size_t a = 0; a < lowered_.actors.size(); ++a) {
      const LoweredActor& actor = lowered_.actors[a];
      if (actor.kind != LoweredActor::Kind::kReshard) continue;
      const ValueInfo& from = graph_.info(graph_.nodes[actor.node].inputs[0]);
      const ValueInfo& to = graph_.info(graph_.nodes[actor.node].outputs[0]);
      const std::string key =
          absl::StrCat(from.spec.ToString(), from.mesh, ToString(from.layout, MeshOf(from)), ">",
                       to.mesh, ToString(to.layout, MeshOf(to)));
      const auto [it, is_new] = kinds_.try_emplace(key);
      if (is_new) {
        WEFT_RETURN_IF_ERROR(
            Annotate(MakeConversion(actor, it->second), absl::StrCat("actor '", actor.name, "'")));
      }
      conversions_[a] = &it->second;
    }
    return absl::OkStatus();
  }
  const Mesh& MeshOf(const ValueInfo& info) const { return graph_.meshes[info.mesh]; }

  ExchangeSide SideOf(const OperandDef& operand, Value v) const {
    if (operand.buffer() < 0) return {};
    return {.present = true, .box = BoxOfValue(v), .dtype = graph_.spec(v).dtype};
  }

  absl::Status MakeConversion(const LoweredActor& actor, Conversion& conversion) const {
    const Node& node = graph_.nodes[actor.node];
    const Value in = node.inputs[0];
    RankReshard& part = conversion.part;
    WEFT_ASSIGN_OR_RETURN(const ReshardStep step, StepOf(graph_, node));
    WEFT_ASSIGN_OR_RETURN(part, InstantiateStep(step, graph_.spec(in), rank_));
    conversion.bytes_sent = BytesSent(step, graph_.spec(in), rank_);
    WEFT_ASSIGN_OR_RETURN(const int64_t ticks, ReshardTicks(graph_, program_.cost, node, rank_));
    conversion.seconds = static_cast<double>(ticks) / kTicksPerSecond;
    if (part.all_reduce) {
      AllReduceDef& def = *part.all_reduce;
      const int place = static_cast<int>(std::find(def.ranks().begin(), def.ranks().end(), rank_) -
                                         def.ranks().begin());
      const TensorSpec spec = LocalSpec(in);
      // One for each axis of each mesh; the lines of an axis are disjoint, so they share it.
      def.set_communicator(first_axis_[graph_.info(in).mesh] + step.axis);
      def.set_workspace_bytes(
          AllReduceWorkspaceBytes(place, def.ranks_size(), NumElements(spec.shape), spec.dtype));
    } else if (part.exchange) {
      ExchangeDef& def = *part.exchange;
      WEFT_ASSIGN_OR_RETURN(const ExchangePieces pieces,
                            PiecesOf(def, rank_, plan_.world_size(), SideOf(def.input(), in),
                                     SideOf(def.output(), node.outputs[0])));
      def.set_workspace_bytes(pieces.workspace_bytes);
      if (def.input().buffer() >= 0) {
        conversion.own_place = OwnPlace(pieces, def, rank_, LocalSpec(in).bytes());
      }
    } else {
      return absl::InternalError(absl::StrCat("rank ", rank_, " takes no part in it"));
    }
    return absl::OkStatus();
  }

  std::vector<int64_t> WorkspacesOf(size_t a) const {
    const LoweredActor& actor = lowered_.actors[a];
    std::vector<int64_t> bytes;
    for (const LoweredCall& call : actor.calls) bytes.push_back(WorkspaceOf(call));
    if (conversions_[a] == nullptr) return bytes;
    const RankReshard& part = conversions_[a]->part;
    if (part.all_reduce) bytes.push_back(part.all_reduce->workspace_bytes());
    if (part.exchange) bytes.push_back(part.exchange->workspace_bytes());
    return bytes;
  }

  absl::Status PlaceBuffers() {
    for (const LoweredBuffer& buffer : lowered_.buffers) {
      sizes_.buffers.push_back(LocalSpec(buffer.value).bytes());
    }
    for (size_t a = 0; a < lowered_.actors.size(); ++a) {
      sizes_.workspaces.push_back(WorkspacesOf(a));
    }
    FindGuests();
    memory_ = stage_.memory_plans->Get(
        sizes_, [this] { return PlanMemory(lowered_, stage_.schedule, stage_.lives, sizes_); });
    plan_.set_arena_bytes(memory_->bytes);
    plan_.set_arena_lower_bound(memory_->lower_bound);
    for (size_t b = 0; b < lowered_.buffers.size(); ++b) {
      for (int64_t offset : memory_->offsets[b]) {
        plan_.mutable_buffers(static_cast<int>(b))
            ->add_offsets(offset + (memory_->within[b] >= 0 ? place_within_[b] : 0));
      }
      if (memory_->within[b] >= 0) {
        plan_.mutable_buffers(static_cast<int>(b))->set_within(memory_->within[b]);
      }
    }
    return CheckBudget();
  }

  // What a conversion alone takes, and leaves in one run of what it makes, may lie there from the
  // start: nothing is copied then.
  void FindGuests() {
    sizes_.within.assign(lowered_.buffers.size(), -1);
    place_within_.assign(lowered_.buffers.size(), 0);
    for (size_t a = 0; a < lowered_.actors.size(); ++a) {
      const LoweredActor& actor = lowered_.actors[a];
      if (conversions_[a] == nullptr || conversions_[a]->own_place < 0) continue;
      const auto channel = std::find_if(actor.inputs.begin(), actor.inputs.end(), [&](int c) {
        return lowered_.channels[c].buffer == actor.input_buffer;
      });
      if (channel == actor.inputs.end() || lowered_.channels[*channel].consumers.size() != 1) {
        continue;
      }
      sizes_.within[actor.input_buffer] = actor.output_buffer;
      place_within_[actor.input_buffer] = conversions_[a]->own_place;
    }
  }

  // Arena and variables against what a rank may hold.
  absl::Status CheckBudget() const {
    if (program_.memory_bytes == 0) return absl::OkStatus();
    std::vector<Holder> holders = memory_->peak;
    int64_t variables = 0;
    for (const LoweredBuffer& buffer : lowered_.buffers) {
      if (buffer.variable.empty()) continue;
      holders.push_back(
          {absl::StrCat("variable ", buffer.variable), LocalSpec(buffer.value).bytes()});
      variables += holders.back().bytes;
    }
    if (memory_->bytes + variables <= program_.memory_bytes) return absl::OkStatus();
    return OverBudget(rank_, program_.memory_bytes, memory_->bytes, variables, std::move(holders));
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
    for (const ReuseEdge& edge : memory_->edges) {
      ChannelDef* def = plan_.add_channels();
      def->set_name(absl::StrCat("memory after ", lowered_.actors[edge.producer].name));
      def->set_producer(edge.producer);
      def->set_slots(edge.slots);
      def->set_writes_per_slot(edge.writes_per_slot);
      def->set_initial(edge.initial);
      ConsumerDef* consumer = def->add_consumers();
      consumer->set_actor(edge.consumer);
      consumer->set_reads_per_slot(edge.reads_per_slot);
    }
  }

  // Reuse edges follow the program's channels in the plan.
  void AddEdges() {
    std::vector<std::vector<int>> free_after, full_after;
    for (const LoweredActor& actor : lowered_.actors) {
      free_after.push_back(actor.free_after);
      full_after.push_back(actor.full_after);
    }
    int id = static_cast<int>(lowered_.channels.size());
    for (const ReuseEdge& edge : memory_->edges) {
      plan_.mutable_actors(edge.producer)->add_outputs(id);
      plan_.mutable_actors(edge.consumer)->add_inputs(id);
      full_after[edge.producer].push_back(edge.after);
      free_after[edge.consumer].push_back(CallsOf(edge.consumer));
      ++id;
    }
    for (int a = 0; a < plan_.actors_size(); ++a) {
      SetDepartures(free_after[a], CallsOf(a), plan_.mutable_actors(a)->mutable_free_after());
      SetDepartures(full_after[a], CallsOf(a), plan_.mutable_actors(a)->mutable_full_after());
    }
  }

  int CallsOf(int actor) const { return static_cast<int>(lowered_.actors[actor].calls.size()); }

  // Nothing is written where all messages leave at the end.
  static void SetDepartures(const std::vector<int>& after, int calls,
                            google::protobuf::RepeatedField<int32_t>* field) {
    if (std::all_of(after.begin(), after.end(), [&](int a) { return a == calls; })) return;
    field->Assign(after.begin(), after.end());
  }

  // The channel by which an actor holds each buffer.
  std::unordered_map<int, int> ChannelsByBuffer(const std::vector<int>& channels) const {
    std::unordered_map<int, int> by_buffer;
    for (int c : channels) by_buffer[lowered_.channels[c].buffer] = c;
    return by_buffer;
  }

  // A buffer read by its own writer (within a segment) is under writing: it has the output channel.
  struct ActorPorts {
    std::unordered_map<int, int> inputs, outputs;

    static OperandDef Operand(int buffer, int channel) {
      OperandDef operand;
      operand.set_buffer(buffer);
      operand.set_channel(channel);
      return operand;
    }
    OperandDef Output(int buffer) const {
      const auto found = outputs.find(buffer);
      return Operand(buffer, found == outputs.end() ? -1 : found->second);
    }
    OperandDef Input(int buffer) const {
      const auto found = inputs.find(buffer);
      return found == inputs.end() ? Output(buffer) : Operand(buffer, found->second);
    }
  };
  ActorPorts PortsOf(const LoweredActor& actor) const {
    return {ChannelsByBuffer(actor.inputs), ChannelsByBuffer(actor.outputs)};
  }

  void AddCall(size_t a, size_t c, const ActorPorts& ports, ComputeDef* compute) {
    const LoweredCall& call = lowered_.actors[a].calls[c];
    KernelCallDef* def = compute->add_calls();
    def->set_kernel(call.kernel);
    def->set_name(call.name);
    for (int b : call.inputs) *def->add_inputs() = ports.Input(b);
    for (int b : call.outputs) *def->add_outputs() = ports.Output(b);
    for (int k : call.accumulate) def->add_accumulate(k);
    if (call.node >= 0) {
      for (const auto& [name, value] : graph_.nodes[call.node].attrs.values()) {
        ToProto(value, &(*def->mutable_attrs())[name]);
      }
    }
    def->set_workspace_offset(memory_->workspaces[a][c]);
    def->set_workspace_bytes(sizes_.workspaces[a][c]);
    const int64_t ticks =
        CallTicks(graph_, program_.cost, call, index_[lowered_.actors[a].to_mesh]);
    def->set_seconds(static_cast<double>(ticks) / kTicksPerSecond);
  }

  void AddReshard(int a, ActorDef* def) {
    const LoweredActor& actor = lowered_.actors[a];
    const Conversion& conversion = *conversions_[a];
    const RankReshard& part = conversion.part;
    const ActorPorts ports = PortsOf(actor);
    const OperandDef input = ports.Input(actor.input_buffer);
    const OperandDef output = ports.Output(actor.output_buffer);
    plan_.set_bytes_sent_per_step(plan_.bytes_sent_per_step() +
                                  conversion.bytes_sent * actor.firings);
    def->set_seconds(conversion.seconds);
    const int64_t workspace = memory_->workspaces[a][0];
    if (part.all_reduce) {
      AllReduceDef* all_reduce = def->mutable_all_reduce();
      *all_reduce = *part.all_reduce;
      all_reduce->set_workspace_offset(workspace);
      *all_reduce->mutable_input() = input;
      *all_reduce->mutable_output() = output;
    } else {
      ExchangeDef* exchange = def->mutable_exchange();
      *exchange = *part.exchange;
      exchange->set_tag(actor.node);
      exchange->set_workspace_offset(workspace);
      if (exchange->input().buffer() >= 0) *exchange->mutable_input() = input;
      if (exchange->output().buffer() >= 0) *exchange->mutable_output() = output;
    }
  }

  absl::Status AddActor(int a) {
    const LoweredActor& actor = lowered_.actors[a];
    const ActorPorts ports = PortsOf(actor);
    ActorDef* def = plan_.add_actors();
    def->set_name(actor.name);
    def->set_stream(static_cast<int>(actor.stream));
    def->set_firings_per_step(actor.firings);
    def->mutable_inputs()->Assign(actor.inputs.begin(), actor.inputs.end());
    def->mutable_outputs()->Assign(actor.outputs.begin(), actor.outputs.end());
    switch (actor.kind) {
      case LoweredActor::Kind::kCompute:
        def->mutable_compute();
        for (size_t c = 0; c < actor.calls.size(); ++c) {
          AddCall(a, c, ports, def->mutable_compute());
          def->set_seconds(def->seconds() + def->compute().calls().rbegin()->seconds());
        }
        return absl::OkStatus();
      case LoweredActor::Kind::kReshard: AddReshard(a, def); return absl::OkStatus();
      case LoweredActor::Kind::kFeed:
        def->mutable_feed()->set_name(actor.host_name);
        *def->mutable_feed()->mutable_output() = ports.Output(actor.output_buffer);
        return absl::OkStatus();
      case LoweredActor::Kind::kFetch:
        def->mutable_fetch()->set_name(actor.host_name);
        *def->mutable_fetch()->mutable_input() = ports.Input(actor.input_buffer);
        return absl::OkStatus();
    }
    return absl::InternalError("unknown kind of actor");
  }

  void AddStreams() {
    for (const char* name : kStreamNames) plan_.add_streams()->set_name(name);
    for (const ScheduledFiring& firing : stage_.schedule.firings) {
      const int a = firing.actor;
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
  const StageProgram& stage_;
  const Graph& graph_;
  const LoweredProgram& lowered_;
  const int rank_;
  std::vector<int> index_;       // among the members of each mesh, -1: not on it
  std::vector<int> first_axis_;  // of each mesh among the axes of all
  int num_axes_ = 0;
  std::map<std::string, Conversion> kinds_;
  std::vector<const Conversion*> conversions_;  // by actor
  MemorySizes sizes_;
  std::vector<int64_t> place_within_;  // by buffer: where it lies if within another, in bytes
  std::shared_ptr<const PlannedMemory> memory_;
  Plan plan_;
};

}  // namespace

absl::StatusOr<Plan> InstantiatePlan(const Program& program, int rank) {
  const StageProgram* stage = program.StageOf(rank);
  if (stage == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", rank, " is not on mesh ", program.graph.meshes[0].ToString()));
  }
  return PlanMaker(program, *stage, rank).Run();
}

}  // namespace weft

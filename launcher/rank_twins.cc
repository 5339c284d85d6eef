#include "launcher/rank_twins.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "graph/layout.h"
#include "parallel/instantiate_reshard.h"
#include "parallel/reshard_step.h"
#include "runtime/box_proto.h"
#include "runtime/status.h"

namespace weft {
namespace {

// What tells one kind of ranks from another, as numbers.
using Signature = std::vector<int64_t>;

// A rank's part in one conversion.
struct Part {
  Signature cost;          // seconds sending and receiving, bytes sent, whether its own piece is first
  std::vector<int> peers;  // ranks that fire with it, with repetition
};

class TwinFinder {
 public:
  TwinFinder(const Program& program, const LinkTable& links)
      : program_(program),
        graph_(program.graph),
        links_(links),
        kind_(WorldSize(graph_), -1),
        parts_(kind_.size()) {}

  absl::StatusOr<std::vector<int>> Run() {
    std::vector<Signature> signatures(kind_.size());
    for (size_t s = 0; s < program_.stages.size(); ++s) {
      for (int rank : program_.stages[s].ranks) signatures[rank] = {static_cast<int64_t>(s)};
      AddShapes(program_.stages[s], signatures);
      WEFT_RETURN_IF_ERROR(AddParts(program_.stages[s]));
    }
    for (size_t kinds = 0, before = 0;; before = kinds) {
      kinds = Number(signatures);
      if (kinds == before) break;
      for (size_t rank = 0; rank < kind_.size(); ++rank) signatures[rank] = Refined(rank);
    }
    return Lowest();
  }

 private:
  // The local shapes of all buffers; those that lie alike are looked at once.
  void AddShapes(const StageProgram& stage, std::vector<Signature>& signatures) const {
    std::set<std::string> seen;
    for (const LoweredBuffer& buffer : stage.lowered.buffers) {
      const ValueInfo& info = graph_.info(buffer.value);
      const Mesh& mesh = graph_.mesh(buffer.value);
      if (!seen.insert(
                   absl::StrCat(info.mesh, ToString(info.spec.shape), ToString(info.layout, mesh)))
               .second) {
        continue;
      }
      std::vector<int> index_of(kind_.size(), -1);
      for (int i = 0; i < mesh.size(); ++i) index_of[mesh.ranks()[i]] = i;
      for (int rank : stage.ranks) {
        const Box box = BoxOf(info.spec.shape, info.layout, mesh, index_of[rank]);
        for (int64_t extent : box.shape()) signatures[rank].push_back(extent);
      }
    }
  }

  absl::Status AddParts(const StageProgram& stage) {
    std::set<std::string> seen;
    for (const LoweredActor& actor : stage.lowered.actors) {
      if (actor.kind != LoweredActor::Kind::kReshard || actor.stream != StreamId::kCommunication) {
        continue;
      }
      const Node& node = graph_.nodes[actor.node];
      const ValueInfo& from = graph_.info(node.inputs[0]);
      const ValueInfo& to = graph_.info(node.outputs[0]);
      if (!seen.insert(absl::StrCat(from.spec.ToString(), from.mesh, ">", to.mesh,
                                    ToString(from.layout, graph_.mesh(node.inputs[0])),
                                    ToString(to.layout, graph_.mesh(node.outputs[0]))))
               .second) {
        continue;
      }
      WEFT_ASSIGN_OR_RETURN(const ReshardStep step, StepOf(graph_, node));
      for (int rank : stage.ranks) {
        WEFT_ASSIGN_OR_RETURN(Part part, PartOf(step, from.spec, rank));
        parts_[rank].push_back(std::move(part));
      }
    }
    return absl::OkStatus();
  }

  // By the rules of simulation: a plan of this one conversion tells its messages.
  absl::StatusOr<Part> PartOf(const ReshardStep& step, const TensorSpec& spec, int rank) const {
    WEFT_ASSIGN_OR_RETURN(RankReshard reshard, InstantiateStep(step, spec, rank));
    Plan plan;
    plan.set_rank(rank);
    plan.set_world_size(static_cast<int>(kind_.size()));
    BufferDef* buffer = plan.add_buffers();
    buffer->mutable_shape()->Assign(spec.shape.begin(), spec.shape.end());
    buffer->set_dtype(static_cast<int>(spec.dtype));
    const int source = step.from_mesh.IndexOf(rank);
    if (source >= 0) {
      ToProto(BoxOf(spec.shape, step.from, step.from_mesh, source), buffer->mutable_box());
    }
    Part part;
    ActorDef* actor = plan.add_actors();
    if (reshard.all_reduce) {
      *actor->mutable_all_reduce() = *std::move(reshard.all_reduce);
      part.peers.assign(actor->all_reduce().ranks().begin(), actor->all_reduce().ranks().end());
    } else if (reshard.exchange) {
      *actor->mutable_exchange() = *std::move(reshard.exchange);
    }
    // Of pieces that are added up the first needs no staging, unless it is the rank's own.
    const ExchangeDef& exchange = actor->exchange();
    const bool own_first = exchange.combine() && exchange.receives_size() > 0 &&
                           exchange.receives(0).peer() == rank;
    WEFT_ASSIGN_OR_RETURN(const std::vector<PlanMessage> messages, MessagesOf(plan, 0));
    for (const PlanMessage& message : messages) part.peers.push_back(message.peer);
    const MessageCost cost = CostOf(messages, rank, links_);
    part.cost = {std::bit_cast<int64_t>(cost.sending), std::bit_cast<int64_t>(cost.receiving),
                 cost.bytes_sent, own_first};
    return part;
  }

  // Numbers the kinds that the signatures tell apart; how many.
  size_t Number(const std::vector<Signature>& signatures) {
    std::map<Signature, int> numbers;
    for (size_t rank = 0; rank < kind_.size(); ++rank) {
      kind_[rank] = numbers.try_emplace(signatures[rank], numbers.size()).first->second;
    }
    return numbers.size();
  }

  // The kind, with the kinds that each conversion ties it to.
  Signature Refined(size_t rank) const {
    Signature signature = {kind_[rank]};
    for (const Part& part : parts_[rank]) {
      signature.insert(signature.end(), part.cost.begin(), part.cost.end());
      signature.push_back(static_cast<int64_t>(part.peers.size()));
      const size_t first = signature.size();
      for (int peer : part.peers) signature.push_back(kind_[peer]);
      std::sort(signature.begin() + static_cast<int64_t>(first), signature.end());
    }
    return signature;
  }

  std::vector<int> Lowest() const {
    std::map<int, int> lowest;
    std::vector<int> twins;
    for (size_t rank = 0; rank < kind_.size(); ++rank) {
      twins.push_back(lowest.try_emplace(kind_[rank], rank).first->second);
    }
    return twins;
  }

  const Program& program_;
  const Graph& graph_;
  const LinkTable& links_;
  std::vector<int> kind_;                 // by rank
  std::vector<std::vector<Part>> parts_;  // by rank: its distinct conversions
};

}  // namespace

absl::StatusOr<std::vector<int>> FindTwins(const Program& program, const LinkTable& links) {
  return TwinFinder(program, links).Run();
}

}  // namespace weft

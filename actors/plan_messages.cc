#include "actors/plan_messages.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runtime/box_proto.h"
#include "runtime/collective_bytes.h"
#include "runtime/dtype.h"
#include "runtime/status.h"

namespace weft {
namespace {

absl::StatusOr<const BufferDef*> BufferOf(const Plan& plan, const OperandDef& operand) {
  if (operand.buffer() >= 0 && operand.buffer() < plan.buffers_size()) {
    return &plan.buffers(operand.buffer());
  }
  return absl::InvalidArgumentError(
      absl::StrCat("buffer ", operand.buffer(), " of ", plan.buffers_size()));
}

absl::Status AddPieces(const google::protobuf::RepeatedPtrField<PieceDef>& pieces, int rank,
                       int64_t element_bytes, bool is_send, std::vector<PlanMessage>* messages) {
  for (const PieceDef& piece : pieces) {
    if (piece.peer() == rank) continue;
    WEFT_ASSIGN_OR_RETURN(const Box box, FromProto(piece.box()));
    if (box.empty()) continue;
    messages->push_back({piece.peer(), box.elements() * element_bytes, is_send});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<PlanMessage>> ExchangeMessages(const Plan& plan,
                                                          const ExchangeDef& def) {
  std::vector<PlanMessage> messages;
  const OperandDef& held = def.input().buffer() >= 0 ? def.input() : def.output();
  WEFT_ASSIGN_OR_RETURN(const BufferDef* buffer, BufferOf(plan, held));
  const int64_t element_bytes = SizeOf(static_cast<DType>(buffer->dtype()));
  WEFT_RETURN_IF_ERROR(AddPieces(def.sends(), plan.rank(), element_bytes, true, &messages));
  WEFT_RETURN_IF_ERROR(AddPieces(def.receives(), plan.rank(), element_bytes, false, &messages));
  return messages;
}

absl::StatusOr<std::vector<PlanMessage>> AllReduceMessages(const Plan& plan,
                                                           const AllReduceDef& def) {
  WEFT_ASSIGN_OR_RETURN(const BufferDef* buffer, BufferOf(plan, def.input()));
  WEFT_ASSIGN_OR_RETURN(const Box box, FromProto(buffer->box()));
  const DType dtype = static_cast<DType>(buffer->dtype());
  const int64_t count = box.elements();
  const int size = def.ranks_size();
  const int self = static_cast<int>(std::find(def.ranks().begin(), def.ranks().end(), plan.rank()) -
                                    def.ranks().begin());
  if (self == size) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", plan.rank(), " is not in its group"));
  }
  const bool direct = AllReduceIsDirect(size, count, dtype);
  const auto bytes_of = [&](int member) {
    const auto [begin, end] = AllReduceBlock(member, size, count);
    return (end - begin) * SizeOf(dtype);
  };
  std::vector<PlanMessage> messages;
  const auto send = [&](int member, int64_t bytes) {
    if (bytes > 0) messages.push_back({def.ranks(member), bytes, true});
  };
  for (int step = 1; step < size; ++step) {
    const int to = (self + step) % size;
    send(to, direct ? count * SizeOf(dtype) : bytes_of(to));
  }
  // The ring: every block but the next member's own.
  for (int step = 0; step + 1 < size && !direct; ++step) {
    send((self + 1) % size, bytes_of((self + size - step) % size));
  }
  return messages;
}

}  // namespace

absl::StatusOr<std::vector<PlanMessage>> MessagesOf(const Plan& plan, int actor) {
  const ActorDef& def = plan.actors(actor);
  switch (def.kind_case()) {
    case ActorDef::kAllReduce: return AllReduceMessages(plan, def.all_reduce());
    case ActorDef::kExchange: return ExchangeMessages(plan, def.exchange());
    case ActorDef::kCompute:
    case ActorDef::kFeed:
    case ActorDef::kFetch:
    case ActorDef::KIND_NOT_SET: break;
  }
  return std::vector<PlanMessage>();
}

}  // namespace weft

#include "actors/exchange_setup.h"

#include "absl/strings/str_cat.h"
#include "actors/workspace.h"
#include "runtime/reduce.h"
#include "runtime/status.h"

namespace weft {
namespace {

ExchangeSide SideOf(const SlotOperand& operand) {
  if (operand.absent()) return {};
  const Buffer& buffer = operand.buffer();
  return {.present = true, .box = buffer.box, .dtype = buffer.logical.dtype};
}

}  // namespace

absl::StatusOr<ExchangeSetup> ExchangeSetup::Of(const ActorContext& context, int index) {
  const ExchangeDef& def = context.plan.actors(index).exchange();
  ExchangeSetup setup;
  WEFT_ASSIGN_OR_RETURN(setup.input, SlotOperand::Resolve(context.plan, context.buffers, index,
                                                          def.input(), /*is_output=*/false));
  WEFT_ASSIGN_OR_RETURN(setup.output, SlotOperand::Resolve(context.plan, context.buffers, index,
                                                           def.output(), /*is_output=*/true));
  if (def.monoid() < 0 || def.monoid() > static_cast<int>(Monoid::kLogAddExp)) {
    return absl::InvalidArgumentError(absl::StrCat("monoid ", def.monoid()));
  }
  setup.monoid = static_cast<Monoid>(def.monoid());
  if (!setup.input.absent() && !setup.output.absent() &&
      setup.input.buffer().logical != setup.output.buffer().logical) {
    return absl::InvalidArgumentError(absl::StrCat("from ", setup.input.buffer().logical.ToString(),
                                                   " to ",
                                                   setup.output.buffer().logical.ToString()));
  }
  if (!setup.output.absent() && (def.combine() || def.fill_identity())) {
    WEFT_RETURN_IF_ERROR(CheckReducible(setup.output.buffer().logical.dtype, setup.monoid));
  }
  const int rank = context.plan.rank();
  WEFT_ASSIGN_OR_RETURN(setup.pieces, PiecesOf(def, rank, context.plan.world_size(),
                                               SideOf(setup.input), SideOf(setup.output)));
  setup.travels = !setup.pieces.sends.empty();
  for (const ExchangePieces::Piece& piece : setup.pieces.receives) {
    setup.travels = setup.travels || piece.peer != rank;
  }
  WEFT_ASSIGN_OR_RETURN(setup.workspace,
                        WorkspaceAt(context.arena, def.workspace_offset(), def.workspace_bytes(),
                                    setup.pieces.workspace_bytes));
  return setup;
}

}  // namespace weft

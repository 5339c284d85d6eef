// ExchangeSetup: an exchange of a plan with its operands, whichever device runs it.
#pragma once

#include <cstddef>

#include "absl/status/statusor.h"
#include "actors/actor.h"
#include "actors/slot_operand.h"
#include "runtime/exchange_pieces.h"
#include "runtime/monoid.h"

namespace weft {

struct ExchangeSetup {
  Monoid monoid = Monoid::kSum;
  SlotOperand input;
  SlotOperand output;
  ExchangePieces pieces;
  std::byte* workspace = nullptr;  // of the arena
  bool travels = false;            // something goes to or comes from another rank

  // Of actor `index`. InvalidArgument for pieces outside this rank's boxes, bad peers or monoids,
  // or too little workspace.
  static absl::StatusOr<ExchangeSetup> Of(const ActorContext& context, int index);
};

}  // namespace weft

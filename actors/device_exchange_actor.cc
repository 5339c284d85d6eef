#include "actors/device_exchange_actor.h"

#include <utility>

#include "actors/exchange_setup.h"
#include "runtime/status.h"

namespace weft {

absl::StatusOr<std::unique_ptr<Actor>> DeviceExchangeActor::Create(const ActorContext& context,
                                                                   int index) {
  WEFT_ASSIGN_OR_RETURN(ExchangeSetup setup, ExchangeSetup::Of(context, index));
  if (context.messenger == nullptr && setup.travels) {
    return absl::FailedPreconditionError("there is no transport to exchange over");
  }
  auto actor = std::unique_ptr<DeviceExchangeActor>(new DeviceExchangeActor(context, index));
  std::vector<BoxCopy> copies;
  for (const ExchangePieces::Piece& piece : setup.pieces.sends) copies.push_back(piece.copy);
  for (const ExchangePieces::Piece& piece : setup.pieces.receives) copies.push_back(piece.copy);
  WEFT_ASSIGN_OR_RETURN(actor->copies_, actor->queue_.Prepare(copies));
  actor->monoid_ = setup.monoid;
  actor->input_ = setup.input;
  actor->output_ = setup.output;
  actor->workspace_ = setup.workspace;
  actor->pieces_ = std::move(setup.pieces);
  if (setup.travels) actor->AddExchange(context.plan.actors(index).exchange().tag());
  return actor;
}

DeviceMessenger::Message DeviceExchangeActor::MessageOf(const ExchangePieces::Piece& piece,
                                                        const SlotOperand& operand,
                                                        int64_t offset) const {
  DeviceMessenger::Message message{piece.peer, piece.copy.bytes(), {}};
  if (piece.staging >= 0) {
    message.at.push_back(workspace_ + piece.staging);
    return message;
  }
  for (int64_t firing = 0; firing < operand.period(); ++firing) {
    message.at.push_back(static_cast<std::byte*>(operand.data(firing)) + offset);
  }
  return message;
}

void DeviceExchangeActor::AddExchange(int tag) {
  DeviceMessenger::Exchange exchange;
  exchange.tag = tag;
  for (const ExchangePieces::Piece& piece : pieces_.sends) {
    exchange.sends.push_back(MessageOf(piece, input_, piece.copy.from_offset()));
    bytes_sent_ += piece.copy.bytes();
  }
  for (const ExchangePieces::Piece& piece : pieces_.receives) {
    if (piece.peer == rank_) continue;
    exchange.receives.push_back(MessageOf(piece, output_, piece.copy.to_offset()));
  }
  exchange_ = messenger_->Add(std::move(exchange));
}

// A piece is packed, counted at both ends, copied and put in place.
int64_t DeviceExchangeActor::calls(int64_t) const {
  constexpr int64_t kCallsOfPiece = 5;
  return kCallsOfPiece * static_cast<int64_t>(pieces_.sends.size() + pieces_.receives.size());
}

void DeviceExchangeActor::Fire(int64_t firing) {
  stream().Enqueue({.run = &Run, .context = this, .argument = firing});
}

void DeviceExchangeActor::Run(void* context, int64_t firing) {
  DeviceExchangeActor& actor = *static_cast<DeviceExchangeActor*>(context);
  if (actor.failed()) return;
  const absl::Status status = actor.EnqueueFiring(firing);
  if (!status.ok()) actor.Fail("exchange", firing, status);
}

absl::Status DeviceExchangeActor::EnqueueFiring(int64_t firing) {
  void* const native = stream().native_stream();
  auto* input = static_cast<std::byte*>(input_.data(firing));
  auto* output = static_cast<std::byte*>(output_.data(firing));
  if (pieces_.fills) {
    const Buffer& buffer = output_.buffer();
    WEFT_RETURN_IF_ERROR(queue_.FillIdentity(buffer.logical.dtype, monoid_, output,
                                             NumElements(buffer.shape), native));
  }
  for (size_t i = 0; i < pieces_.sends.size(); ++i) {
    const ExchangePieces::Piece& piece = pieces_.sends[i];
    if (piece.staging < 0) continue;
    WEFT_RETURN_IF_ERROR(
        copies_->Copy(static_cast<int>(i), input, workspace_ + piece.staging, native));
  }
  if (exchange_ >= 0) {
    WEFT_RETURN_IF_ERROR(messenger_->Run(exchange_, firing, native));
    CountSent(firing, bytes_sent_);
  }
  const auto source_of = [&](const ExchangePieces::Piece& piece) -> const void* {
    return piece.peer == rank_ ? input : workspace_ + piece.staging;
  };
  for (size_t i = 0; i < pieces_.receives.size(); ++i) {
    const ExchangePieces::Piece& piece = pieces_.receives[i];
    if (piece.peer != rank_ && piece.staging < 0) continue;  // in place already
    const int copy = static_cast<int>(pieces_.sends.size() + i);
    if (piece.combines) {
      WEFT_RETURN_IF_ERROR(copies_->Combine(copy, monoid_, source_of(piece), output, native));
    } else if (i + 1 < pieces_.receives.size() && pieces_.receives[i + 1].combines) {
      const ExchangePieces::Piece& next = pieces_.receives[++i];
      WEFT_RETURN_IF_ERROR(copies_->CopyAndCombine(copy, source_of(piece), copy + 1, monoid_,
                                                   source_of(next), output, native));
    } else {
      WEFT_RETURN_IF_ERROR(copies_->Copy(copy, source_of(piece), output, native));
    }
  }
  return absl::OkStatus();
}

}  // namespace weft

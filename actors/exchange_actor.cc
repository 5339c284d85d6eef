#include "actors/exchange_actor.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "actors/exchange_setup.h"
#include "runtime/status.h"

namespace weft {

absl::StatusOr<std::unique_ptr<Actor>> ExchangeActor::Create(const ActorContext& context,
                                                             int index) {
  const ExchangeDef& def = context.plan.actors(index).exchange();
  WEFT_ASSIGN_OR_RETURN(ExchangeSetup setup, ExchangeSetup::Of(context, index));
  auto actor = std::unique_ptr<ExchangeActor>(new ExchangeActor(context, index));
  if (def.tag() < 0 || TagOf(def.tag()) >= Transport::kTagLimit) {
    return absl::InvalidArgumentError(absl::StrCat("tag ", def.tag()));
  }
  actor->tag_ = TagOf(def.tag());
  if (context.transport == nullptr && setup.travels) {
    return absl::FailedPreconditionError("there is no transport to exchange over");
  }
  actor->monoid_ = setup.monoid;
  actor->input_ = setup.input;
  actor->output_ = setup.output;
  actor->workspace_ = setup.workspace;
  actor->pieces_ = std::move(setup.pieces);
  actor->send_requests_ = std::make_unique<Request[]>(actor->pieces_.sends.size());
  actor->receive_requests_ = std::make_unique<Request[]>(actor->pieces_.receives.size());
  return actor;
}

void ExchangeActor::Fire(int64_t firing) {
  stream().Enqueue({.run = &Post, .context = this, .argument = firing});
  stream().Enqueue({.run = &Finish, .context = this, .argument = firing, .ready = &Arrived});
}

void ExchangeActor::Post(void* context, int64_t firing) {
  ExchangeActor& actor = *static_cast<ExchangeActor*>(context);
  actor.posted_.store(false, std::memory_order_relaxed);
  if (actor.failed()) return;
  auto* input = static_cast<std::byte*>(actor.input_.data(firing));
  auto* output = static_cast<std::byte*>(actor.output_.data(firing));
  if (actor.pieces_.fills) {
    const Buffer& buffer = actor.output_.buffer();
    FillIdentity(buffer.logical.dtype, actor.monoid_, output, NumElements(buffer.shape));
  }
  for (size_t i = 0; i < actor.pieces_.receives.size(); ++i) {
    const ExchangePieces::Piece& piece = actor.pieces_.receives[i];
    if (piece.peer == actor.rank_) continue;
    actor.transport_->Receive(
        piece.peer, actor.tag_,
        piece.staging >= 0 ? actor.workspace_ + piece.staging : output + piece.copy.to_offset(),
        piece.copy.bytes(), &actor.receive_requests_[i]);
  }
  for (size_t i = 0; i < actor.pieces_.sends.size(); ++i) {
    const ExchangePieces::Piece& piece = actor.pieces_.sends[i];
    if (piece.staging >= 0) piece.copy.Copy(input, actor.workspace_ + piece.staging);
    actor.transport_->Send(
        piece.peer, actor.tag_,
        piece.staging >= 0 ? actor.workspace_ + piece.staging : input + piece.copy.from_offset(),
        piece.copy.bytes(), &actor.send_requests_[i]);
  }
  actor.posted_.store(true, std::memory_order_release);
}

bool ExchangeActor::Arrived(void* context, int64_t) {
  const ExchangeActor& actor = *static_cast<const ExchangeActor*>(context);
  return actor.FirstMissing() == nullptr;
}

void ExchangeActor::Finish(void* context, int64_t firing) {
  ExchangeActor& actor = *static_cast<ExchangeActor*>(context);
  if (!actor.posted_.load(std::memory_order_relaxed)) return;
  const void* input = actor.input_.data(firing);
  void* output = actor.output_.data(firing);
  absl::Status status;
  for (size_t i = 0; i < actor.pieces_.receives.size(); ++i) {
    const ExchangePieces::Piece& piece = actor.pieces_.receives[i];
    const bool self = piece.peer == actor.rank_;
    if (!self) status.Update(actor.transport_->Wait(actor.receive_requests_[i]));
    if ((!self && piece.staging < 0) || !status.ok()) continue;  // in place already, or in vain
    const void* source = self ? input : actor.workspace_ + piece.staging;
    if (piece.combines) {
      piece.copy.Combine(actor.monoid_, source, output);
    } else {
      piece.copy.Copy(source, output);
    }
  }
  for (size_t i = 0; i < actor.pieces_.sends.size(); ++i) {
    status.Update(actor.transport_->Wait(actor.send_requests_[i]));
    actor.CountSent(firing, actor.pieces_.sends[i].copy.bytes());
  }
  actor.posted_.store(false, std::memory_order_relaxed);
  if (!status.ok()) actor.Fail("exchange", firing, status);
}

const ExchangePieces::Piece* ExchangeActor::FirstMissing() const {
  if (!posted_.load(std::memory_order_acquire)) return nullptr;
  for (size_t i = 0; i < pieces_.receives.size(); ++i) {
    if (pieces_.receives[i].peer != rank_ && !receive_requests_[i].done())
      return &pieces_.receives[i];
  }
  for (size_t i = 0; i < pieces_.sends.size(); ++i) {
    if (!send_requests_[i].done()) return &pieces_.sends[i];
  }
  return nullptr;
}

std::string ExchangeActor::Waiting() const {
  const ExchangePieces::Piece* piece = FirstMissing();
  if (piece == nullptr) return "";
  const bool receives =
      piece >= pieces_.receives.data() && piece < pieces_.receives.data() + pieces_.receives.size();
  return absl::StrCat(receives ? "message from rank " : "rank ", piece->peer,
                      receives ? "" : " to take a message");
}

std::vector<int> ExchangeActor::WaitingFor() const {
  const ExchangePieces::Piece* piece = FirstMissing();
  return piece == nullptr ? std::vector<int>() : std::vector<int>{piece->peer};
}

}  // namespace weft

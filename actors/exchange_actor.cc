#include "actors/exchange_actor.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/box_proto.h"
#include "runtime/reduce.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr int64_t kAlignment = 64;

// Whether every index of `inner` is in `outer`.
bool Contains(const Box& outer, const Box& inner) {
  return outer.Intersect(inner).elements() == inner.elements();
}

absl::StatusOr<Box> BoxOf(const PieceDef& def, const Buffer& buffer) {
  WEFT_ASSIGN_OR_RETURN(Box box, FromProto(def.box()));
  if (box.dims.size() != buffer.box.dims.size() || !Contains(buffer.box, box)) {
    return absl::InvalidArgumentError(absl::StrCat("piece ", box.ToString(), " of peer ",
                                                   def.peer(), " is not within `", buffer.name,
                                                   "` ", buffer.box.ToString()));
  }
  return box;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Actor>> ExchangeActor::Create(const ActorContext& context,
                                                             int index) {
  const ExchangeDef& def = context.plan.actors(index).exchange();
  auto actor = std::unique_ptr<ExchangeActor>(new ExchangeActor(context, index));
  WEFT_ASSIGN_OR_RETURN(actor->input_, SlotOperand::Resolve(context.plan, context.buffers, index,
                                                            def.input(), /*is_output=*/false));
  WEFT_ASSIGN_OR_RETURN(actor->output_, SlotOperand::Resolve(context.plan, context.buffers, index,
                                                             def.output(), /*is_output=*/true));
  if (def.tag() < 0 || TagOf(def.tag()) >= Transport::kTagLimit) {
    return absl::InvalidArgumentError(absl::StrCat("tag ", def.tag()));
  }
  actor->tag_ = TagOf(def.tag());
  if (def.monoid() < 0 || def.monoid() > static_cast<int>(Monoid::kLogAddExp)) {
    return absl::InvalidArgumentError(absl::StrCat("monoid ", def.monoid()));
  }
  actor->monoid_ = static_cast<Monoid>(def.monoid());
  if (!actor->input_.absent() && !actor->output_.absent() &&
      actor->input_.buffer().logical != actor->output_.buffer().logical) {
    return absl::InvalidArgumentError(
        absl::StrCat("from ", actor->input_.buffer().logical.ToString(), " to ",
                     actor->output_.buffer().logical.ToString()));
  }
  WEFT_RETURN_IF_ERROR(actor->AddSends(def));
  WEFT_RETURN_IF_ERROR(actor->AddReceives(def));
  if (context.transport == nullptr && actor->Travels()) {
    return absl::FailedPreconditionError("there is no transport to exchange over");
  }
  actor->AllocateStaging();
  return actor;
}

absl::Status ExchangeActor::CheckPeer(int peer) const {
  if (peer >= 0 && peer < world_size_) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("peer ", peer, " of ", world_size_, " ranks"));
}

bool ExchangeActor::Travels() const {
  for (const Piece& piece : receives_) {
    if (piece.peer != rank_) return true;
  }
  return !sends_.empty();
}

absl::Status ExchangeActor::AddSends(const ExchangeDef& def) {
  for (const PieceDef& piece : def.sends()) {
    WEFT_RETURN_IF_ERROR(CheckPeer(piece.peer()));
    if (input_.absent()) return absl::InvalidArgumentError("sends without an input");
    WEFT_ASSIGN_OR_RETURN(const Box box, BoxOf(piece, input_.buffer()));
    if (piece.peer() == rank_ || box.empty()) continue;
    sends_.push_back(
        {.peer = piece.peer(),
         .copy = BoxCopy(input_.buffer().box, box, box, input_.buffer().logical.dtype)});
  }
  return absl::OkStatus();
}

absl::Status ExchangeActor::AddReceives(const ExchangeDef& def) {
  fills_ = def.fill_identity();
  std::vector<Box> earlier;
  for (const PieceDef& piece : def.receives()) {
    WEFT_RETURN_IF_ERROR(CheckPeer(piece.peer()));
    if (output_.absent()) return absl::InvalidArgumentError("receives without an output");
    WEFT_ASSIGN_OR_RETURN(const Box box, BoxOf(piece, output_.buffer()));
    if (box.empty()) continue;
    const bool self = piece.peer() == rank_;
    if (self && (input_.absent() || !Contains(input_.buffer().box, box))) {
      return absl::InvalidArgumentError(
          absl::StrCat("the local piece ", box.ToString(), " is not in the input"));
    }
    Piece receive{.peer = piece.peer(),
                  .copy = BoxCopy(self ? input_.buffer().box : box, output_.buffer().box, box,
                                  output_.buffer().logical.dtype)};
    bool covered = false;
    for (const Box& other : earlier) {
      if (box.Intersect(other).empty()) continue;
      receive.combines = true;
      covered = covered || Contains(other, box);
    }
    if (receive.combines && !def.combine()) {
      return absl::InvalidArgumentError(
          absl::StrCat("piece ", box.ToString(), " overlaps an earlier one"));
    }
    // Where it reaches beyond every earlier piece it combines with the identity.
    fills_ = fills_ || (receive.combines && !covered);
    earlier.push_back(box);
    receives_.push_back(std::move(receive));
  }
  if (!output_.absent() && (def.combine() || def.fill_identity())) {
    return CheckReducible(output_.buffer().logical.dtype, monoid_);
  }
  return absl::OkStatus();
}

void ExchangeActor::AllocateStaging() {
  int64_t bytes = 0;
  const auto reserve = [&bytes](const Piece& piece) {
    bytes += (piece.copy.bytes() + kAlignment - 1) / kAlignment * kAlignment;
  };
  const auto staged = [this](const Piece& piece, bool send) {
    if (send) return !piece.copy.from_contiguous();
    return piece.peer != rank_ && (piece.combines || !piece.copy.to_contiguous());
  };
  for (const Piece& piece : sends_) {
    if (staged(piece, true)) reserve(piece);
  }
  for (const Piece& piece : receives_) {
    if (staged(piece, false)) reserve(piece);
  }
  staging_ = std::make_unique<std::byte[]>(bytes);
  bytes = 0;
  for (Piece& piece : sends_) {
    if (!staged(piece, true)) continue;
    piece.staging = staging_.get() + bytes;
    reserve(piece);
  }
  for (Piece& piece : receives_) {
    if (!staged(piece, false)) continue;
    piece.staging = staging_.get() + bytes;
    reserve(piece);
  }
  send_requests_ = std::make_unique<Request[]>(sends_.size());
  receive_requests_ = std::make_unique<Request[]>(receives_.size());
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
  if (actor.fills_) {
    const Buffer& buffer = actor.output_.buffer();
    FillIdentity(buffer.logical.dtype, actor.monoid_, output, NumElements(buffer.shape));
  }
  for (size_t i = 0; i < actor.receives_.size(); ++i) {
    const Piece& piece = actor.receives_[i];
    if (piece.peer == actor.rank_) continue;
    actor.transport_->Receive(
        piece.peer, actor.tag_,
        piece.staging != nullptr ? piece.staging : output + piece.copy.to_offset(),
        piece.copy.bytes(), &actor.receive_requests_[i]);
  }
  for (size_t i = 0; i < actor.sends_.size(); ++i) {
    const Piece& piece = actor.sends_[i];
    if (piece.staging != nullptr) piece.copy.Copy(input, piece.staging);
    actor.transport_->Send(
        piece.peer, actor.tag_,
        piece.staging != nullptr ? piece.staging : input + piece.copy.from_offset(),
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
  for (size_t i = 0; i < actor.receives_.size(); ++i) {
    const Piece& piece = actor.receives_[i];
    const void* source = piece.peer == actor.rank_ ? input : piece.staging;
    if (piece.peer != actor.rank_)
      status.Update(actor.transport_->Wait(actor.receive_requests_[i]));
    if (source == nullptr || !status.ok()) continue;  // in place already, or in vain
    if (piece.combines) {
      piece.copy.Combine(actor.monoid_, source, output);
    } else {
      piece.copy.Copy(source, output);
    }
  }
  for (size_t i = 0; i < actor.sends_.size(); ++i) {
    status.Update(actor.transport_->Wait(actor.send_requests_[i]));
    actor.CountSent(firing, actor.sends_[i].copy.bytes());
  }
  actor.posted_.store(false, std::memory_order_relaxed);
  if (!status.ok()) actor.Fail("exchange", firing, status);
}

const ExchangeActor::Piece* ExchangeActor::FirstMissing() const {
  if (!posted_.load(std::memory_order_acquire)) return nullptr;
  for (size_t i = 0; i < receives_.size(); ++i) {
    if (receives_[i].peer != rank_ && !receive_requests_[i].done()) return &receives_[i];
  }
  for (size_t i = 0; i < sends_.size(); ++i) {
    if (!send_requests_[i].done()) return &sends_[i];
  }
  return nullptr;
}

std::string ExchangeActor::Waiting() const {
  const Piece* piece = FirstMissing();
  if (piece == nullptr) return "";
  const bool receives = piece >= receives_.data() && piece < receives_.data() + receives_.size();
  return absl::StrCat(receives ? "message from rank " : "rank ", piece->peer,
                      receives ? "" : " to take a message");
}

std::vector<int> ExchangeActor::WaitingFor() const {
  const Piece* piece = FirstMissing();
  return piece == nullptr ? std::vector<int>() : std::vector<int>{piece->peer};
}

}  // namespace weft

#include "runtime/exchange_pieces.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/arena.h"
#include "runtime/box_proto.h"
#include "runtime/plan.pb.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Whether every index of `inner` is in `outer`.
bool Contains(const Box& outer, const Box& inner) {
  return outer.Intersect(inner).elements() == inner.elements();
}

class Resolver {
 public:
  Resolver(const ExchangeDef& def, int rank, int world_size, const ExchangeSide& input,
           const ExchangeSide& output)
      : def_(def), rank_(rank), world_size_(world_size), input_(input), output_(output) {}

  absl::StatusOr<ExchangePieces> Run() {
    WEFT_RETURN_IF_ERROR(AddSends());
    WEFT_RETURN_IF_ERROR(AddReceives());
    return std::move(result_);
  }

 private:
  absl::StatusOr<Box> BoxOf(const PieceDef& def, const ExchangeSide& side) const {
    if (def.peer() < 0 || def.peer() >= world_size_) {
      return absl::InvalidArgumentError(
          absl::StrCat("peer ", def.peer(), " of ", world_size_, " ranks"));
    }
    const bool sends = &side == &input_;
    if (!side.present) {
      return absl::InvalidArgumentError(sends ? "sends without an input"
                                              : "receives without an output");
    }
    WEFT_ASSIGN_OR_RETURN(Box box, FromProto(def.box()));
    if (box.dims.size() != side.box.dims.size() || !Contains(side.box, box)) {
      return absl::InvalidArgumentError(
          absl::StrCat("piece ", box.ToString(), " of peer ", def.peer(), " is not within the ",
                       sends ? "input " : "output ", side.box.ToString()));
    }
    return box;
  }

  // The next bytes of the workspace.
  int64_t Stage(const BoxCopy& copy) {
    const int64_t at = result_.workspace_bytes;
    result_.workspace_bytes +=
        (copy.bytes() + Arena::kAlignment - 1) / Arena::kAlignment * Arena::kAlignment;
    return at;
  }

  absl::Status AddSends() {
    for (const PieceDef& piece : def_.sends()) {
      WEFT_ASSIGN_OR_RETURN(const Box box, BoxOf(piece, input_));
      if (piece.peer() == rank_ || box.empty()) continue;
      ExchangePieces::Piece send{.peer = piece.peer(),
                                 .copy = BoxCopy(input_.box, box, box, input_.dtype)};
      if (!send.copy.from_contiguous()) send.staging = Stage(send.copy);
      result_.sends.push_back(std::move(send));
    }
    return absl::OkStatus();
  }

  absl::Status AddReceives() {
    result_.fills = def_.fill_identity();
    std::vector<Box> earlier;
    for (const PieceDef& piece : def_.receives()) {
      WEFT_ASSIGN_OR_RETURN(const Box box, BoxOf(piece, output_));
      if (box.empty()) continue;
      const bool self = piece.peer() == rank_;
      if (self && (!input_.present || !Contains(input_.box, box))) {
        return absl::InvalidArgumentError(
            absl::StrCat("the local piece ", box.ToString(), " is not in the input"));
      }
      ExchangePieces::Piece receive{
          .peer = piece.peer(),
          .copy = BoxCopy(self ? input_.box : box, output_.box, box, output_.dtype)};
      bool covered = false;
      for (const Box& other : earlier) {
        if (box.Intersect(other).empty()) continue;
        receive.combines = true;
        covered = covered || Contains(other, box);
      }
      if (receive.combines && !def_.combine()) {
        return absl::InvalidArgumentError(
            absl::StrCat("piece ", box.ToString(), " overlaps an earlier one"));
      }
      // Where it reaches beyond every earlier piece it combines with the identity.
      result_.fills = result_.fills || (receive.combines && !covered);
      if (!self && (receive.combines || !receive.copy.to_contiguous())) {
        receive.staging = Stage(receive.copy);
      }
      earlier.push_back(box);
      result_.receives.push_back(std::move(receive));
    }
    return absl::OkStatus();
  }

  const ExchangeDef& def_;
  const int rank_;
  const int world_size_;
  const ExchangeSide& input_;
  const ExchangeSide& output_;
  ExchangePieces result_;
};

}  // namespace

absl::StatusOr<ExchangePieces> PiecesOf(const ExchangeDef& def, int rank, int world_size,
                                        const ExchangeSide& input, const ExchangeSide& output) {
  return Resolver(def, rank, world_size, input, output).Run();
}

}  // namespace weft

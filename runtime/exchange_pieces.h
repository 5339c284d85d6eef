// ExchangePieces: what an exchange of a plan comes to on one rank: the copies, and which of them
// pass through staging memory. The compile side reserves that memory with this, the run side runs
// it.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/box.h"
#include "runtime/box_copy.h"
#include "runtime/dtype.h"

namespace weft {

class ExchangeDef;  // runtime/plan.proto

// One side of an exchange on a rank. A value.
struct ExchangeSide {
  bool present = false;  // this rank holds a part
  Box box;
  DType dtype = DType::kF32;
};

struct ExchangePieces {
  struct Piece {
    int peer = 0;
    BoxCopy copy;  // send: input -> staging; receive: staging -> output; self: input -> output
    int64_t staging = -1;  // bytes into the workspace; -1: straight from the input or to the output
    bool combines = false;  // joins what earlier pieces left there; else overwrites
  };
  std::vector<Piece> sends;     // to others
  std::vector<Piece> receives;  // self included
  bool fills = false;           // the output starts as the identity
  int64_t workspace_bytes = 0;  // staging of all pieces
};

// A piece that is one run of its buffer travels from and to where it lies; others, and those that
// combine, are staged. InvalidArgument for pieces outside the boxes, bad peers, or pieces that
// overlap without combining. Any thread.
absl::StatusOr<ExchangePieces> PiecesOf(const ExchangeDef& def, int rank, int world_size,
                                        const ExchangeSide& input, const ExchangeSide& output);

}  // namespace weft

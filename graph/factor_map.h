// FactorMap: an op's index structure, einsum-like. The legal SBP signatures of an op are derived
// from it (graph/signature.h), never listed by hand: splitting a factor over a mesh axis splits
// every operand dimension that carries it and leaves results without it partial.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/sbp.h"
#include "runtime/monoid.h"

namespace weft {

// A factor id in a dimension's place: the dimension must be whole on every rank.
inline constexpr int kWhole = -1;

struct Factor {
  std::string name;
  // How a result that lacks this factor combines when the factor is split: empty = splitting is
  // then illegal; one entry for all results; else one per result.
  std::vector<Monoid> reduce;
  // If > 0, the number of parts must divide it (reshape cuts, key/value heads). 0: any number of
  // parts.
  int64_t must_divide = 0;
  // Whether a zigzag split is legal too (the kernel reads multi-interval boxes along it).
  bool zigzag = true;
  // If >= 0, another factor, each of whose indices owns a run of this one's, all equally long (a
  // key/value head and the query heads that it serves). Two splits follow. Between runs: what
  // carries `runs_of` is split along, and the number of parts must divide its extent. Anywhere,
  // unevenly too: what carries `runs_of` stays whole on every rank, the kernel finding its run by
  // the boxes, and a result that lacks this factor combines by `reduce`. must_divide must then be
  // 0, and `runs_of` is not split by itself.
  int runs_of = -1;
  // If >= 0, another factor, as long as this one, all of whose indices each index of this one meets
  // (the queries of attention and the keys). Two splits follow. Together: what carries `meets` is
  // split along, and its parts travel around a ring past all ranks (OpDef::unroll). Alone: what
  // carries `meets` stays whole on every rank, and a result that lacks this factor combines by
  // `reduce`. `meets` is not split by itself.
  int meets = -1;
};

// "If these inputs are P(monoid) and all others B, every result is P(monoid)."
struct Linearity {
  Monoid monoid = Monoid::kSum;
  std::vector<int> inputs;
};

struct FactorMap {
  std::vector<Factor> factors;
  std::vector<std::vector<int>> inputs;   // [operand][dim] -> factor id or kWhole
  std::vector<std::vector<int>> outputs;  // [result][dim] -> factor id or kWhole
  std::vector<Linearity> linear;

  // Adds a factor and returns its id.
  int Add(Factor factor) {
    factors.push_back(std::move(factor));
    return static_cast<int>(factors.size()) - 1;
  }
};

}  // namespace weft

// The table of op signatures that weft must have: which layouts an op takes and gives on one axis
// of four ranks and on a 2 x 2 mesh, what its gradients are, and what is converted where operands
// lie as the op cannot take them. After OneFlow's list of signatures and the holes in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/attrs.h"
#include "tests/support/host_tensor.h"

namespace weft::testing {

// One row. Layouts are written per operand, separated by spaces, one word per mesh axis with dots
// between: "S0.B B.S1". B, S0..S9, Z0..Z9 (zigzag), P, Pmax, Plse; "-" says nothing of a result.
struct OpRow {
  std::string id;  // of the table: "O1"
  std::string op;
  Attrs attrs;
  std::vector<HostTensor> inputs;
  std::string in;
  std::string out;
  // Of the gradients of the float inputs, "-" where the op has none; empty: forward only. The
  // gradients that arrive lie as the results do, and are B where these are partial.
  std::string grads = {};
  // All conversions of the compiled graph, "<value> <from>-><to> <how>", in any order. Empty: the
  // layouts above are one signature of the op, which needs none.
  std::vector<std::string> conversions = {};
  double tolerance = 0;  // relative to the largest of 1 and the tensor's values; 0: every bit
  bool illegal = false;  // operands lie as no signature has them
  int64_t bytes = -1;    // sent by all ranks; -1: only checked against the prediction
};

// By part of the table, in the order of its ids.
std::vector<OpRow> MatmulRows();     // O1, O2
std::vector<OpRow> PointwiseRows();  // O3 to O7
std::vector<OpRow> ReductionRows();  // O8 to O10
std::vector<OpRow> ModelRows();      // O11 to O13, O17
std::vector<OpRow> MovementRows();   // O14, O15
std::vector<OpRow> OptimizerRows();  // O16
std::vector<OpRow> AllOpRows();

inline constexpr int kOpTables = 17;  // O1 to O17

// A tenth of every table, rounded up, and so of its rows that need conversions and of those that
// need none; at even distances, so that all kinds are among them.
std::vector<OpRow> SampledOpRows();

// How many rows there are: stated, so that none is lost unseen.
inline constexpr int kOpRows = 429;

}  // namespace weft::testing

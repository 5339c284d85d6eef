// The rows of reductions, norms and softmax.
#include <utility>

#include "tests/system/op_row_list.h"
#include "tests/system/op_rows.h"

namespace weft::testing {

std::vector<OpRow> ReductionRows() {
  std::vector<OpRow> all;
  // O8, over dimension 1.
  for (const char* op : {"reduce_sum", "reduce_mean"}) {
    const double tolerance = std::string(op) == "reduce_sum" ? 0 : 1e-6;
    Rows rows({.id = "O8",
               .op = op,
               .attrs = {{"axes", Ints{1}}},
               .inputs = {X({6, 7, 5})},
               .tolerance = tolerance});
    rows.Add("S0", "S0", "S0");
    rows.Add("S2", "S1", "S2");
    rows.Add("S1", "P", "B");
    rows.Add("P", "P", "B");
    rows.Add("S0.S1", "S0.P", "S0.B");
    rows.Add("S0.S2", "S0.S1", "S0.S2");
    rows.Add("S0.P", "S0.P", "S0.B");
    rows.Add("S1.S1", "P.P", "B.B");
    rows.Add("S0.S0", "S0.S0", "S0.S0");
    std::move(rows).AppendTo(all);
  }
  Rows max({.id = "O8",
            .op = "reduce_max",
            .attrs = {{"axes", Ints{1}}},
            .inputs = {Distinct({6, 7, 5})}});
  max.Add("S0", "S0", "S0");
  max.Add("S2", "S1", "S2");
  max.Add("S1", "Pmax", "");
  max.Add("Pmax", "Pmax", "");
  max.Add("S0.S1", "S0.Pmax", "");
  max.Add("S0.S2", "S0.S1", "S0.S2");
  max.Add("S1.S1", "Pmax.Pmax", "");
  max.Add("P", "B", "", {"x P->B all-reduce over x"});
  max.Add("S0.P", "S0.B", "", {"x S0.P->S0.B all-reduce over y"});
  std::move(max).AppendTo(all);
  // Equal maxima share the gradient, those on other ranks too: how many there are is a sum.
  Rows ties(
      {.id = "O8", .op = "reduce_max", .attrs = {{"axes", Ints{1}}}, .inputs = {Tied({6, 7, 5})}});
  ties.Add("S0", "S0", "S0");
  ties.Add("S2", "S1", "S2");
  ties.Add("S0.S2", "S0.S1", "S0.S2");
  ties.Add("S0.S0", "S0.S0", "S0.S0");
  ties.AddConverting("S1", "Pmax", "S1",
                     {"y Pmax->B all-reduce over x", "reduce_sum P->B all-reduce over x"});
  ties.AddConverting(
      "S0.S1", "S0.Pmax", "S0.S1",
      {"y S0.Pmax->S0.B all-reduce over y", "reduce_sum S0.P->S0.B all-reduce over y"});
  ties.AddConverting(
      "S1.S1", "Pmax.Pmax", "S1.S1",
      {"y Pmax.Pmax->Pmax.B all-reduce over y", "y Pmax.B->B.B all-reduce over x",
       "reduce_sum P.P->P.B all-reduce over y", "reduce_sum P.B->B.B all-reduce over x"});
  // Which elements are the largest is known of the whole operand only.
  ties.AddConverting("Pmax", "Pmax", "B",
                     {"x Pmax->B all-reduce over x", "y Pmax->B all-reduce over x"});
  std::move(ties).AppendTo(all);
  // O9, over the last dimension.
  Rows layer({.id = "O9",
              .op = "layer_norm",
              .inputs = {X({6, 5, 7}, 1), X({7}, 2), X({7}, 3)},
              .tolerance = 1e-5});
  layer.Add("S0 B B", "S0 S0 S0", "S0 P P");
  layer.Add("S1 B B", "S1 S1 S1", "S1 P P");
  layer.Add("S0.S1 B.B B.B", "S0.S1 S0.S1 S0.S1", "S0.S1 P.P P.P");
  layer.Add("S0.S0 B.B B.B", "S0.S0 S0.S0 S0.S0", "S0.S0 P.P P.P");
  layer.Add("S2 B B", "B B B", "", {"x S2->B exchange"});
  std::move(layer).AppendTo(all);
  Rows rms(
      {.id = "O9", .op = "rms_norm", .inputs = {X({6, 5, 7}, 1), X({7}, 2)}, .tolerance = 1e-5});
  rms.Add("S0 B", "S0 S0", "S0 P");
  rms.Add("S1 B", "S1 S1", "S1 P");
  rms.Add("S0.S1 B.B", "S0.S1 S0.S1", "S0.S1 P.P");
  rms.Add("S0.S0 B.B", "S0.S0 S0.S0", "S0.S0 P.P");
  rms.Add("S2 B", "B B", "", {"x S2->B exchange"});
  rms.Add("P B", "B B", "", {"x P->B all-reduce over x"});
  std::move(rms).AppendTo(all);
  // O10, over the last dimension.
  Rows softmax({.id = "O10", .op = "softmax", .inputs = {X({6, 5, 7})}, .tolerance = 1e-6});
  softmax.Add("S0", "S0", "S0");
  softmax.Add("S1", "S1", "S1");
  softmax.Add("S0.S1", "S0.S1", "S0.S1");
  softmax.Add("S0.S0", "S0.S0", "S0.S0");
  softmax.Add("S2", "B", "", {"x S2->B exchange"});
  softmax.Add("S0.S2", "S0.B", "", {"x S0.S2->S0.B exchange"});
  softmax.Add("P", "B", "", {"x P->B all-reduce over x"});
  std::move(softmax).AppendTo(all);
  return all;
}

}  // namespace weft::testing

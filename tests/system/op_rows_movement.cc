// The rows of movement and of random numbers.
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/system/op_row_list.h"
#include "tests/system/op_rows.h"

namespace weft::testing {

std::vector<OpRow> MovementRows() {
  std::vector<OpRow> all;
  // O14.
  Rows transpose({.id = "O14",
                  .op = "transpose",
                  .attrs = {{"perm", Ints{2, 0, 1}}},
                  .inputs = {X({6, 5, 7})}});
  transpose.Add("S0", "S1", "S0");
  transpose.Add("S1", "S2", "S1");
  transpose.Add("S2", "S0", "S2");
  transpose.Add("P", "P", "B");
  transpose.Add("Pmax", "Pmax", "B");
  transpose.Add("S0.S2", "S1.S0", "S0.S2");
  transpose.Add("S0.P", "S1.P", "S0.B");
  transpose.Add("S0.Pmax", "S1.Pmax", "S0.B");
  transpose.Add("S0.S0", "S1.S1", "S0.S0");
  std::move(transpose).AppendTo(all);
  Rows merge(
      {.id = "O14", .op = "reshape", .attrs = {{"shape", Ints{32, 7}}}, .inputs = {X({8, 4, 7})}});
  merge.Add("S0", "S0", "S0");
  merge.Add("S2", "S1", "S2");
  merge.Add("P", "P", "B");
  merge.Add("Pmax", "Pmax", "B");
  merge.Add("S0.Pmax", "S0.Pmax", "S0.B");
  merge.Add("S0.S0", "S0.S0", "S0.S0");
  merge.Add("S0.S2", "S0.S1", "S0.S2");
  merge.Add("S0.P", "S0.P", "S0.B");
  std::move(merge).AppendTo(all);
  Rows flatten(
      {.id = "O14", .op = "reshape", .attrs = {{"shape", Ints{32}}}, .inputs = {X({8, 4})}});
  flatten.Add("S0.S0", "S0.S0", "S0.S0");
  flatten.Add("S0", "S0", "S0");
  std::move(flatten).AppendTo(all);
  Rows uneven(
      {.id = "O14", .op = "reshape", .attrs = {{"shape", Ints{30}}}, .inputs = {X({6, 5})}});
  uneven.Add("S0.B", "S0.B", "S0.B");
  uneven.Add("S0", "B", "", {"x S0->B exchange"});
  uneven.Add("S0.S0", "S0.B", "", {"x S0.S0->S0.B exchange"});
  std::move(uneven).AppendTo(all);
  Rows slice({.id = "O14",
              .op = "slice",
              .attrs = {{"begins", Ints{0, 2, 0}}, {"ends", Ints{6, 5, 7}}},
              .inputs = {X({6, 5, 7})}});
  slice.Add("S0", "S0", "S0");
  slice.Add("S2", "S2", "S2");
  slice.Add("P", "P", "B");
  slice.Add("Pmax", "Pmax", "B");
  slice.Add("S0.Pmax", "S0.Pmax", "S0.B");
  slice.Add("S0.S2", "S0.S2", "S0.S2");
  slice.Add("S0.P", "S0.P", "S0.B");
  slice.Add("S1", "B", "", {"x S1->B exchange"});
  std::move(slice).AppendTo(all);
  Rows concat({.id = "O14",
               .op = "concat",
               .attrs = {{"axis", int64_t{1}}},
               .inputs = {X({6, 5, 7}, 1), X({6, 2, 7}, 2)}});
  concat.Add("S0 S0", "S0", "S0 S0");
  concat.Add("S2 S2", "S2", "S2 S2");
  concat.Add("P P", "P", "B B");
  concat.Add("Pmax Pmax", "Pmax", "B B");
  concat.Add("S0.Pmax S0.Pmax", "S0.Pmax", "S0.B S0.B");
  concat.Add("S0.S2 S0.S2", "S0.S2", "S0.S2 S0.S2");
  concat.Add("S0.P S0.P", "S0.P", "S0.B S0.B");
  concat.Add("P B", "P", "", {"x1 B->P local"});
  std::move(concat).AppendTo(all);
  // O15: the same logical sample wherever its elements lie.
  Rows dropout({.id = "O15",
                .op = "dropout",
                .attrs = {{"rate", 0.5}, {"tag", int64_t{3}}},
                .inputs = {X({6, 5, 7}), Whole({{}, DType::kI64}, {77})}});
  for (const char* in : {"S0", "S1", "S2", "Z1", "B"}) {
    dropout.Add(absl::StrCat(in, " B"), in, absl::StrCat(in, " -"));
  }
  dropout.Add("P B", "P", "B -");
  for (const char* in : {"S0.B", "S0.S2", "S1.S1"}) {
    dropout.Add(absl::StrCat(in, " B.B"), in, absl::StrCat(in, " -"));
  }
  std::move(dropout).AppendTo(all);
  for (const char* op : {"random_normal", "random_uniform"}) {
    Rows random(
        {.id = "O15", .op = op, .attrs = {{"shape", Ints{6, 5, 7}}, {"seed", int64_t{11}}}});
    for (const char* out : {"S0", "S1", "Z2", "B", "S0.B", "S0.S2", "S1.S1"}) {
      random.Add("", out, "");
    }
    std::move(random).AppendTo(all);
  }
  return all;
}

}  // namespace weft::testing

// The rows of embeddings, losses, attention and convolutions.
#include <utility>

#include "tests/system/op_row_list.h"
#include "tests/system/op_rows.h"

namespace weft::testing {

std::vector<OpRow> ModelRows() {
  std::vector<OpRow> all;
  // O11: negative tokens are padding, and rows of a table that are elsewhere are zero here.
  Rows embedding({.id = "O11", .op = "embedding", .inputs = {Indices({6, 5}, -1, 11), X({11, 7})}});
  embedding.Add("S0 B", "S0", "- P");
  embedding.Add("S1 B", "S1", "- P");
  embedding.Add("B S0", "P", "- S0");
  embedding.Add("B S1", "S2", "- S1");
  embedding.Add("B P", "P", "- B");
  embedding.Add("S0.B B.S0", "S0.P", "- P.S0");
  embedding.Add("S0.B B.S1", "S0.S2", "- P.S1");
  embedding.Add("B.B S0.S0", "P.P", "- S0.S0");
  embedding.Add("B.B S0.S1", "P.S2", "- S0.S1");
  std::move(embedding).AppendTo(all);
  // O12: the head's product and the loss are one op; its logits are S(class) where w is S0.
  Rows loss({.id = "O12",
             .op = "head_cross_entropy",
             .inputs = {X({6, 5, 7}, 1), X({11, 7}, 2), Indices({6, 5}, -1, 11)},
             .tolerance = 1e-5});
  loss.Add("S0 B S0", "S0 S0", "S0 P -");
  loss.Add("S1 B S1", "S1 S1", "S1 P -");
  loss.Add("B S0 B", "Plse P", "");
  loss.Add("S0.B B.S0 S0.B", "S0.Plse S0.P", "");
  loss.Add("S0.S1 B.B S0.S1", "S0.S1 S0.S1", "S0.S1 P.P -");
  loss.Add("S0.S0 B.B S0.S0", "S0.S0 S0.S0", "S0.S0 P.P -");
  loss.Add("B.B S0.S0 B.B", "Plse.Plse P.P", "");
  loss.Add("B S0 S0", "Plse P", "", {"targets S0->B exchange"});
  // Its gradient takes the whole lse of every row: one small all-reduce an axis.
  loss.AddConverting("B S0 B", "Plse P", "P S0 -", {"y:lse Plse->B all-reduce over x"});
  loss.AddConverting("S0.B B.S0 S0.B", "S0.Plse S0.P", "S0.P P.S0 -",
                     {"y:lse S0.Plse->S0.B all-reduce over y"});
  loss.AddConverting(
      "B.B S0.S0 B.B", "Plse.Plse P.P", "P.P S0.S0 -",
      {"y:lse Plse.Plse->Plse.B all-reduce over y", "y:lse Plse.B->B.B all-reduce over x"});
  std::move(loss).AppendTo(all);
  Rows token({.id = "O12",
              .op = "token_loss",
              .inputs = {X({6, 5}, 1), X({6, 5}, 2), Indices({6, 5}, -1, 11),
                         Whole({{}, DType::kF32}, {0.25})}});
  token.Add("S0 S0 S0 B", "P", "S0 S0 - -");
  token.Add("S0.S1 S0.S1 S0.S1 B.B", "P.P", "S0.S1 S0.S1 - -");
  token.Add("S0.S0 S0.S0 S0.S0 B.B", "P.P", "S0.S0 S0.S0 - -");
  std::move(token).AppendTo(all);
  // O13: q, k and v are [batch,sequence,heads,head_dim]. Split sequences are the ring's, which is
  // not there yet: they are gathered.
  struct Heads {
    int64_t q, kv;
    bool causal;
  };
  for (const Heads& h : {Heads{8, 8, false}, Heads{8, 4, true}, Heads{6, 2, true}}) {
    Rows rows({.id = "O13",
               .op = "attention",
               .attrs = {{"causal", h.causal}},
               .inputs = {X({6, 5, h.q, 4}, 1), X({6, 5, h.kv, 4}, 2), X({6, 5, h.kv, 3}, 3)},
               .tolerance = 1e-5});
    rows.Add("S0 S0 S0", "S0 S0", "S0 S0 S0");
    rows.Add("S0.S0 S0.S0 S0.S0", "S0.S0 S0.S0", "S0.S0 S0.S0 S0.S0");
    rows.Add("S0.S2 S0.S2 S0.S2", "S0.S2 S0.S2", "S0.S2 S0.S2 S0.S2");
    if (h.kv % 4 == 0) {
      rows.Add("S2 S2 S2", "S2 S2", "S2 S2 S2");
    } else {  // query heads of one key head on several ranks: key heads are everywhere
      rows.Add("S2 B B", "S2 S2", "S2 P P");
      rows.Add("S0.S2 S0.B S0.B", "S0.S2 S0.S2", "S0.S2 S0.P S0.P");
    }
    rows.Add("S1 S1 S1", "B B", "", {"q S1->B exchange", "k S1->B exchange", "v S1->B exchange"});
    rows.Add("S0.S1 S0.S1 S0.S1", "S0.B S0.B", "",
             {"q S0.S1->S0.B exchange", "k S0.S1->S0.B exchange", "v S0.S1->S0.B exchange"});
    std::move(rows).AppendTo(all);
  }
  // Documents of 2 and 3 tokens in each row, a window in them, and a sink.
  std::vector<double> bounds;
  for (int64_t row = 0; row < 6; ++row) bounds.insert(bounds.end(), {0, 2, 0, 2, 2, 5, 2, 5, 2, 5});
  Rows packed({.id = "O13",
               .op = "attention",
               .attrs = {{"causal", true}, {"window", int64_t{2}}},
               .inputs = {X({6, 5, 4, 4}, 1), X({6, 5, 4, 4}, 2), X({6, 5, 4, 3}, 3),
                          Whole({{6, 5, 2}, DType::kI32}, bounds)},
               .tolerance = 1e-5});
  packed.Add("S0 S0 S0 S0", "S0 S0", "S0 S0 S0 -");
  packed.Add("S2 S2 S2 B", "S2 S2", "S2 S2 S2 -");
  packed.Add("S0.S2 S0.S2 S0.S2 S0.B", "S0.S2 S0.S2", "S0.S2 S0.S2 S0.S2 -");
  std::move(packed).AppendTo(all);
  Rows sink({.id = "O13",
             .op = "attention_sink",
             .inputs = {X({6, 5, 8, 4}, 1), X({6, 5, 8}, 2), X({8}, 3)},
             .tolerance = 1e-5});
  sink.Add("S0 S0 B", "S0 S0", "S0 S0 P");
  sink.Add("S1 S1 B", "S1 S1", "S1 S1 P");
  sink.Add("S2 S2 S0", "S2 S2", "S2 S2 S0");
  sink.Add("S0.S1 S0.S1 B.B", "S0.S1 S0.S1", "S0.S1 S0.S1 P.P");
  sink.Add("S0.S2 S0.S2 B.S0", "S0.S2 S0.S2", "S0.S2 S0.S2 P.S0");
  std::move(sink).AppendTo(all);
  // O17: channels and filters too, and groups of them.
  for (const char* format : {"NCHW", "NHWC"}) {
    const bool last = std::string(format) == "NHWC";
    const std::string c = last ? "S3" : "S1";
    const Shape x = last ? Shape{6, 5, 7, 10} : Shape{6, 10, 5, 7};
    Rows rows({.id = "O17",
               .op = "conv2d",
               .attrs = {{"format", std::string(format)},
                         {"stride", Ints{2, 1}},
                         {"padding", Ints{1, 1}}},
               .inputs = {X(x, 1), X({6, 10, 3, 3}, 2)}});
    rows.Add("S0 B", "S0", "S0 P");
    rows.Add("B S0", c, "P S0");
    rows.Add(c + " S1", "P", c + " S1");
    rows.Add("P B", "P", "B P");
    rows.Add("B P", "P", "P B");
    rows.Add("S0.B B.B", "S0.B", "S0.B P.B");
    rows.Add("S0.B B.S0", "S0." + c, "S0.P P.S0");
    rows.Add("S0." + c + " B.S1", "S0.P", "S0." + c + " P.S1");
    rows.Add("S0.S0 B.B", "S0.S0", "S0.S0 P.P");
    rows.Add(last ? "S1 B" : "S2 B", "B", "", {last ? "x S1->B exchange" : "x S2->B exchange"});
    std::move(rows).AppendTo(all);
    Rows groups(
        {.id = "O17",
         .op = "conv2d",
         .attrs = {{"format", std::string(format)},
                   {"groups", int64_t{4}},
                   {"dilation", Ints{1, 2}}},
         .inputs = {X(last ? Shape{6, 5, 7, 8} : Shape{6, 8, 5, 7}, 1), X({12, 2, 3, 3}, 2)}});
    groups.Add("S0 B", "S0", "S0 P");
    groups.Add(c + " S0", c, c + " S0");
    groups.Add("S0." + c + " B.S0", "S0." + c, "S0." + c + " P.S0");
    groups.Add(c + "." + c + " S0.S0", c + "." + c, c + "." + c + " S0.S0");
    std::move(groups).AppendTo(all);
  }
  return all;
}

}  // namespace weft::testing

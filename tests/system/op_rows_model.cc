// The rows of reductions, norms, embeddings, losses, attention, convolutions and movement.
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/system/op_rows.h"

namespace weft::testing {
namespace {

using Ints = std::vector<int64_t>;

HostTensor X(Shape shape, uint64_t seed = 1) {
  return Sixteenths({std::move(shape), DType::kF32}, seed);
}
// Values that all differ, for maxima.
HostTensor Distinct(Shape shape) {
  HostTensor x = X(std::move(shape));
  for (size_t i = 0; i < x.values.size(); ++i) {
    x.values[i] = static_cast<double>(i * 37 % 211) / 16 - 3;
  }
  return x;
}
HostTensor Indices(Shape shape, int low, int high) {
  HostTensor x = Sixteenths({std::move(shape), DType::kI32}, 7);
  for (size_t i = 0; i < x.values.size(); ++i) {
    x.values[i] = low + static_cast<double>(HashOf(9, i) % (high - low));
  }
  return x;
}

// Adds a row whose conversions, if it has any, are those of operands that no signature takes.
class Rows {
 public:
  explicit Rows(OpRow like) : like_(std::move(like)) {}
  void Add(std::string in, std::string out, std::string grads,
           std::vector<std::string> conversions = {}) {
    OpRow row = like_;
    row.in = std::move(in);
    row.out = std::move(out);
    row.grads = std::move(grads);
    row.illegal = !conversions.empty();
    row.conversions = std::move(conversions);
    all.push_back(std::move(row));
  }
  std::vector<OpRow> all;

 private:
  const OpRow like_;
};

void Append(Rows&& rows, std::vector<OpRow>& all) {
  for (OpRow& row : rows.all) all.push_back(std::move(row));
}

}  // namespace

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
    Append(std::move(rows), all);
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
  Append(std::move(max), all);
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
  Append(std::move(layer), all);
  Rows rms(
      {.id = "O9", .op = "rms_norm", .inputs = {X({6, 5, 7}, 1), X({7}, 2)}, .tolerance = 1e-5});
  rms.Add("S0 B", "S0 S0", "S0 P");
  rms.Add("S1 B", "S1 S1", "S1 P");
  rms.Add("S0.S1 B.B", "S0.S1 S0.S1", "S0.S1 P.P");
  rms.Add("S0.S0 B.B", "S0.S0 S0.S0", "S0.S0 P.P");
  rms.Add("S2 B", "B B", "", {"x S2->B exchange"});
  rms.Add("P B", "B B", "", {"x P->B all-reduce over x"});
  Append(std::move(rms), all);
  // O10, over the last dimension.
  Rows softmax({.id = "O10", .op = "softmax", .inputs = {X({6, 5, 7})}, .tolerance = 1e-6});
  softmax.Add("S0", "S0", "S0");
  softmax.Add("S1", "S1", "S1");
  softmax.Add("S0.S1", "S0.S1", "S0.S1");
  softmax.Add("S0.S0", "S0.S0", "S0.S0");
  softmax.Add("S2", "B", "", {"x S2->B exchange"});
  softmax.Add("S0.S2", "S0.B", "", {"x S0.S2->S0.B exchange"});
  softmax.Add("P", "B", "", {"x P->B all-reduce over x"});
  Append(std::move(softmax), all);
  return all;
}

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
  Append(std::move(embedding), all);
  // O12: the head's product and the loss are one op; its logits are S(class) where w is S0.
  Rows loss({.id = "O12",
             .op = "head_cross_entropy",
             .inputs = {X({6, 5, 7}, 1), X({11, 7}, 2), Indices({6, 5}, -1, 11)},
             .tolerance = 1e-5});
  loss.Add("S0 B S0", "S0 S0", "S0 P -");
  loss.Add("S1 B S1", "S1 S1", "S1 P -");
  loss.Add("B S0 B", "Plse P", "");
  loss.Add("S0.B B.S0 S0.B", "S0.Plse S0.P", "");
  loss.Add("B.B S0.S0 B.B", "Plse.Plse P.P", "");
  loss.Add("B S0 S0", "Plse P", "", {"targets S0->B exchange"});
  Append(std::move(loss), all);
  // Its gradient takes the whole lse of every row: one small all-reduce.
  for (const auto& [in, out, grads, how] : std::vector<std::array<std::string, 4>>{
           {"B S0 B", "Plse P", "P S0 -", "y:lse Plse->B all-reduce over x"},
           {"S0.B B.S0 S0.B", "S0.Plse S0.P", "S0.P P.S0 -",
            "y:lse S0.Plse->S0.B all-reduce over y"}}) {
    all.push_back({.id = "O12",
                   .op = "head_cross_entropy",
                   .inputs = {X({6, 5, 7}, 1), X({11, 7}, 2), Indices({6, 5}, -1, 11)},
                   .in = in,
                   .out = out,
                   .grads = grads,
                   .conversions = {how},
                   .tolerance = 1e-5});
  }
  Rows token({.id = "O12",
              .op = "token_loss",
              .inputs = {X({6, 5}, 1), X({6, 5}, 2), Indices({6, 5}, -1, 11),
                         Whole({{}, DType::kF32}, {0.25})}});
  token.Add("S0 S0 S0 B", "P", "S0 S0 - -");
  token.Add("S0.S1 S0.S1 S0.S1 B.B", "P.P", "S0.S1 S0.S1 - -");
  Append(std::move(token), all);
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
    Append(std::move(rows), all);
  }
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
    Append(std::move(rows), all);
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
    Append(std::move(groups), all);
  }
  return all;
}

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
  transpose.Add("Pmax", "Pmax", "");
  transpose.Add("S0.S2", "S1.S0", "S0.S2");
  transpose.Add("S0.P", "S1.P", "S0.B");
  transpose.Add("S0.S0", "S1.S1", "S0.S0");
  Append(std::move(transpose), all);
  Rows merge(
      {.id = "O14", .op = "reshape", .attrs = {{"shape", Ints{32, 7}}}, .inputs = {X({8, 4, 7})}});
  merge.Add("S0", "S0", "S0");
  merge.Add("S2", "S1", "S2");
  merge.Add("P", "P", "B");
  merge.Add("S0.S0", "S0.S0", "S0.S0");
  merge.Add("S0.S2", "S0.S1", "S0.S2");
  merge.Add("S0.P", "S0.P", "S0.B");
  Append(std::move(merge), all);
  Rows flatten(
      {.id = "O14", .op = "reshape", .attrs = {{"shape", Ints{32}}}, .inputs = {X({8, 4})}});
  flatten.Add("S0.S0", "S0.S0", "S0.S0");
  flatten.Add("S0", "S0", "S0");
  Append(std::move(flatten), all);
  Rows uneven(
      {.id = "O14", .op = "reshape", .attrs = {{"shape", Ints{30}}}, .inputs = {X({6, 5})}});
  uneven.Add("S0.B", "S0.B", "S0.B");
  uneven.Add("S0", "B", "", {"x S0->B exchange"});
  uneven.Add("S0.S0", "S0.B", "", {"x S0.S0->S0.B exchange"});
  Append(std::move(uneven), all);
  Rows slice({.id = "O14",
              .op = "slice",
              .attrs = {{"begins", Ints{0, 2, 0}}, {"ends", Ints{6, 5, 7}}},
              .inputs = {X({6, 5, 7})}});
  slice.Add("S0", "S0", "S0");
  slice.Add("S2", "S2", "S2");
  slice.Add("P", "P", "B");
  slice.Add("S0.S2", "S0.S2", "S0.S2");
  slice.Add("S0.P", "S0.P", "S0.B");
  slice.Add("S1", "B", "", {"x S1->B exchange"});
  Append(std::move(slice), all);
  Rows concat({.id = "O14",
               .op = "concat",
               .attrs = {{"axis", int64_t{1}}},
               .inputs = {X({6, 5, 7}, 1), X({6, 2, 7}, 2)}});
  concat.Add("S0 S0", "S0", "S0 S0");
  concat.Add("S2 S2", "S2", "S2 S2");
  concat.Add("P P", "P", "B B");
  concat.Add("S0.S2 S0.S2", "S0.S2", "S0.S2 S0.S2");
  concat.Add("S0.P S0.P", "S0.P", "S0.B S0.B");
  concat.Add("P B", "P", "", {"x1 B->P local"});
  Append(std::move(concat), all);
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
  Append(std::move(dropout), all);
  for (const char* op : {"random_normal", "random_uniform"}) {
    Rows random(
        {.id = "O15", .op = op, .attrs = {{"shape", Ints{6, 5, 7}}, {"seed", int64_t{11}}}});
    for (const char* out : {"S0", "S1", "Z2", "B", "S0.B", "S0.S2", "S1.S1"}) {
      random.Add("", out, "");
    }
    Append(std::move(random), all);
  }
  return all;
}

}  // namespace weft::testing

// The rows of products, pointwise ops and optimizers, and the table of all.
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/system/op_row_list.h"
#include "tests/system/op_rows.h"

namespace weft::testing {
namespace {

HostTensor Positive(Shape shape, uint64_t seed = 1) {
  return Sixteenths({std::move(shape), DType::kF32}, seed, 0.5, 2.5);
}
HostTensor Scalar(double value, DType dtype = DType::kF32) { return Whole({{}, dtype}, {value}); }

// "S0" with the dimension of a label in an operand's labels.
std::string At(std::string_view labels, char label) {
  return absl::StrCat("S", labels.find(label));
}

}  // namespace

std::vector<OpRow> MatmulRows() {
  std::vector<OpRow> rows;
  // O1: c[m,n] of a and b, each as it is or transposed. 6, 7 and 10 are uneven on 4 ranks and on 2.
  for (const auto& [a, b] : std::vector<std::pair<std::string, std::string>>{
           {"mk", "kn"}, {"km", "kn"}, {"mk", "nk"}, {"km", "nk"}}) {
    const auto shape = [](const std::string& labels) {
      Shape s;
      for (char label : labels) s.push_back(label == 'm' ? 6 : label == 'k' ? 10 : 7);
      return s;
    };
    const std::vector<std::pair<std::string, std::string>> places = {
        {"am", At(a, 'm')}, {"ak", At(a, 'k')}, {"bk", At(b, 'k')}, {"bn", At(b, 'n')}};
    const auto add = [&](const std::string& in, const std::string& out, const std::string& grads) {
      rows.push_back({"O1",
                      "einsum",
                      {{"equation", absl::StrCat(a, ",", b, "->mn")}},
                      {X(shape(a), 1), X(shape(b), 2)},
                      absl::StrReplaceAll(in, places),
                      out,
                      absl::StrReplaceAll(grads, places)});
    };
    add("am B", "S0", "am P");
    add("B bn", "S1", "P bn");
    add("ak bk", "P", "ak bk");
    add("P B", "P", "B P");
    add("B P", "P", "P B");
    add("am.B B.bn", "S0.S1", "am.P P.bn");
    add("am.ak B.bk", "S0.P", "am.ak P.bk");
    add("am.P B.B", "S0.P", "am.B P.P");
    // One dimension split by both axes: 6 rows are 2,1,2,1 here and 2,2,1,1 on one axis of four.
    add("am.am B.B", "S0.S0", "am.am P.P");
    add("ak.ak bk.bk", "P.P", "ak.ak bk.bk");
    add("B.B bn.bn", "S1.S1", "P.P bn.bn");
    // No signature takes rows of a with parts of b's sum, nor columns of b with parts of a's: the
    // operand whose split the result does not have is gathered, which sends (p - 1) times its
    // bytes.
    const auto gather = [&](const std::string& in, const std::string& out, const std::string& how,
                            int64_t bytes) {
      add(in, out, "");
      rows.back().conversions = {absl::StrReplaceAll(how, places)};
      rows.back().illegal = true;
      rows.back().bytes = bytes;
    };
    gather("am bk", "S0", "b bk->B exchange", 3 * 10 * 7 * 4);
    gather("ak bn", "S1", "a ak->B exchange", 3 * 6 * 10 * 4);
    gather("am.B bk.B", "S0.B", "b bk.B->B.B exchange", 2 * 10 * 7 * 4);
  }
  // Two partials: the side that is smaller on a rank is reduced, by all-reduces that each send
  // 2 (p - 1) times their bytes.
  for (const auto& [m, n, side] :
       std::vector<std::tuple<int64_t, int64_t, std::string>>{{64, 96, "a"}, {96, 64, "b"}}) {
    Rows partials({.id = "O1",
                   .op = "einsum",
                   .attrs = {{"equation", std::string("mk,kn->mn")}},
                   .inputs = {X({m, 160}, 1), X({160, n}, 2)}});
    partials.Add("P P", "P", "", {side + " P->B all-reduce over x"}, 2 * 3 * 64 * 160 * 4);
    partials.Add("S0.P B.P", "S0.P", "", {"a S0.P->S0.B all-reduce over y"}, 2 * m * 160 * 4);
    std::move(partials).AppendTo(rows);
  }
  // O2.
  const auto batched = [&](const std::string& in, const std::string& out,
                           const std::string& grads) {
    rows.push_back({"O2",
                    "einsum",
                    {{"equation", std::string("bmk,bkn->bmn")}},
                    {X({6, 5, 3}, 1), X({6, 3, 7}, 2)},
                    in,
                    out,
                    grads});
  };
  batched("S0 S0", "S0", "S0 S0");
  batched("S1 B", "S1", "S1 P");
  batched("B S2", "S2", "P S2");
  batched("S2 S1", "P", "S2 S1");
  batched("P B", "P", "B P");
  batched("S0.S1 S0.B", "S0.S1", "S0.S1 S0.P");
  batched("S0.B S0.S2", "S0.S2", "S0.P S0.S2");
  batched("S0.S2 S0.S1", "S0.P", "S0.S2 S0.S1");
  batched("S0.S0 S0.S0", "S0.S0", "S0.S0 S0.S0");
  return rows;
}

std::vector<OpRow> PointwiseRows() {
  std::vector<OpRow> rows;
  const Shape shape = {6, 7};
  // O3.
  for (const char* op : {"add", "sub"}) {
    const auto add = [&](const std::string& in, const std::string& out, const std::string& grads,
                         std::vector<std::string> conversions = {}) {
      const bool illegal = !conversions.empty();
      rows.push_back({.id = "O3",
                      .op = op,
                      .inputs = {X(shape, 1), X(shape, 2)},
                      .in = in,
                      .out = out,
                      .grads = grads,
                      .conversions = std::move(conversions),
                      .illegal = illegal});
    };
    add("S0 S0", "S0", "S0 S0");
    add("S1 S1", "S1", "S1 S1");
    add("Z0 Z0", "Z0", "Z0 Z0");
    add("B B", "B", "B B");
    add("P P", "P", "B B");
    add("S0.P S0.P", "S0.P", "S0.B S0.B");
    add("S0.S1 S0.S1", "S0.S1", "S0.S1 S0.S1");
    add("S0.S0 S0.S0", "S0.S0", "S0.S0 S0.S0");
    add("P B", "P", "", {"b B->P local"});
    add("B P", "P", "", {"a B->P local"});
  }
  // O4.
  for (const char* op : {"mul", "div"}) {
    const bool mul = std::string(op) == "mul";
    const auto add = [&](const std::string& in, const std::string& out, const std::string& grads,
                         std::vector<std::string> conversions = {}, Shape b = {6, 7}) {
      const bool illegal = !conversions.empty();
      rows.push_back({.id = "O4",
                      .op = op,
                      .inputs = {X(shape, 1), mul ? X(b, 2) : Positive(b, 2)},
                      .in = in,
                      .out = out,
                      .grads = grads,
                      .conversions = std::move(conversions),
                      .tolerance = mul ? 0 : 1e-6,
                      .illegal = illegal});
    };
    add("S0 S0", "S0", "S0 S0");
    add("S1 S1", "S1", "S1 S1");
    add("B B", "B", "B B");
    add("P B", "P", "B P");
    if (mul) add("B P", "P", "P B");
    add("S0.S1 S0.S1", "S0.S1", "S0.S1 S0.S1");
    add("S0.P B.B", "S0.P", "S0.B P.P", {}, {7});
    add("S0.S0 B.B", "S0.S0", "S0.S0 P.P", {}, {7});
    if (mul) {
      add("P P", "P", "", {"b P->B all-reduce over x"});
    } else {
      add("B P", "B", "", {"b P->B all-reduce over x"});
    }
  }
  // O5.
  for (const char* op : {"relu", "gelu", "exp", "silu", "tanh", "sigmoid"}) {
    const double tolerance = std::string(op) == "relu" ? 0 : 1e-6;
    const auto add = [&](const std::string& in, std::vector<std::string> conversions = {},
                         const std::string& out = "") {
      const bool illegal = !conversions.empty();
      rows.push_back({.id = "O5",
                      .op = op,
                      .inputs = {X(shape)},
                      .in = in,
                      .out = out.empty() ? in : out,
                      .grads = illegal ? "" : in,
                      .conversions = std::move(conversions),
                      .tolerance = tolerance,
                      .illegal = illegal});
    };
    for (const char* in : {"S0", "S1", "B", "Z0", "S0.S1", "S1.B", "S0.S0", "S1.S1"}) add(in);
    add("P", {"x P->B all-reduce over x"}, "B");
    add("S0.P", {"x S0.P->S0.B all-reduce over y"}, "S0.B");
    add("P", {"x P->S0 exchange"}, "S0");
    add("S0.P", {"x S0.P->S0.S1 exchange"}, "S0.S1");
  }
  // O6.
  const std::pair<const char*, Attrs> linear[] = {
      {"neg", {}}, {"scale", {{"factor", -1.5}}}, {"cast", {{"dtype", std::string("f32")}}}};
  for (const auto& [op, attrs] : linear) {
    const DType from = std::string(op) == "cast" ? DType::kBF16 : DType::kF32;
    for (const auto& [in, grads] :
         std::vector<std::pair<std::string, std::string>>{{"S0", "S0"},
                                                          {"S1", "S1"},
                                                          {"B", "B"},
                                                          {"P", "B"},
                                                          {"S0.P", "S0.B"},
                                                          {"S0.S1", "S0.S1"},
                                                          {"S0.S0", "S0.S0"}}) {
      rows.push_back({"O6", op, attrs, {X(shape, 1, from)}, in, in, grads});
    }
  }
  rows.push_back({.id = "O6",
                  .op = "cast",
                  .attrs = {{"dtype", std::string("i32")}},
                  .inputs = {X(shape)},
                  .in = "P",
                  .out = "B",
                  .conversions = {"x P->B all-reduce over x"},
                  .illegal = true});
  rows.push_back({.id = "O6",
                  .op = "cast",
                  .attrs = {{"dtype", std::string("bf16")}},
                  .inputs = {X(shape)},
                  .in = "P",
                  .out = "B",
                  .conversions = {"x P->B all-reduce over x"},
                  .illegal = true});
  // O7: a bias of channels, the last dimension.
  const auto bias = [&](const std::string& in, const std::string& out, const std::string& grads,
                        std::vector<std::string> conversions = {}) {
    const bool illegal = !conversions.empty();
    rows.push_back({.id = "O7",
                    .op = "add",
                    .inputs = {X({6, 5, 7}, 1), X({7}, 2)},
                    .in = in,
                    .out = out,
                    .grads = grads,
                    .conversions = std::move(conversions),
                    .illegal = illegal});
  };
  bias("S0 B", "S0", "S0 P");
  bias("S1 B", "S1", "S1 P");
  bias("S2 S0", "S2", "S2 S0");
  bias("P P", "P", "B B");
  bias("S0.S2 B.S0", "S0.S2", "S0.S2 P.S0");
  bias("S0.S1 B.B", "S0.S1", "S0.S1 P.P");
  bias("S2.S2 S0.S0", "S2.S2", "S2.S2 S0.S0");
  bias("P B", "P", "", {"b B->P local"});
  bias("S0.P B.B", "S0.P", "", {"b B.B->B.P local"});
  return rows;
}

std::vector<OpRow> OptimizerRows() {
  std::vector<OpRow> rows;
  const Shape shape = {6, 7};
  // O16: all of a row's parameter-shaped operands lie alike, but for the gradient.
  for (const char* op : {"sgd", "adamw", "lamb_update"}) {
    const std::string name(op);
    const auto add = [&](const std::string& param, const std::string& grad,
                         std::vector<std::string> conversions = {}, bool illegal = false) {
      const std::string whole = param.find('.') == std::string::npos ? "B" : "B.B";
      OpRow row{.id = "O16",
                .op = op,
                .conversions = std::move(conversions),
                .tolerance = 1e-6,
                .illegal = illegal};
      const HostTensor lr = Scalar(0.25), step = Scalar(3), clip = Scalar(0.5);
      if (name == "sgd") {
        row.attrs = {{"weight_decay", 0.125}};
        row.inputs = {X(shape, 1), X(shape, 2), X(shape, 3), lr, clip};
        row.in = absl::StrCat(param, " ", param, " ", grad, " ", whole, " ", whole);
        row.out = absl::StrCat(param, " ", param);
      } else {
        row.inputs = {X(shape, 1), X(shape, 2), Positive(shape, 4), X(shape, 3)};
        row.in = absl::StrCat(param, " ", param, " ", param, " ", grad);
        if (name == "adamw") row.inputs.push_back(lr);
        row.inputs.push_back(step);
        row.inputs.push_back(clip);
        for (size_t i = 4; i < row.inputs.size(); ++i) absl::StrAppend(&row.in, " ", whole);
        row.out = absl::StrCat(param, " ", param, " ", param);
        if (name == "adamw") {  // the sum of squares is partial where the parameter is split
          absl::StrAppend(&row.out, " ", absl::StrReplaceAll(param, {{"S0", "P"}, {"S1", "P"}}));
        }
      }
      rows.push_back(std::move(row));
    };
    add("B", "B");
    add("S0", "S0");
    add("S1", "S1");
    add("B", "P", {"grad P->B all-reduce over x"});
    add("S0", "P", {"grad P->S0 exchange"});
    add("S0.S1", "S0.S1");
    add("S0.S1", "P.S1", {"grad P.S1->S0.S1 exchange"});
    add("S0.S0", "S0.S0");
    add("B", "S0", {"grad S0->B exchange"}, true);
  }
  return rows;
}

std::vector<OpRow> AllOpRows() {
  std::vector<OpRow> all;
  for (auto part :
       {MatmulRows, PointwiseRows, ReductionRows, ModelRows, MovementRows, OptimizerRows}) {
    for (OpRow& row : part()) all.push_back(std::move(row));
  }
  return all;
}

std::vector<OpRow> SampledOpRows() {
  std::map<std::pair<std::string, bool>, std::vector<OpRow>> kinds;
  for (OpRow& row : AllOpRows()) {
    kinds[{row.id, row.conversions.empty()}].push_back(std::move(row));
  }
  std::vector<OpRow> sample;
  for (auto& [kind, rows] : kinds) {
    const size_t count = (rows.size() + 9) / 10;
    for (size_t i = 0; i < count; ++i) {
      sample.push_back(std::move(rows[(2 * i + 1) * rows.size() / (2 * count)]));
    }
  }
  return sample;
}

}  // namespace weft::testing

// The conformance table of conversions: rows B1 to B11 of OneFlow's tests completed (every pair, on
// every kind of placement), rows X1 to X8 beyond it: zigzag splits, maxima and logaddexp, more
// shapes, types and meshes.
#pragma once

#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/logging.h"
#include "tests/support/reshard_case.h"

namespace weft::testing {

// How many cases each row has.
inline const std::map<std::string, int>& ReshardRowCounts() {
  static const auto& counts = *new std::map<std::string, int>{
      {"B1", 225},  {"B2", 224}, {"B3", 512},  {"B4", 256}, {"B5", 256}, {"B6", 32},
      {"B7", 4},    {"B8", 80},  {"B10", 500}, {"B11", 24}, {"X1", 960}, {"X2", 504},
      {"X3", 1024}, {"X4", 250}, {"X5", 240},  {"X6", 360}, {"X7", 272}, {"X8", 256}};
  return counts;
}

class ReshardCases {
 public:
  // All of the table, in order.
  static std::vector<ReshardCase> All() {
    ReshardCases cases;
    cases.OneAxis();
    cases.OtherMeshes();
    cases.TwoAxes();
    cases.OneToTwoAxes();
    cases.Degenerate();
    cases.ThreeAxes();
    cases.Chains();
    cases.Types();
    return std::move(cases.cases_);
  }

 private:
  using Pairs = std::vector<std::pair<const Mesh*, const Mesh*>>;

  static Mesh M(std::string_view text) {
    absl::StatusOr<Mesh> mesh = Mesh::Parse(text);
    CHECK(mesh.ok()) << mesh.status();
    return *std::move(mesh);
  }
  static TensorSpec F32(Shape shape) { return {std::move(shape), DType::kF32}; }
  static TensorSpec Scalar() {
    TensorSpec spec;
    spec.dtype = DType::kF32;
    return spec;
  }

  // All layouts with entries of `options`.
  static std::vector<Layout> Layouts(const Mesh& mesh, const std::vector<Sbp>& options) {
    std::vector<Layout> layouts = {Layout()};
    for (int a = 0; a < mesh.num_axes(); ++a) {
      std::vector<Layout> longer;
      for (const Layout& layout : layouts) {
        for (const Sbp& sbp : options) {
          longer.push_back(layout);
          longer.back().push_back(sbp);
        }
      }
      layouts = std::move(longer);
    }
    return layouts;
  }

  void Add(const char* row, const TensorSpec& spec, const Layout& from, const Mesh& from_mesh,
           const Layout& to, const Mesh& to_mesh) {
    cases_.push_back({row, spec, {{from, from_mesh}, {to, to_mesh}}});
  }
  // Every pair of layouts with these entries, for every pair of meshes and every shape.
  void AddPairs(const char* row, const std::vector<TensorSpec>& specs, const Pairs& meshes,
                const std::vector<Sbp>& options) {
    for (const auto& [from_mesh, to_mesh] : meshes) {
      for (const TensorSpec& spec : specs) {
        for (const Layout& from : Layouts(*from_mesh, options)) {
          for (const Layout& to : Layouts(*to_mesh, options)) {
            Add(row, spec, from, *from_mesh, to, *to_mesh);
          }
        }
      }
    }
  }
  void AddRandom(const char* row, int count, const std::vector<TensorSpec>& specs,
                 const Pairs& meshes, const std::vector<Sbp>& options, int seed) {
    std::mt19937 random(seed);
    for (int i = 0; i < count; ++i) {
      const auto& [from_mesh, to_mesh] = meshes[random() % meshes.size()];
      const auto from = Layouts(*from_mesh, options), to = Layouts(*to_mesh, options);
      const TensorSpec& spec = specs[random() % specs.size()];
      const Layout& a = from[random() % from.size()];
      Add(row, spec, a, *from_mesh, to[random() % to.size()], *to_mesh);
    }
  }

  void OneAxis() {
    const Pairs same = {{&b_, &b_}, {&c_, &c_}, {&d_, &d_}};
    AddPairs("B1", {kEven, kUneven, kFewRows}, same, {kS0, kS1, kB, kSum, kMax});
    AddPairs("X1", {kEven, kUneven, kLong, kFewRows, kNoRows}, same,
             {kS0, kS1, kZ0, kZ1, kB, kSum, kMax, kLse});
  }
  void OtherMeshes() {
    const Pairs pairs = {{&d_, &k_}, {&c_, &e_}, {&d_, &b_}, {&b_, &d_},
                         {&a_, &d_}, {&d_, &a_}, {&e_, &c_}};
    AddPairs("B2", {kEven, kUneven}, pairs, {kS0, kS1, kB, kSum});
    AddPairs("X2", {kUneven, kFewRows}, pairs, {kS0, kZ0, kB, kSum, kMax, kLse});
  }
  void TwoAxes() {
    const Pairs pairs = {{&f_, &f_}, {&f_, &g_}};
    AddPairs("B3", {kUneven}, pairs, {kS0, kS1, kB, kSum});
    AddPairs("X3", {kNested, kEven}, pairs, {kS0, kS1, kB, kSum});
    AddRandom("X4", 250, {kNested, kUneven, kLong, kFewRows}, pairs,
              {kS0, kS1, kZ0, kZ1, kB, kSum, kMax, kLse}, 4);
    AddPairs("B5", {kUneven}, {{&f_, &h_}}, {kS0, kS1, kB, kSum});
  }
  void OneToTwoAxes() {
    const Pairs pairs = {{&d_, &f_}, {&f_, &d_}, {&c_, &g_}, {&f_, &e_}};
    AddPairs("B4", {kUneven}, pairs, {kS0, kS1, kB, kSum});
    AddRandom("X5", 240, {kNested, kEven, kLong, kNoRows}, pairs,
              {kS0, kS1, kZ0, kZ1, kB, kSum, kMax, kLse}, 5);
  }
  void Degenerate() {
    for (const Sbp& sbp : {kS0, kS1, kB, kSum}) {
      for (const TensorSpec& spec : {kEven, kUneven}) {
        const Sbp other = sbp == kS0 ? kB : kS0;  // of the axis of size 1: it has no say
        Add("B6", spec, {sbp}, d_, {other, sbp}, i_);
        Add("B6", spec, {other, sbp}, i_, {sbp}, d_);
        Add("B6", spec, {sbp}, d_, {sbp, other}, j_);
        Add("B6", spec, {sbp, other}, j_, {sbp}, d_);
      }
    }
    for (const TensorSpec& spec : {kNested, F32({8, 4})}) {
      Add("B7", spec, {kS0, kS0}, f_, {kS0}, d_);
      Add("B7", spec, {kS0}, d_, {kS0, kS0}, f_);
    }
  }
  void ThreeAxes() {
    AddRandom("B8", 64, {kUneven, kEven, kNested}, {{&l_, &l_}}, {kS0, kS1, kB, kSum, kMax}, 8);
    AddPairs("B8", {F32({4, 4, 5, 7})}, {{&d_, &d_}}, {Sbp::S(2), Sbp::S(3), kB, kSum});
    AddRandom("X6", 360, {kUneven, kEven, kNested, kLong, kFewRows},
              {{&l_, &l_}, {&l_, &d_}, {&d_, &l_}, {&l_, &m_}, {&m_, &l_}, {&f_, &m_}, {&m_, &h_}},
              {kS0, kS1, kZ0, kZ1, kB, kSum, kMax, kLse}, 6);
  }
  // Eight conversions that end where they began.
  void Chains() {
    std::mt19937 random(10);
    const Mesh* meshes[] = {&b_, &c_, &d_, &e_, &f_, &g_, &h_, &k_, &l_, &m_};
    const DType types[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kI32, DType::kBool};
    for (int seed = 0; seed < 500; ++seed) {
      const auto rows = 1 + static_cast<int64_t>(random() % 7);
      ReshardCase chain{"B10", {{rows, 5}, types[random() % 5]}, {}};
      while (chain.stops.size() < 8) {
        const Mesh& mesh = *meshes[random() % 10];
        const auto layouts = Layouts(mesh, {kS0, kS1, kZ0, kB, kSum, kMax, kLse});
        Lying stop{layouts[random() % layouts.size()], mesh};
        if (IsLegal(chain.spec, stop)) chain.stops.push_back(std::move(stop));
      }
      for (Sbp& sbp : chain.stops[0].layout) {
        if (sbp.is_partial() && sbp.monoid() == Monoid::kLogAddExp) sbp = kB;  // so all is exact
      }
      chain.stops.push_back(chain.stops[0]);
      cases_.push_back(std::move(chain));
    }
  }
  void Types() {
    const auto four = [this](const TensorSpec& spec) {
      Add("B11", spec, {kS0}, d_, {kS1}, d_);
      Add("B11", spec, {kS0}, d_, {kB}, d_);
      Add("B11", spec, {kSum}, d_, {kS0}, d_);
      Add("B11", spec, {kSum}, d_, {kB}, d_);
    };
    four(kNoRows);
    AddPairs("B11", {kScalar}, {{&d_, &d_}}, {kB, kSum});
    for (DType type : {DType::kF16, DType::kBF16, DType::kI32, DType::kBool}) four({{5, 7}, type});
    AddPairs("X7", {kScalar}, {{&f_, &f_}}, {kB, kSum, kMax, kLse});
    AddPairs("X7", {kScalar}, {{&d_, &k_}}, {kB, kSum, kMax, kLse});
    std::vector<TensorSpec> specs;
    for (DType type : {DType::kF16, DType::kBF16, DType::kI32, DType::kBool}) {
      specs.push_back({{5, 7}, type});
    }
    AddRandom("X8", 256, specs, {{&d_, &d_}, {&f_, &f_}, {&f_, &h_}, {&l_, &l_}},
              {kS0, kS1, kZ0, kB, kSum, kMax, kLse}, 11);
  }

  const Sbp kS0 = Sbp::S(0), kS1 = Sbp::S(1), kB = Sbp::B(), kSum = Sbp::P();
  const Sbp kMax = Sbp::P(Monoid::kMax), kLse = Sbp::P(Monoid::kLogAddExp);
  const Sbp kZ0 = Sbp::S(0, IndexOrder::kZigzag), kZ1 = Sbp::S(1, IndexOrder::kZigzag);
  const TensorSpec kEven = F32({8, 8, 16}), kUneven = F32({5, 7}), kLong = F32({13, 5}),
                   kNested = F32({6, 4}), kFewRows = F32({3, 4}), kNoRows = F32({0, 4}),
                   kScalar = Scalar();
  // The placements of the table, by its letters; m is 3-D, uneven, and misses ranks 1 and 6.
  const Mesh a_ = M("x:1@0"), b_ = M("x:2@0,1"), c_ = M("x:3@1,2,3"), d_ = M("x:4"),
             e_ = M("x:3@0,1,3"), f_ = M("x:2,y:2"), g_ = M("x:2,y:2@3,0,1,2"),
             h_ = M("x:2,y:3@0,3,4,2,5,6"), i_ = M("x:1,y:4"), j_ = M("x:4,y:1"),
             k_ = M("x:4@4,5,6,7"), l_ = M("x:2,y:2,z:2"), m_ = M("x:1,y:2,z:3@5,0,3,2,7,4");
  std::vector<ReshardCase> cases_;
};

}  // namespace weft::testing

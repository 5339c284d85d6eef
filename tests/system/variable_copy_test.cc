// A variable whose new content has another reader is copied, whatever its dtype; and so is one
// whose old content the op that replaces it still reads.
#include <gtest/gtest.h>

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph_builder.h"
#include "kernels/all_ops.h"
#include "launcher/session.h"
#include "tests/support/run_ranks.h"

namespace weft::testing {
namespace {

// Keeps what was fed in the step before, and hands out both.
absl::StatusOr<Graph> Keeping(const OpRegistry& ops, const std::string& mesh) {
  GraphBuilder g(ops, *Mesh::Parse(mesh));
  const Value next = g.Input("next", {{6}, DType::kI32}, Rate::kStep);
  const Value kept = g.State("kept", {{2, 3}, DType::kI32}, Constant(-1));
  const Value content = g.Op("reshape", {next}, {{"shape", std::vector<int64_t>{2, 3}}});
  g.Output("before", g.Op("reshape", {kept}, {{"shape", std::vector<int64_t>{6}}}));
  g.Update(kept, content);
  g.Output("now", content);
  return g.Build();
}

TEST(VariableCopyTest, IntegersWithASecondReader) {
  OpRegistry ops;
  KernelTable kernels;
  DefineAllOps(ops);
  FillCpuKernels(ops, kernels);
  for (const char* mesh : {"a:1", "a:2"}) {
    RunRanks(Mesh::Parse(mesh)->size(), {}, [&](Transport& transport) {
      absl::StatusOr<Graph> graph = Keeping(ops, mesh);
      ASSERT_TRUE(graph.ok()) << graph.status();
      std::mutex mutex;
      int seen = 0;
      Session session(ops, kernels, transport);
      auto runnable = session.Load(
          *std::move(graph), {},
          [](std::string_view, int64_t step, int64_t, const Operand& out) {
            for (int64_t i = 0; i < out.elements(); ++i) {
              out.as<int32_t>()[i] =
                  static_cast<int32_t>(100 * step + out.box->dims[0].ToLogical(i) + (1 << 30));
            }
            return absl::OkStatus();
          },
          [&](std::string_view name, int64_t step, int64_t, const Operand& in) {
            const std::lock_guard lock(mutex);
            const int64_t of = name == "before" ? step - 1 : step;
            for (int64_t i = 0; i < in.elements(); ++i) {
              int64_t place = in.box->dims.back().ToLogical(i % in.shape.back());
              if (name == "now") place += 3 * in.box->dims[0].ToLogical(i / in.shape.back());
              EXPECT_EQ(in.as<int32_t>()[i], of < 0 ? -1 : 100 * of + place + (1 << 30))
                  << std::string(name) << " of step " << step;
            }
            ++seen;
            return absl::OkStatus();
          });
      ASSERT_TRUE(runnable.ok()) << runnable.status();
      const absl::Status status = (*runnable)->Run(0, 4);
      EXPECT_TRUE(status.ok()) << status;
      EXPECT_EQ(seen, 8);
    });
  }
}

// w becomes w w + w by one product, or x w + w: the product may write where it finds the addend,
// but not where it finds a factor.
absl::Status RunSums(const OpRegistry& ops, const KernelTable& kernels, Transport& transport,
                     bool squares, std::vector<float>& seen) {
  GraphBuilder g(ops, Mesh());
  const Value w = g.State("w", {{2, 2}, DType::kF32}, Constant(1));
  const Value x = squares ? w : g.State("x", {{2, 2}, DType::kF32}, Constant(1));
  const Value product = g.Op("einsum", {x, w}, {{"equation", std::string("ij,jk->ik")}});
  g.Update(w, g.Op("add", {w, product}));
  g.Output("before", g.Op("scale", {w}, {{"factor", 1.0}}));
  absl::StatusOr<Graph> graph = g.Build();
  if (!graph.ok()) return graph.status();
  Session session(ops, kernels, transport);
  auto runnable = session.Load(
      *std::move(graph), {},
      [](std::string_view, int64_t, int64_t, const Operand&) { return absl::OkStatus(); },
      [&](std::string_view, int64_t, int64_t, const Operand& in) {
        seen.insert(seen.end(), in.as<float>(), in.as<float>() + in.elements());
        return absl::OkStatus();
      });
  if (!runnable.ok()) return runnable.status();
  return (*runnable)->Run(0, 3);
}

TEST(VariableCopyTest, ASumReplacesItsOwnTerm) {
  OpRegistry ops;
  KernelTable kernels;
  DefineAllOps(ops);
  FillCpuKernels(ops, kernels);
  // All four elements are alike: w, 2 w^2 + w of 1 and of 3; and w, 2 w + w.
  const std::vector<float> squares = {1, 1, 1, 1, 3, 3, 3, 3, 21, 21, 21, 21};
  const std::vector<float> sums = {1, 1, 1, 1, 3, 3, 3, 3, 9, 9, 9, 9};
  for (const bool square : {true, false}) {
    RunRanks(1, {}, [&](Transport& transport) {
      std::vector<float> seen;
      const absl::Status status = RunSums(ops, kernels, transport, square, seen);
      EXPECT_TRUE(status.ok()) << status;
      EXPECT_EQ(seen, square ? squares : sums);
    });
  }
}

}  // namespace
}  // namespace weft::testing

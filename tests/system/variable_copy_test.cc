// A variable whose new content has another reader is copied, whatever its dtype.
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

}  // namespace
}  // namespace weft::testing

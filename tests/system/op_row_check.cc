#include "tests/system/op_row_check.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "tests/system/mesh_run.h"
#include "tests/system/op_row_graph.h"

namespace weft::testing {
namespace {

void ExpectEqual(const HostTensor& got, const HostTensor& want, double tolerance) {
  ASSERT_EQ(got.spec, want.spec);
  double scale = 1;
  for (double v : want.values) scale = std::isfinite(v) ? std::max(scale, std::abs(v)) : scale;
  for (size_t i = 0; i < want.values.size(); ++i) {
    if (got.values[i] == want.values[i]) continue;
    ASSERT_NEAR(got.values[i], want.values[i], tolerance * scale) << "element " << i;
  }
}

// "x [x:P(sum)]->[x:B] all-reduce over x".
std::vector<std::string> ConversionsOf(const Program& program) {
  std::vector<std::string> all;
  for (const Conversion& c : program.conversions) {
    all.push_back(absl::StrCat(c.value, " ", c.from, "->", c.to, " ", c.how));
  }
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<std::string> ExpectedConversions(const OpRow& row, const Mesh& mesh) {
  std::vector<std::string> all;
  for (const std::string& text : row.conversions) {
    const std::vector<std::string> words = absl::StrSplit(text, absl::MaxSplits(' ', 2));
    const std::vector<std::string> ends = absl::StrSplit(words[1], "->");
    all.push_back(absl::StrCat(words[0], " ", ToString(ParseShort(ends[0]), mesh), "->",
                               ToString(ParseShort(ends[1]), mesh), " ", words[2]));
  }
  std::sort(all.begin(), all.end());
  return all;
}

// What is known before the row runs.
struct Expected {
  RowGraph row;
  std::map<std::string, HostTensor> outputs;
  MeshRunOptions options;
};

absl::StatusOr<Expected> Expect(const OpRow& row, const Mesh& mesh) {
  absl::StatusOr<RowGraph> graph = BuildRow(row, mesh);
  if (!graph.ok()) return graph.status();
  auto outputs = EvaluateRow(*graph);
  if (!outputs.ok()) return outputs.status();
  MeshRunOptions options;
  options.input = [inputs = graph->inputs](std::string_view name, int64_t, int64_t) {
    return inputs.at(std::string(name));
  };
  return Expected{*std::move(graph), *std::move(outputs), std::move(options)};
}

// Conversions and bytes: whatever every rank can tell.
void CheckProgram(const OpRow& row, const Mesh& mesh, const MeshRun& run) {
  EXPECT_EQ(ConversionsOf(run.program), ExpectedConversions(row, mesh));
  EXPECT_EQ(run.bytes_sent, run.bytes_predicted);
}

// What all ranks sent and hold.
void CheckWhole(const OpRow& row, const Expected& want, const MeshRun& run) {
  const int64_t bytes =
      std::accumulate(run.bytes_predicted.begin(), run.bytes_predicted.end(), int64_t{0});
  if (row.bytes >= 0) {
    EXPECT_EQ(bytes, row.bytes);
  }
  const bool is_free =
      std::all_of(row.conversions.begin(), row.conversions.end(),
                  [](const std::string& text) { return absl::EndsWith(text, " local"); });
  if (is_free) {
    EXPECT_EQ(bytes, 0);
  }
  for (const auto& [name, tensor] : want.outputs) {
    SCOPED_TRACE(name);
    ASSERT_EQ(run.outputs.at(name).size(), 1u);
    ExpectEqual(run.outputs.at(name)[0], tensor, row.tolerance);
  }
}

}  // namespace

std::string Describe(const OpRow& row) {
  std::string shapes;
  for (const HostTensor& x : row.inputs) absl::StrAppend(&shapes, " ", x.spec.ToString());
  return absl::StrCat(row.id, " ", row.op, shapes, " ", row.attrs.ToString(), ": ", row.in, " -> ",
                      row.out, " grads ", row.grads);
}

void CheckRow(const OpRow& row) {
  const Mesh mesh = MeshOfRow(row);
  const absl::StatusOr<Expected> want = Expect(row, mesh);
  ASSERT_TRUE(want.ok()) << want.status();
  const auto run = RunOnMesh(want->row.graph, AllOps(), AllKernels(), want->options);
  ASSERT_TRUE(run.ok()) << run.status();
  CheckProgram(row, mesh, *run);
  CheckWhole(row, *want, *run);
}

void CheckRowAsRank(const OpRow& row, int first_rank, Transport& transport) {
  const Mesh mesh = MeshOfRow(row, first_rank);
  const absl::StatusOr<Expected> want = Expect(row, mesh);
  ASSERT_TRUE(want.ok()) << want.status();
  const auto run = RunAsRank(want->row.graph, AllOps(), AllKernels(), want->options, transport);
  ASSERT_TRUE(run.ok()) << run.status();
  CheckProgram(row, mesh, *run);
  if (transport.rank() == first_rank) CheckWhole(row, *want, *run);
}

}  // namespace weft::testing

// The decoder's graph with the real ops: its text, its annotations, and its loss and gradients on
// one rank against plain loops and their finite differences in f64.
#include "graph/decoder.h"

#include <gtest/gtest.h>

#include <cmath>

#include "graph/graph_text.h"
#include "graph/optimizer.h"
#include "kernels/all_ops.h"
#include "launcher/ranks.h"
#include "launcher/session.h"
#include "parallel/compile.h"
#include "runtime/status.h"
#include "tests/system/plain_decoder.h"

namespace weft {
namespace {

using testing::PlainDecoderLoss;
using testing::PlainParameters;

constexpr int64_t kBatch = 2, kSequence = 5;

DecoderConfig Small() {
  return {.layers = 2,
          .hidden = 8,
          .heads = 4,
          .kv_heads = 2,
          .ffn = 12,
          .vocab = 11,
          .init_stddev = 0.3};
}

DecoderConfig SmallGelu() {
  DecoderConfig config = Small();
  config.norm = DecoderConfig::Norm::kLayer;
  config.activation = DecoderConfig::Activation::kGelu;
  config.tied_head = true;
  config.kv_heads = 0;
  config.head_dim = 6;
  return config;
}

class DecoderTest : public ::testing::Test {
 protected:
  DecoderTest() {
    DefineAllOps(ops_);
    FillCpuKernels(ops_, kernels_);
    for (int64_t i = 0; i < kBatch * kSequence; ++i) {
      tokens_.push_back(static_cast<int>((i * i + 3) % 11));
      targets_.push_back(i == 4 ? -1 : static_cast<int>((5 * i + 1) % 11));
    }
  }

  absl::StatusOr<Graph> Training(const DecoderConfig& config, const char* mesh,
                                 const OptimizerConfig& optimizer, DType compute, int64_t rows) {
    WEFT_ASSIGN_OR_RETURN(Mesh parsed, Mesh::Parse(mesh));
    GraphBuilder g(ops_, parsed);
    WEFT_RETURN_IF_ERROR(
        AddOptimizer(g, BuildDecoderLoss(g, config, rows, kSequence, compute), optimizer));
    return g.Build();
  }

  void CheckGradients(const DecoderConfig& config, int microbatches);

  OpRegistry ops_;
  KernelTable kernels_;
  std::vector<int> tokens_, targets_;
};

// One SGD step without momentum leaves the gradient in the momentum buffers.
void DecoderTest::CheckGradients(const DecoderConfig& config, int microbatches) {
  const int64_t rows = kBatch / microbatches;
  auto graph =
      Training(config, "", {.kind = OptimizerConfig::Kind::kSgd, .momentum = 0}, DType::kF32, rows);
  ASSERT_TRUE(graph.ok()) << graph.status();
  const double scale = 1.0 / 9;
  const auto feed = [&](std::string_view name, int64_t, int64_t microbatch, const Operand& out) {
    if (out.dtype() == DType::kF32) {
      *out.as<float>() = name == "loss_scale" ? static_cast<float>(scale) : 0.0f;
      return absl::OkStatus();
    }
    const std::vector<int>& from = name == "tokens" ? tokens_ : targets_;
    for (int64_t i = 0; i < out.elements(); ++i) {
      out.as<int32_t>()[i] = from[microbatch * rows * kSequence + i];
    }
    return absl::OkStatus();
  };
  double loss = 0;
  const auto fetch = [&](std::string_view name, int64_t, int64_t, const Operand& in) {
    if (name == "loss") loss = *in.as<float>();
    return absl::OkStatus();
  };
  auto ranks = Ranks::Start(1);
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  PlainParameters parameters, gradients;
  const absl::Status status = ranks->Run([&](Transport& transport) -> absl::Status {
    Session session(ops_, kernels_, transport);
    WEFT_ASSIGN_OR_RETURN(auto program,
                          session.Load(*graph, {.microbatches = microbatches}, feed, fetch));
    const auto read = [&](const std::string& name) {
      const Operand operand = session.variables().Find(name)->operand();
      const float* data = operand.as<float>();
      return std::vector<double>(data, data + operand.elements());
    };
    for (const Variable& v : graph->variables) {
      if (v.trainable) parameters[v.name] = read(v.name);
    }
    WEFT_RETURN_IF_ERROR(program->Run(0, 1));
    for (const auto& [name, value] : parameters) gradients[name] = read(name + ".momentum");
    return absl::OkStatus();
  });
  ASSERT_TRUE(status.ok()) << status;
  const auto plain = [&](const PlainParameters& p) {
    return PlainDecoderLoss(config, p, tokens_, targets_, kBatch, kSequence, scale);
  };
  EXPECT_NEAR(loss, plain(parameters), 1e-5 * std::abs(loss));
  for (auto& [name, values] : parameters) {
    double error = 0, norm = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      const double kept = values[i], step = 1e-5;
      values[i] = kept + step;
      const double up = plain(parameters);
      values[i] = kept - step;
      const double down = plain(parameters);
      values[i] = kept;
      const double expected = (up - down) / (2 * step);
      error += (gradients[name][i] - expected) * (gradients[name][i] - expected);
      norm += expected * expected;
    }
    EXPECT_GT(norm, 0) << name;
    EXPECT_LT(std::sqrt(error), 1e-4 * std::sqrt(norm)) << name;
  }
}

TEST_F(DecoderTest, LossAndGradientsOfPlainLoops) { CheckGradients(Small(), 1); }

TEST_F(DecoderTest, LossAndGradientsOfPlainLoopsOverMicrobatches) { CheckGradients(Small(), 2); }

TEST_F(DecoderTest, LossAndGradientsWithLayerNormGeluAndTiedHead) {
  CheckGradients(SmallGelu(), 1);
}

TEST_F(DecoderTest, TextReadsBackBeforeAndAfterCompiling) {
  DecoderConfig dropped = Small();
  dropped.dropout = 0.1;
  for (const DecoderConfig& config : {Small(), SmallGelu(), dropped}) {
    for (const char* mesh : {"", "data:2", "model:3", "data:2,model:2"}) {
      for (auto kind : {OptimizerConfig::Kind::kSgd, OptimizerConfig::Kind::kAdamW,
                        OptimizerConfig::Kind::kLamb}) {
        auto graph = Training(config, mesh, {.kind = kind, .clip_norm = 1}, DType::kBF16, kBatch);
        ASSERT_TRUE(graph.ok()) << graph.status();
        const std::string text = GraphText(*graph);
        auto read = ParseGraphText(text, ops_);
        ASSERT_TRUE(read.ok()) << read.status();
        EXPECT_EQ(GraphText(*read), text);
        if (kind != OptimizerConfig::Kind::kAdamW) continue;
        auto program = Compile(*std::move(graph), ops_, {});
        ASSERT_TRUE(program.ok()) << program.status();
        const std::string compiled = GraphText(program->graph);
        read = ParseGraphText(compiled, ops_);
        ASSERT_TRUE(read.ok()) << read.status();
        EXPECT_EQ(GraphText(*read), compiled);
      }
    }
  }
}

// What lies how is inferred (tests/system/decoder_layouts_test.cc); the decoder says one thing.
TEST_F(DecoderTest, OnlyRowsAreAnnotated) {
  for (const char* mesh : {"data:2,model:2", "model:4"}) {
    auto graph = Training(Small(), mesh, {}, DType::kF32, kBatch);
    ASSERT_TRUE(graph.ok()) << graph.status();
    for (const ValueInfo& info : graph->values) {
      if (info.name != "tokens" && info.name != "targets") {
        EXPECT_FALSE(info.annotation.has_value()) << info.name;
        continue;
      }
      ASSERT_TRUE(info.annotation.has_value()) << info.name;
      EXPECT_EQ(ToString(*info.annotation, graph->meshes[0]),
                graph->meshes[0].num_axes() == 2 ? "[data:S(0), model:B]" : "[model:B]");
    }
  }
}

}  // namespace
}  // namespace weft

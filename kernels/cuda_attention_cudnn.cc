// Attention by cuDNN's graph API (flash attention on the matrix units), plans kept by shape.
#include <cudnn_frontend.h>

#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda_attention_plans.h"
#include "kernels/cuda_handles.h"
#include "runtime/status.h"

namespace weft {
namespace {

namespace fe = cudnn_frontend;
using Values = std::unordered_map<int64_t, void*>;

enum Uid : int64_t { kQ = 1, kK, kV, kO, kLse, kDo, kDq, kDk, kDv };

fe::DataType_t TypeOf(const AttentionShape& a) {
  return a.dtype == DType::kF16 ? fe::DataType_t::HALF : fe::DataType_t::BFLOAT16;
}

// [batch, rows, heads, width] in memory, as cuDNN's [batch, heads, rows, width]; `stride` rows from
// one batch entry to the next.
fe::graph::Tensor_attributes Tensor(const AttentionShape& a, Uid uid, int64_t rows, int64_t stride,
                                    int64_t heads, int64_t width) {
  fe::graph::Tensor_attributes tensor;
  tensor.set_dim({a.batch, heads, rows, width})
      .set_stride({stride * heads * width, width, heads * width, 1})
      .set_data_type(TypeOf(a))
      .set_uid(uid);
  return tensor;
}

fe::graph::Tensor_attributes Lse(const AttentionShape& a) {
  fe::graph::Tensor_attributes lse;
  lse.set_dim({a.batch, a.heads, a.s, 1})
      .set_stride({a.heads * a.s, a.s, 1, 1})
      .set_data_type(fe::DataType_t::FLOAT)
      .set_uid(kLse);
  return lse;
}

void SetResult(fe::graph::Tensor_attributes& result, fe::graph::Tensor_attributes like) {
  result = std::move(like);
  result.set_output(true);
}

template <typename Options>
void SetMask(const AttentionShape& a, Options& options) {
  options.set_attn_scale(a.scale);
  if (!a.causal) return;
  options.set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
      .set_diagonal_band_right_bound(0);
  if (a.window > 0) options.set_diagonal_band_left_bound(static_cast<int>(a.window));
}

std::shared_ptr<fe::graph::Graph> Describe(const AttentionShape& a) {
  auto graph = std::make_shared<fe::graph::Graph>();
  graph->set_io_data_type(TypeOf(a))
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  auto q = graph->tensor(Tensor(a, kQ, a.s, a.s_stride, a.heads, a.d));
  auto k = graph->tensor(Tensor(a, kK, a.t, a.t_stride, a.kv_heads, a.d));
  auto v = graph->tensor(Tensor(a, kV, a.t, a.t_stride, a.kv_heads, a.dv));
  if (!a.backward) {
    auto options = fe::graph::SDPA_attributes().set_name("attention").set_generate_stats(true);
    SetMask(a, options);
    auto [o, lse] = graph->sdpa(q, k, v, options);
    SetResult(*o, Tensor(a, kO, a.s, a.s, a.heads, a.dv));
    SetResult(*lse, Lse(a));
    return graph;
  }
  auto o = graph->tensor(Tensor(a, kO, a.s, a.s_stride, a.heads, a.dv));
  auto d_o = graph->tensor(Tensor(a, kDo, a.s, a.s_stride, a.heads, a.dv));
  auto lse = graph->tensor(Lse(a));
  auto options = fe::graph::SDPA_backward_attributes()
                     .set_name("attention_grad")
                     .set_deterministic_algorithm(a.deterministic);
  SetMask(a, options);
  auto [dq, dk, dv] = graph->sdpa_backward(q, k, v, o, d_o, lse, options);
  SetResult(*dq, Tensor(a, kDq, a.s, a.s, a.heads, a.d));
  SetResult(*dk, Tensor(a, kDk, a.t, a.t, a.kv_heads, a.d));
  SetResult(*dv, Tensor(a, kDv, a.t, a.t, a.kv_heads, a.dv));
  return graph;
}

class CudnnAttention : public AttentionPlans {
 public:
  explicit CudnnAttention(cudnnHandle_t handle) : handle_(handle) {}
  ~CudnnAttention() override {
    plans_.clear();
    (void)cudnnDestroy(handle_);
  }

  absl::StatusOr<bool> Run(CudaHandles& handles, const AttentionShape& shape,
                           const AttentionPointers& p, cudaStream_t stream) override {
    auto [at, is_new] = plans_.try_emplace(shape);
    if (is_new) at->second = Build(shape);
    const Plan& plan = at->second;
    if (plan.graph == nullptr) return false;
    void* workspace = nullptr;
    if (plan.workspace_bytes > 0) {
      WEFT_ASSIGN_OR_RETURN(workspace, handles.Scratch(stream, plan.workspace_bytes));
    }
    if (cudnnSetStream(handle_, stream) != CUDNN_STATUS_SUCCESS) {
      return absl::InternalError("cuDNN refuses the stream");
    }
    Values values = {{kQ, const_cast<void*>(p.q)},
                     {kK, const_cast<void*>(p.k)},
                     {kV, const_cast<void*>(p.v)},
                     {kO, p.o},
                     {kLse, p.lse}};
    if (shape.backward) {
      values.insert({{kDo, const_cast<void*>(p.doo)}, {kDq, p.dq}, {kDk, p.dk}, {kDv, p.dv}});
    }
    fe::error_t error = plan.graph->execute(handle_, values, workspace);
    if (error.is_good()) return true;
    return absl::InternalError(absl::StrCat("cuDNN's attention: ", error.get_message()));
  }

 private:
  struct Plan {
    std::shared_ptr<fe::graph::Graph> graph;  // nullptr: not supported
    int64_t workspace_bytes = 0;
  };

  Plan Build(const AttentionShape& shape) {
    const std::shared_ptr<fe::graph::Graph> graph = Describe(shape);
    const std::function<fe::error_t()> steps[] = {
        [&] { return graph->validate(); }, [&] { return graph->build_operation_graph(handle_); },
        [&] { return graph->create_execution_plans({fe::HeurMode_t::A}); },
        [&] { return graph->check_support(handle_); }, [&] { return graph->build_plans(handle_); }};
    for (const auto& step : steps) {
      if (step().is_bad()) return {};
    }
    Plan plan;
    if (graph->get_workspace_size(plan.workspace_bytes).is_bad()) return {};
    plan.graph = graph;
    return plan;
  }

  cudnnHandle_t handle_;
  std::map<AttentionShape, Plan> plans_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AttentionPlans>> AttentionPlans::Make() {
  cudnnHandle_t handle = nullptr;
  if (cudnnCreate(&handle) != CUDNN_STATUS_SUCCESS) return std::unique_ptr<AttentionPlans>();
  return std::unique_ptr<AttentionPlans>(new CudnnAttention(handle));
}

}  // namespace weft

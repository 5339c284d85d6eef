#include "kernels/gemm_bf16.h"

#include <array>
#include <bit>
#include <type_traits>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "kernels/dnnl_handles.h"
#include "kernels/gemm_widened.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Extents, strides of A, B and C, whether to add, the bits of alpha, and C's type.
using Key = std::array<int64_t, 12>;

struct MatMul {
  DnnlPrimitive primitive;
  DnnlMemory a, b, c;  // handles are set at each execution
};

absl::StatusOr<dnnl_memory_desc_t> Describe(dnnl_data_type_t type, int64_t rows, int64_t cols,
                                            int64_t row_stride, int64_t col_stride) {
  // oneDNN wants strides that nest even where an extent of 1 leaves them unread.
  if (cols == 1) col_stride = row_stride == 1 ? rows : 1;
  if (rows == 1) row_stride = col_stride == 1 ? cols : 1;
  const dnnl_dims_t dims = {rows, cols};
  const dnnl_dims_t strides = {row_stride, col_stride};
  dnnl_memory_desc_t desc;
  WEFT_RETURN_IF_ERROR(
      DnnlStatus(dnnl_memory_desc_init_by_strides(&desc, 2, dims, type, strides), "a layout"));
  return desc;
}

// One thread's engine and primitives.
class MatMulCache {
 public:
  absl::StatusOr<MatMul*> Get(const Key& key) {
    auto it = cache_.find(key);
    if (it != cache_.end()) return &it->second;
    if (cache_.size() >= kMostPrimitives) cache_.clear();
    MatMul made;
    WEFT_RETURN_IF_ERROR(Make(key, &made));
    return &(cache_[key] = std::move(made));
  }

  dnnl_stream_t stream() const { return engine_.stream(); }

 private:
  // A model has some dozens of shapes; a bound in case shapes vary without end.
  static constexpr size_t kMostPrimitives = 1024;

  absl::Status Make(const Key& key, MatMul* made) {
    WEFT_RETURN_IF_ERROR(engine_.Start());
    const auto type = static_cast<dnnl_data_type_t>(key[11]);
    WEFT_ASSIGN_OR_RETURN(const dnnl_memory_desc_t a,
                          Describe(dnnl_bf16, key[0], key[2], key[3], key[4]));
    WEFT_ASSIGN_OR_RETURN(const dnnl_memory_desc_t b,
                          Describe(dnnl_bf16, key[2], key[1], key[5], key[6]));
    WEFT_ASSIGN_OR_RETURN(const dnnl_memory_desc_t c,
                          Describe(type, key[0], key[1], key[7], key[8]));
    dnnl_matmul_desc_t desc;
    WEFT_RETURN_IF_ERROR(DnnlStatus(dnnl_matmul_desc_init(&desc, &a, &b, nullptr, &c), "a matmul"));
    dnnl_primitive_attr_t attr;
    WEFT_RETURN_IF_ERROR(DnnlStatus(dnnl_primitive_attr_create(&attr), "matmul attributes"));
    DnnlAttr owned_attr(attr);
    if (key[9]) WEFT_RETURN_IF_ERROR(AddSum(attr));
    const float alpha = static_cast<float>(std::bit_cast<double>(key[10]));
    if (alpha != 1) {
      WEFT_RETURN_IF_ERROR(
          DnnlStatus(dnnl_primitive_attr_set_output_scales(attr, 1, 0, &alpha), "a factor"));
    }
    dnnl_primitive_desc_t primitive_desc;
    WEFT_RETURN_IF_ERROR(DnnlStatus(
        dnnl_primitive_desc_create(&primitive_desc, &desc, attr, engine_.engine(), nullptr),
        "a bf16 matmul"));
    DnnlPrimitiveDesc owned_desc(primitive_desc);
    dnnl_primitive_t primitive;
    WEFT_RETURN_IF_ERROR(
        DnnlStatus(dnnl_primitive_create(&primitive, primitive_desc), "compiling a matmul"));
    made->primitive.reset(primitive);
    WEFT_RETURN_IF_ERROR(engine_.Bind(a, &made->a));
    WEFT_RETURN_IF_ERROR(engine_.Bind(b, &made->b));
    return engine_.Bind(c, &made->c);
  }

  absl::Status AddSum(dnnl_primitive_attr_t attr) {
    dnnl_post_ops_t ops;
    WEFT_RETURN_IF_ERROR(DnnlStatus(dnnl_post_ops_create(&ops), "post-ops"));
    DnnlOwned<dnnl_post_ops_t, dnnl_post_ops_destroy> owned(ops);
    WEFT_RETURN_IF_ERROR(DnnlStatus(dnnl_post_ops_append_sum(ops, 1.0f), "a sum post-op"));
    return DnnlStatus(dnnl_primitive_attr_set_post_ops(attr, ops), "setting post-ops");
  }

  DnnlEngine engine_;
  absl::flat_hash_map<Key, MatMul> cache_;
};

template <typename C>
absl::Status MultiplyAsStored(GemmSize size, double alpha, Matrix<const BFloat16> a,
                              Matrix<const BFloat16> b, bool accumulate, Matrix<C> c) {
  constexpr dnnl_data_type_t kType = std::is_same_v<C, float> ? dnnl_f32 : dnnl_bf16;
  thread_local MatMulCache cache;
  WEFT_ASSIGN_OR_RETURN(
      MatMul * matmul,
      cache.Get({size.m, size.n, size.k, a.row_stride, a.col_stride, b.row_stride, b.col_stride,
                 c.row_stride, c.col_stride, accumulate, std::bit_cast<int64_t>(alpha), kType}));
  WEFT_RETURN_IF_ERROR(DnnlPoint(matmul->a, a.data));
  WEFT_RETURN_IF_ERROR(DnnlPoint(matmul->b, b.data));
  WEFT_RETURN_IF_ERROR(DnnlPoint(matmul->c, c.data));
  const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, matmul->a.get()},
                                  {DNNL_ARG_WEIGHTS, matmul->b.get()},
                                  {DNNL_ARG_DST, matmul->c.get()}};
  WEFT_RETURN_IF_ERROR(DnnlStatus(
      dnnl_primitive_execute(matmul->primitive.get(), cache.stream(), 3, args), "a bf16 matmul"));
  return DnnlStatus(dnnl_stream_wait(cache.stream()), "waiting for a bf16 matmul");
}

template <typename C>
absl::Status Multiply(GemmSize size, double alpha, Matrix<const BFloat16> a,
                      Matrix<const BFloat16> b, bool accumulate, Matrix<C> c) {
  return DnnlComputesBF16() ? MultiplyAsStored(size, alpha, a, b, accumulate, c)
                            : GemmWidened(size, alpha, a, b, accumulate, c);
}

}  // namespace

absl::Status GemmBF16(GemmSize size, double alpha, Matrix<const BFloat16> a,
                      Matrix<const BFloat16> b, bool accumulate, Matrix<BFloat16> c) {
  return Multiply(size, alpha, a, b, accumulate, c);
}

absl::Status GemmBF16(GemmSize size, double alpha, Matrix<const BFloat16> a,
                      Matrix<const BFloat16> b, bool accumulate, Matrix<float> c) {
  return Multiply(size, alpha, a, b, accumulate, c);
}

}  // namespace weft

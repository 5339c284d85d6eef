#include "kernels/cuda_matmul.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/cuda_handles.h"
#include "kernels/cuda_launch.h"
#include "kernels/device_workspace.h"
#include "runtime/status.h"

namespace weft {
namespace {

struct CublasDeleter {
  void operator()(cublasLtMatmulDescOpaque_t* desc) const { cublasLtMatmulDescDestroy(desc); }
  void operator()(cublasLtMatrixLayoutOpaque_t* layout) const {
    cublasLtMatrixLayoutDestroy(layout);
  }
  void operator()(cublasLtMatmulPreferenceOpaque_t* preference) const {
    cublasLtMatmulPreferenceDestroy(preference);
  }
};
template <typename T>
using CublasPtr = std::unique_ptr<T, CublasDeleter>;

absl::Status CublasStatus(cublasStatus_t status, std::string_view what) {
  if (status == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("cuBLASLt, ", std::string(what), ": ",
                                          cublasLtGetStatusString(status), " (",
                                          static_cast<int>(status), ")"));
}

cudaDataType_t CublasType(DType dtype) {
  switch (dtype) {
    case DType::kBF16: return CUDA_R_16BF;
    case DType::kF16: return CUDA_R_16F;
    case DType::kF64: return CUDA_R_64F;
    default: return CUDA_R_32F;
  }
}

// A matrix as cuBLASLt stores it, column by column: `rows` elements in a row of memory, `ld` apart.
struct Stored {
  const void* data;
  DType dtype;
  bool transposed;
  int64_t rows, columns, ld, batch;

  // The largest power of two, at most 256, that divides the addresses of all matrices.
  int64_t alignment() const { return AlignmentOf(data); }
  // The same of other matrices that are stored alike.
  int64_t AlignmentOf(const void* other) const {
    const auto address =
        reinterpret_cast<uintptr_t>(other) | static_cast<uintptr_t>(batch * SizeOf(dtype)) | 256;
    return static_cast<int64_t>(address & (~address + 1));
  }
  std::string ToString() const {
    return absl::StrCat(std::string(Name(dtype)), transposed ? "'" : "", "[ld ", ld, ", batches ",
                        batch, " apart, aligned to ", alignment(), "]");
  }
};

// The matrix [rows, columns] of these strides, stored as it is or transposed.
template <typename Pointer>
Stored StoredOf(const MatmulViewOf<Pointer>& view, int64_t rows, int64_t columns) {
  // A stride along an extent of 1 says nothing.
  const bool by_rows = view.row == 1 && (columns == 1 || rows == 1 || view.column >= rows);
  if (by_rows || (rows == 1 && view.column != 1)) {
    return {view.data, view.dtype, false, rows, columns, columns == 1 ? rows : view.column,
            view.batch};
  }
  return {view.data, view.dtype, true, columns, rows, rows == 1 ? columns : view.row, view.batch};
}

template <typename Pointer>
MatmulViewOf<Pointer> Transposed(const MatmulViewOf<Pointer>& view) {
  return {view.data, view.dtype, view.column, view.row, view.batch};
}

void* AlignedUp(void* scratch) {
  const auto address = reinterpret_cast<uintptr_t>(scratch);
  return static_cast<char*>(scratch) +
         (kMatmulAlignment - address % kMatmulAlignment) % kMatmulAlignment;
}

// One product in cuBLASLt's terms: first [m, k] times second [k, n] plus, unless it is nullptr, an
// addend stored as the result is, which it may be itself; all stored by columns.
class Product {
 public:
  Product(const MatmulSize& size, const Stored& first, const Stored& second, const Stored& result,
          const void* addend, bool tf32)
      : size_(size),
        first_(first),
        second_(second),
        result_(result),
        addend_(addend),
        tf32_(tf32) {}

  ProductKey Key(const CudaHandles& handles, int64_t workspace_bytes) const {
    return {size_.m,
            size_.n,
            size_.k,
            size_.batch,
            first_.ld,
            second_.ld,
            result_.ld,
            first_.batch,
            second_.batch,
            result_.batch,
            first_.alignment(),
            second_.alignment(),
            result_.alignment(),
            result_.AlignmentOf(read()),
            static_cast<int64_t>(first_.dtype),
            static_cast<int64_t>(result_.dtype),
            (first_.transposed ? 1 : 0) + (second_.transposed ? 2 : 0),
            tf32_ ? 1 : 0,
            addend_ != nullptr ? 1 : 0,
            handles.deterministic() ? 1 : 0,
            workspace_bytes,
            handles.multiprocessors()};
  }

  absl::Status Describe() {
    cublasComputeType_t compute = tf32_ ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    if (first_.dtype == DType::kF64) compute = CUBLAS_COMPUTE_64F;
    const cudaDataType_t scale = first_.dtype == DType::kF64 ? CUDA_R_64F : CUDA_R_32F;
    cublasLtMatmulDesc_t desc = nullptr;
    WEFT_RETURN_IF_ERROR(
        CublasStatus(cublasLtMatmulDescCreate(&desc, compute, scale), "description"));
    desc_.reset(desc);
    WEFT_RETURN_IF_ERROR(SetTranspose(CUBLASLT_MATMUL_DESC_TRANSA, first_.transposed));
    WEFT_RETURN_IF_ERROR(SetTranspose(CUBLASLT_MATMUL_DESC_TRANSB, second_.transposed));
    WEFT_RETURN_IF_ERROR(MakeLayout(first_, first_layout_));
    WEFT_RETURN_IF_ERROR(MakeLayout(second_, second_layout_));
    return MakeLayout(result_, result_layout_);
  }

  // Decides once; a plan without an algorithm means that the library has none.
  absl::Status Choose(const CudaHandles& handles, const ProductKey& key, MatmulPlan& plan) {
    const auto measured = handles.algorithms().find(key);
    if (measured != handles.algorithms().end()) {
      plan = PlanFrom(handles.cublas(), key, measured->second);
      if (plan.found) return absl::OkStatus();
    }
    WEFT_ASSIGN_OR_RETURN(const std::vector<MatmulPlan> first, Candidates(handles, key, 1));
    if (!first.empty()) plan = first[0];
    return absl::OkStatus();
  }

  // The plan of an algorithm that comes from elsewhere; not found if the library refuses it.
  MatmulPlan PlanFrom(cublasLtHandle_t handle, const ProductKey& key,
                      const ProductAlgorithm& algorithm) {
    MatmulPlan plan;
    static_assert(sizeof(plan.algorithm) == sizeof(algorithm.words));
    std::memcpy(&plan.algorithm, algorithm.words.data(), sizeof(plan.algorithm));
    cublasLtMatmulHeuristicResult_t checked = {};
    const cublasStatus_t status = cublasLtMatmulAlgoCheck(
        handle, desc_.get(), first_layout_.get(), second_layout_.get(), result_layout_.get(),
        result_layout_.get(), &plan.algorithm, &checked);
    plan.workspace_bytes = static_cast<int64_t>(checked.workspaceSize);
    plan.found = status == CUBLAS_STATUS_SUCCESS && checked.state == CUBLAS_STATUS_SUCCESS &&
                 plan.workspace_bytes <= key[ProductKey::kWorkspace];
    return plan;
  }

  // At most `count` algorithms in the library's order. Behind the first come only such as add up
  // partial sums in the type in which they were formed.
  absl::StatusOr<std::vector<MatmulPlan>> Candidates(const CudaHandles& handles,
                                                     const ProductKey& key, int count) {
    cublasLtMatmulPreference_t made = nullptr;
    WEFT_RETURN_IF_ERROR(CublasStatus(cublasLtMatmulPreferenceCreate(&made), "preference"));
    const CublasPtr<cublasLtMatmulPreferenceOpaque_t> preference(made);
    const auto limit = static_cast<uint64_t>(key[ProductKey::kWorkspace]);
    WEFT_RETURN_IF_ERROR(
        CublasStatus(cublasLtMatmulPreferenceSetAttribute(
                         made, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &limit, sizeof(limit)),
                     "workspace"));
    const struct {
      cublasLtMatmulPreferenceAttributes_t attribute;
      uint32_t bytes;
    } alignments[] = {
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(first_.alignment())},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(second_.alignment())},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
         static_cast<uint32_t>(result_.AlignmentOf(read()))},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(result_.alignment())}};
    for (const auto& [attribute, bytes] : alignments) {
      WEFT_RETURN_IF_ERROR(
          CublasStatus(cublasLtMatmulPreferenceSetAttribute(made, attribute, &bytes, sizeof(bytes)),
                       "alignment"));
    }
    if (key[ProductKey::kDeterministic] != 0) {
      const uint32_t schemes = kWideReductions;
      WEFT_RETURN_IF_ERROR(CublasStatus(
          cublasLtMatmulPreferenceSetAttribute(made, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                               &schemes, sizeof(schemes)),
          "reduction schemes"));
    }
    std::vector<cublasLtMatmulHeuristicResult_t> results(count);
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handles.cublas(), desc_.get(), first_layout_.get(), second_layout_.get(),
        result_layout_.get(), result_layout_.get(), made, count, results.data(), &found);
    if (status != CUBLAS_STATUS_SUCCESS) found = 0;
    std::vector<MatmulPlan> plans;
    for (int i = 0; i < found; ++i) {
      if (results[i].state != CUBLAS_STATUS_SUCCESS) continue;
      if (!plans.empty() && !ReducesWide(results[i].algo)) continue;
      plans.push_back({results[i].algo, static_cast<int64_t>(results[i].workspaceSize), true});
    }
    return plans;
  }

  absl::Status Run(cublasLtHandle_t handle, const MatmulPlan& plan, void* to, void* workspace,
                   cudaStream_t stream) {
    const bool adds = addend_ != nullptr;
    const double ones[2] = {1.0, adds ? 1.0 : 0.0};
    const float floats[2] = {1.0f, adds ? 1.0f : 0.0f};
    const bool wide = first_.dtype == DType::kF64;
    const void* alpha = wide ? static_cast<const void*>(&ones[0]) : &floats[0];
    const void* beta = wide ? static_cast<const void*>(&ones[1]) : &floats[1];
    return CublasStatus(
        cublasLtMatmul(handle, desc_.get(), alpha, first_.data, first_layout_.get(), second_.data,
                       second_layout_.get(), beta, read(), result_layout_.get(), to,
                       result_layout_.get(), &plan.algorithm, workspace,
                       static_cast<size_t>(plan.workspace_bytes), stream),
        absl::StrCat("product of ", size_.m, " x ", size_.n, " x ", size_.k, ", batch ",
                     size_.batch, ", ", first_.ToString(), " ", second_.ToString(), " to ",
                     result_.ToString()));
  }

 private:
  // What beta applies to; cuBLASLt wants an address where it is 0, too.
  const void* read() const { return addend_ == nullptr ? result_.data : addend_; }

  // Partial sums of a product that is split along k are added up in the type in which they were
  // formed, in a fixed order, beside the result.
  static constexpr uint32_t kWideReductions =
      CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  static bool ReducesWide(const cublasLtMatmulAlgo_t& algorithm) {
    uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_MASK;
    size_t written = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoConfigGetAttribute(
        &algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme, sizeof(scheme), &written);
    return status == CUBLAS_STATUS_SUCCESS && (scheme & ~kWideReductions) == 0;
  }

  absl::Status SetTranspose(cublasLtMatmulDescAttributes_t attribute, bool transposed) {
    const cublasOperation_t operation = transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    return CublasStatus(
        cublasLtMatmulDescSetAttribute(desc_.get(), attribute, &operation, sizeof(operation)),
        "transposition");
  }

  absl::Status MakeLayout(const Stored& matrix, CublasPtr<cublasLtMatrixLayoutOpaque_t>& layout) {
    cublasLtMatrixLayout_t made = nullptr;
    WEFT_RETURN_IF_ERROR(
        CublasStatus(cublasLtMatrixLayoutCreate(&made, CublasType(matrix.dtype),
                                                static_cast<uint64_t>(matrix.rows),
                                                static_cast<uint64_t>(matrix.columns), matrix.ld),
                     "layout"));
    layout.reset(made);
    if (size_.batch == 1) return absl::OkStatus();
    const auto count = static_cast<int32_t>(size_.batch);
    WEFT_RETURN_IF_ERROR(
        CublasStatus(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
                                                      &count, sizeof(count)),
                     "batch"));
    return CublasStatus(
        cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                         &matrix.batch, sizeof(matrix.batch)),
        "batch");
  }

  MatmulSize size_;
  Stored first_, second_, result_;
  const void* addend_;
  bool tf32_;
  CublasPtr<cublasLtMatmulDescOpaque_t> desc_;
  CublasPtr<cublasLtMatrixLayoutOpaque_t> first_layout_, second_layout_, result_layout_;
};

Product ProductOf(const CudaHandles& handles, const MatmulSize& size, const MatmulView& a,
                  const MatmulView& b, const void* addend, const MatmulTarget& c) {
  // cuBLASLt writes by columns: a result stored by rows is the transposed product b' a'.
  Stored result = StoredOf(c, size.m, size.n);
  MatmulSize stored_size = size;
  Stored first = StoredOf(a, size.m, size.k), second = StoredOf(b, size.k, size.n);
  if (result.transposed) {
    std::swap(stored_size.m, stored_size.n);
    first = StoredOf(Transposed(b), size.n, size.k);
    second = StoredOf(Transposed(a), size.k, size.m);
    result.transposed = false;
  }
  return Product(stored_size, first, second, result, addend,
                 handles.tf32() && a.dtype == DType::kF32);
}

// The same number of bytes wherever the scratch starts: they belong to the key of the algorithm.
int64_t AlignedBytes(int64_t workspace_bytes) {
  return std::max<int64_t>(workspace_bytes - kMatmulAlignment, 0);
}

}  // namespace

absl::Status MatmulCuda(const KernelContext& context, const MatmulSize& size, const MatmulView& a,
                        const MatmulView& b, const void* addend, const MatmulTarget& c,
                        void* workspace, int64_t workspace_bytes) {
  WEFT_ASSIGN_OR_RETURN(CudaHandles * handles, HandlesOf(context));
  Product product = ProductOf(*handles, size, a, b, addend, c);
  const ProductKey key =
      product.Key(*handles, workspace == nullptr ? 0 : AlignedBytes(workspace_bytes));
  if (handles->listing() != nullptr) {
    handles->listing()->insert(key);
    return absl::OkStatus();
  }
  workspace = AlignedUp(workspace);
  WEFT_RETURN_IF_ERROR(product.Describe());
  const bool known = handles->HasPlan(key);
  MatmulPlan& plan = handles->PlanOf(key);
  if (!known) WEFT_RETURN_IF_ERROR(product.Choose(*handles, key, plan));
  if (!plan.found) return MatmulFallback(context, size, a, b, addend, c);
  return product.Run(handles->cublas(), plan, c.data, workspace, StreamOf(context));
}

absl::StatusOr<std::vector<MatmulPlan>> MatmulCandidates(const KernelContext& context,
                                                         const MatmulSize& size,
                                                         const MatmulView& a, const MatmulView& b,
                                                         const void* addend, const MatmulTarget& c,
                                                         int64_t workspace_bytes, int count) {
  WEFT_ASSIGN_OR_RETURN(CudaHandles * handles, HandlesOf(context));
  Product product = ProductOf(*handles, size, a, b, addend, c);
  WEFT_RETURN_IF_ERROR(product.Describe());
  return product.Candidates(*handles, product.Key(*handles, AlignedBytes(workspace_bytes)), count);
}

absl::StatusOr<bool> MatmulAccepts(const KernelContext& context, const MatmulSize& size,
                                   const MatmulView& a, const MatmulView& b, const void* addend,
                                   const MatmulTarget& c, int64_t workspace_bytes,
                                   const ProductAlgorithm& algorithm) {
  WEFT_ASSIGN_OR_RETURN(CudaHandles * handles, HandlesOf(context));
  Product product = ProductOf(*handles, size, a, b, addend, c);
  WEFT_RETURN_IF_ERROR(product.Describe());
  const ProductKey key = product.Key(*handles, AlignedBytes(workspace_bytes));
  return product.PlanFrom(handles->cublas(), key, algorithm).found;
}

}  // namespace weft

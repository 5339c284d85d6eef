// rope on CUDA (cuda_rope.h).
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_index_set.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_rope.h"
#include "runtime/status.h"

namespace weft {
namespace {

template <typename T>
absl::Status Rope(const KernelContext& c) {
  const Operand &x = c.in(0), &y = c.out(0);
  const RopeSize size{x.shape[0], x.shape[1], x.shape[2], x.shape[3] / 2};
  if (y.elements() == 0) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(const CudaIndexSet positions, CudaIndexSet::Of(x.box->dims[1]));
  constexpr int N = kPackOf<T>;
  const bool packs = size.half % N == 0 && AlignedToPack(x.data, y.data);
  const bool interleaved = c.attrs->Bool("interleaved");
  const auto kernel = packs ? (interleaved ? &RopeKernel<N, true, T> : &RopeKernel<N, false, T>)
                            : (interleaved ? &RopeKernel<1, true, T> : &RopeKernel<1, false, T>);
  const int64_t heads = size.batch * size.heads;
  if (heads > std::numeric_limits<int>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("rope of ", heads, " heads a position; CUDA takes 2^31 - 1"));
  }
  const LaunchShape shape{GridForAll(size.rows, 1), RopeBlock(size.half / (packs ? N : 1), heads),
                          2 * size.half * static_cast<int64_t>(sizeof(WideOf<T>))};
  const double exponent = -std::log2(c.attrs->Float("theta")) / static_cast<double>(size.half);
  return Launch(c, kernel, shape, x.as<T>(), y.as<T>(), size, positions, exponent,
                c.attrs->Bool("inverse"));
}

absl::Status RopeCuda(const KernelContext& c) {
  return DispatchCudaFloat(c.in(0).dtype(), [&](auto t) { return Rope<decltype(t)>(c); });
}

}  // namespace

void AddRopeCuda(KernelTable& kernels) { kernels.Add("rope", RopeCuda); }

}  // namespace weft

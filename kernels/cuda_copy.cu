#include "kernels/cuda_copy.h"

#include <utility>

#include "kernels/cuda_element.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_strided.h"
#include "kernels/movement.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr int kTile = 32;
constexpr int kTileRows = 8;

template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    CopyKernel(const T* from, T* to, CudaSpace<2> space) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < space.elements;
       i += step) {
    int64_t at[2];
    space.Offsets(i, at);
    to[at[1]] = from[at[0]];
  }
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    AddKernel(const T* from, T* to, CudaSpace<2> space) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < space.elements;
       i += step) {
    int64_t at[2];
    space.Offsets(i, at);
    to[at[1]] = Narrow<T>(Widen(to[at[1]]) + Widen(from[at[0]]));
  }
}

// A matrix whose rows are contiguous in `from` and whose columns are contiguous in `to`, or many of
// them (`others`): tiles go through shared memory, so that both sides are read and written in rows.
template <typename T>
__global__ void __launch_bounds__(kTile* kTileRows)
    TransposeKernel(const T* from, T* to, int64_t rows, int64_t columns, int64_t from_row,
                    int64_t to_column, CudaSpace<2> others) {
  __shared__ T tile[kTile][kTile + 1];
  const int64_t column_tiles = (columns + kTile - 1) / kTile;
  const int64_t tiles = (rows + kTile - 1) / kTile * column_tiles * others.elements;
  for (int64_t t = blockIdx.x; t < tiles; t += gridDim.x) {
    const int64_t row = t / column_tiles % ((rows + kTile - 1) / kTile) * kTile;
    const int64_t column = t % column_tiles * kTile;
    int64_t at[2];
    others.Offsets(t / (tiles / others.elements), at);
    for (int i = threadIdx.y; i < kTile; i += kTileRows) {
      if (row + i < rows && column + threadIdx.x < columns) {
        tile[i][threadIdx.x] = from[at[0] + (row + i) * from_row + column + threadIdx.x];
      }
    }
    __syncthreads();
    for (int i = threadIdx.y; i < kTile; i += kTileRows) {
      if (column + i < columns && row + threadIdx.x < rows) {
        to[at[1] + (column + i) * to_column + row + threadIdx.x] = tile[threadIdx.x][i];
      }
    }
    __syncthreads();
  }
}

// The dimension with unit stride in operand k, or -1.
int UnitDim(const CudaSpace<2>& space, int k) {
  for (int d = 0; d < space.rank; ++d) {
    if (space.strides[k][d] == 1) return d;
  }
  return -1;
}

template <typename T>
absl::Status CopyAs(const KernelContext& c, const void* from, void* to, CudaSpace<2> space) {
  const int in = UnitDim(space, 0), out = UnitDim(space, 1);
  if (in >= 0 && out >= 0 && in != out && space.extents[in] >= 8 && space.extents[out] >= 8) {
    CudaSpace<2> others;
    for (int d = 0; d < space.rank; ++d) {
      if (d == in || d == out) continue;
      others.extents[others.rank] = space.extents[d];
      for (int k = 0; k < 2; ++k) others.strides[k][others.rank] = space.strides[k][d];
      others.elements *= space.extents[d];
      ++others.rank;
    }
    const int64_t rows = space.extents[out], columns = space.extents[in];
    const int64_t tiles =
        (rows + kTile - 1) / kTile * ((columns + kTile - 1) / kTile) * others.elements;
    return Launch(c, &TransposeKernel<T>, {GridFor(tiles, 1), dim3(kTile, kTileRows)},
                  static_cast<const T*>(from), static_cast<T*>(to), rows, columns,
                  space.strides[0][out], space.strides[1][in], others);
  }
  return Launch(c, &CopyKernel<T>, {GridFor(space.elements), kBlockThreads},
                static_cast<const T*>(from), static_cast<T*>(to), space);
}

// Doubles the size of elements while both sides hold them in aligned pairs. The innermost dimension
// must be contiguous on both sides.
int64_t InPairs(CudaSpace<2>& space, int64_t bytes, const void* from, const void* to) {
  const int last = space.rank - 1;
  if (last < 0 || space.strides[0][last] != 1 || space.strides[1][last] != 1) return bytes;
  while (bytes < 16 && space.extents[last] % 2 == 0 &&
         reinterpret_cast<uintptr_t>(from) % (2 * bytes) == 0 &&
         reinterpret_cast<uintptr_t>(to) % (2 * bytes) == 0) {
    for (int d = 0; d < last; ++d) {
      if (space.strides[0][d] % 2 != 0 || space.strides[1][d] % 2 != 0) return bytes;
    }
    for (int d = 0; d < last; ++d) {
      for (int k = 0; k < 2; ++k) space.strides[k][d] /= 2;
    }
    space.extents[last] /= 2;
    space.elements /= 2;
    bytes *= 2;
  }
  return bytes;
}

}  // namespace

absl::Status CopyStridedCuda(const KernelContext& c, int64_t element_bytes, const void* from,
                             const Shape& from_strides, void* to, const Shape& to_strides,
                             absl::Span<const int64_t> shape) {
  WEFT_ASSIGN_OR_RETURN(CudaSpace<2> space, MakeCudaSpace<2>(shape, {from_strides, to_strides}));
  if (space.elements == 0) return absl::OkStatus();
  const bool one_row =
      space.rank == 0 || (space.rank == 1 && space.strides[0][0] == 1 && space.strides[1][0] == 1);
  if (one_row) {
    if (from == to || OnlyLists(c)) return absl::OkStatus();
    return CudaStatus(cudaMemcpyAsync(to, from, space.elements * element_bytes,
                                      cudaMemcpyDeviceToDevice, StreamOf(c)),
                      "copy on the device");
  }
  switch (InPairs(space, element_bytes, from, to)) {
    case 1: return CopyAs<uint8_t>(c, from, to, space);
    case 2: return CopyAs<uint16_t>(c, from, to, space);
    case 4: return CopyAs<uint32_t>(c, from, to, space);
    case 8: return CopyAs<uint64_t>(c, from, to, space);
    case 16: return CopyAs<Pack<uint64_t, 2>>(c, from, to, space);
    default: return absl::UnimplementedError(absl::StrCat("elements of ", element_bytes, " bytes"));
  }
}

absl::Status AddStridedCuda(const KernelContext& c, DType dtype, const void* from,
                            const Shape& from_strides, void* to, const Shape& to_strides,
                            absl::Span<const int64_t> shape) {
  WEFT_ASSIGN_OR_RETURN(const CudaSpace<2> space,
                        MakeCudaSpace<2>(shape, {from_strides, to_strides}));
  return DispatchCudaFloat(dtype, [&](auto t) {
    using T = decltype(t);
    return Launch(c, &AddKernel<T>, {GridFor(space.elements), kBlockThreads},
                  static_cast<const T*>(from), static_cast<T*>(to), space);
  });
}

}  // namespace weft

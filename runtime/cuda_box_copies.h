// CudaBoxCopies: copies between boxes of device memory, by kernels that read their tables there.
#pragma once

#include <memory>
#include <vector>

#include "runtime/arena.h"
#include "runtime/cuda_box_kernels.h"
#include "runtime/device.h"

namespace weft {

class CudaBoxCopies final : public DeviceBoxCopies {
 public:
  // Tables in memory of `device`. Blocks. InvalidArgument for boxes of more dimensions that cannot
  // be merged than the kernels take; the device's errors.
  static absl::StatusOr<std::unique_ptr<DeviceBoxCopies>> Make(Device& device,
                                                               absl::Span<const BoxCopy> copies);

  absl::Status Copy(int index, const void* from, void* to, void* native_stream) override;
  absl::Status Combine(int index, Monoid monoid, const void* from, void* to,
                       void* native_stream) override;
  absl::Status CopyAndCombine(int first, const void* from_first, int second, Monoid monoid,
                              const void* from_second, void* to, void* native_stream) override;

 private:
  struct Prepared {
    CudaBoxTable elements;  // items are elements, for Combine
    CudaBoxTable items;     // as large as alignment allows, for Copy
    int item_bytes = 1;
    DType dtype = DType::kF32;
    int64_t bytes = 0;
    bool contiguous = false;  // one run on both sides
    int64_t from_offset = 0;
    int64_t to_offset = 0;

    const std::byte* From(const void* from) const {
      return static_cast<const std::byte*>(from) + from_offset;
    }
  };

  CudaBoxCopies() = default;

  std::vector<Prepared> copies_;
  Arena runs_;
};

}  // namespace weft

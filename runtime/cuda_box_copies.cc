#include "runtime/cuda_box_copies.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "runtime/cuda_status.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr int64_t kLargestItem = 16;

// Whether everything about the copy is a multiple of `bytes`, which is a multiple of an element.
bool Divides(int64_t bytes, const BoxCopy& copy) {
  const absl::Span<const BoxCopy::Level> levels = copy.levels();
  for (size_t l = 0; l < levels.size(); ++l) {
    const bool inner = l + 1 == levels.size();
    if (!inner && (levels[l].from_stride % bytes != 0 || levels[l].to_stride % bytes != 0)) {
      return false;
    }
    if (!inner) continue;
    const int64_t elements = bytes / SizeOf(copy.dtype());
    for (const BoxCopy::Run& run : levels[l].runs) {
      if (run.from % elements != 0 || run.to % elements != 0 || run.count % elements != 0) {
        return false;
      }
    }
  }
  return true;
}

// Appends the runs; `scale` elements of the innermost level make an item.
CudaBoxTable TableOf(const BoxCopy& copy, int64_t scale, std::vector<CudaBoxRun>& runs) {
  CudaBoxTable table;
  const absl::Span<const BoxCopy::Level> levels = copy.levels();
  table.levels = static_cast<int>(levels.size());
  table.items = levels.empty() ? 0 : 1;
  for (size_t l = 0; l < levels.size(); ++l) {
    const int64_t divisor = l + 1 == levels.size() ? scale : 1;
    CudaBoxTable::Level& level = table.level[l];
    level.from_stride = levels[l].from_stride * divisor;
    level.to_stride = levels[l].to_stride * divisor;
    level.first_run = static_cast<int32_t>(runs.size());
    level.runs = static_cast<int32_t>(levels[l].runs.size());
    for (const BoxCopy::Run& run : levels[l].runs) {
      runs.push_back({level.count, run.from / divisor, run.to / divisor});
      level.count += run.count / divisor;
    }
    table.items *= level.count;
  }
  return table;
}

bool Aligned(const void* address, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(address) % static_cast<uintptr_t>(bytes) == 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceBoxCopies>> CudaBoxCopies::Make(
    Device& device, absl::Span<const BoxCopy> copies) {
  std::unique_ptr<CudaBoxCopies> made(new CudaBoxCopies());
  std::vector<CudaBoxRun> runs;
  for (const BoxCopy& copy : copies) {
    if (copy.levels().size() > CudaBoxTable::kMostLevels) {
      return absl::InvalidArgumentError(absl::StrCat("a copy between boxes cut along more than ",
                                                     CudaBoxTable::kMostLevels,
                                                     " dimensions is not built for CUDA"));
    }
    WEFT_RETURN_IF_ERROR(CudaStatus(LoadBoxKernels(copy.dtype()), "loading kernels"));
    Prepared& prepared = made->copies_.emplace_back();
    prepared.dtype = copy.dtype();
    prepared.bytes = copy.bytes();
    prepared.contiguous = copy.from_contiguous() && copy.to_contiguous();
    prepared.from_offset = copy.from_offset();
    prepared.to_offset = copy.to_offset();
    const int64_t element = SizeOf(copy.dtype());
    int64_t item = kLargestItem;
    while (item > element && !Divides(item, copy)) item /= 2;
    prepared.item_bytes = static_cast<int>(item);
    prepared.elements = TableOf(copy, 1, runs);
    prepared.items = TableOf(copy, item / element, runs);
  }
  const int64_t bytes = static_cast<int64_t>(runs.size() * sizeof(CudaBoxRun));
  WEFT_ASSIGN_OR_RETURN(made->runs_, device.Allocate(bytes));
  WEFT_RETURN_IF_ERROR(device.Write(made->runs_.data(), runs.data(), bytes));
  const auto* there = reinterpret_cast<const CudaBoxRun*>(made->runs_.data());
  for (Prepared& prepared : made->copies_) prepared.elements.runs = prepared.items.runs = there;
  return made;
}

absl::Status CudaBoxCopies::Copy(int index, const void* from, void* to, void* native_stream) {
  const Prepared& copy = copies_[index];
  const auto stream = static_cast<cudaStream_t>(native_stream);
  if (copy.bytes == 0) return absl::OkStatus();
  if (copy.contiguous) {
    const std::byte* source = copy.From(from);
    auto* target = static_cast<std::byte*>(to) + copy.to_offset;
    if (source == target) return absl::OkStatus();
    return CudaStatus(cudaMemcpyAsync(target, source, copy.bytes, cudaMemcpyDeviceToDevice, stream),
                      "copying on the device");
  }
  const bool aligned = Aligned(from, copy.item_bytes) && Aligned(to, copy.item_bytes);
  const int element = static_cast<int>(SizeOf(copy.dtype));
  return CudaStatus(LaunchBoxCopy(aligned ? copy.items : copy.elements,
                                  aligned ? copy.item_bytes : element, from, to, stream),
                    "copying between boxes");
}

absl::Status CudaBoxCopies::Combine(int index, Monoid monoid, const void* from, void* to,
                                    void* native_stream) {
  const Prepared& copy = copies_[index];
  const auto stream = static_cast<cudaStream_t>(native_stream);
  if (copy.contiguous) {
    auto* const target = static_cast<std::byte*>(to) + copy.to_offset;
    return CudaStatus(LaunchCombine(copy.dtype, monoid, target, copy.From(from), target,
                                    copy.bytes / SizeOf(copy.dtype), stream),
                      "combining between boxes");
  }
  return CudaStatus(LaunchBoxCombine(copy.elements, copy.dtype, monoid, from, to, stream),
                    "combining between boxes");
}

absl::Status CudaBoxCopies::CopyAndCombine(int first, const void* from_first, int second,
                                           Monoid monoid, const void* from_second, void* to,
                                           void* native_stream) {
  const Prepared& one = copies_[first];
  const Prepared& other = copies_[second];
  if (!one.contiguous || !other.contiguous || one.to_offset != other.to_offset ||
      one.bytes != other.bytes || one.dtype != other.dtype) {
    return DeviceBoxCopies::CopyAndCombine(first, from_first, second, monoid, from_second, to,
                                           native_stream);
  }
  return CudaStatus(
      LaunchCombine(one.dtype, monoid, one.From(from_first), other.From(from_second),
                    static_cast<std::byte*>(to) + one.to_offset, one.bytes / SizeOf(one.dtype),
                    static_cast<cudaStream_t>(native_stream)),
      "combining between boxes");
}

}  // namespace weft

#include "runtime/arena.h"

#include <sys/mman.h>

#include "absl/strings/str_cat.h"

namespace weft {
namespace {

constexpr int64_t kHugePage = 2 << 20;

// Where arenas of no bytes are.
alignas(Arena::kAlignment) std::byte nothing[Arena::kAlignment];

}  // namespace

absl::StatusOr<Arena> Arena::Allocate(int64_t bytes) {
  if (bytes < 0) {
    return absl::InvalidArgumentError(absl::StrCat("an arena of ", bytes, " bytes"));
  }
  if (bytes == 0) return Adopt(nothing, 0, [](void*, int64_t) {});
  void* data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for an arena of ", bytes, " bytes"));
  }
  if (bytes >= kHugePage) madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  return Adopt(data, bytes,
               [](void* memory, int64_t size) { munmap(memory, static_cast<size_t>(size)); });
}

}  // namespace weft

#include "actors/workspace.h"

#include "absl/strings/str_cat.h"

namespace weft {

absl::StatusOr<std::byte*> WorkspaceAt(const Arena& arena, int64_t offset, int64_t bytes,
                                       int64_t needed) {
  if (bytes < 0 || offset < 0 || offset > arena.bytes() || bytes > arena.bytes() - offset) {
    return absl::InvalidArgumentError(absl::StrCat("a workspace of ", bytes, " bytes at ", offset,
                                                   " exceeds the arena of ", arena.bytes()));
  }
  if (bytes < needed) {
    return absl::InvalidArgumentError(
        absl::StrCat("a workspace of ", bytes, " bytes where ", needed, " are needed"));
  }
  return bytes == 0 ? nullptr : arena.data() + offset;
}

}  // namespace weft

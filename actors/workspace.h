// Workspace: the scratch memory that a plan gives to one call or conversion.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "runtime/arena.h"

namespace weft {

// The address of `bytes` bytes at `offset` of the arena; nullptr if there are none. InvalidArgument
// if they exceed the arena or are fewer than `needed`.
absl::StatusOr<std::byte*> WorkspaceAt(const Arena& arena, int64_t offset, int64_t bytes,
                                       int64_t needed);

}  // namespace weft

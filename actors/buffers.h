// Buffers: where each of a plan's tensors lies on this rank, slot by slot.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/arena.h"
#include "runtime/box.h"
#include "runtime/plan.pb.h"
#include "runtime/tensor_spec.h"

namespace weft {

// One BufferDef with its addresses. Immutable after loading; the arena or the Session owns the memory.
struct Buffer {
  std::string name;
  TensorSpec logical;
  Box box;
  Shape shape;               // local
  std::vector<void*> slots;  // one address per slot
};

// Answers the memory of a variable, nullptr if there is none of that name; it holds the box that the
// plan states.
using VariableLookup = std::function<void*(std::string_view name)>;

// Loads the plan's buffers. `variables` may be empty if the plan names none. Errors name the buffer:
// InvalidArgument for a bad dtype, box or offset, NotFound for a variable nobody has.
absl::StatusOr<std::vector<Buffer>> LoadBuffers(const Plan& plan, const Arena& arena,
                                                const VariableLookup& variables);

}  // namespace weft

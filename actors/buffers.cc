#include "actors/buffers.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/box_proto.h"
#include "runtime/status.h"

namespace weft {
namespace {

absl::Status CheckWithin(const Box& box, const Shape& shape) {
  if (box.dims.size() != shape.size()) {
    return absl::InvalidArgumentError(absl::StrCat("box ", box.ToString(), " of a tensor of shape ",
                                                   ToString(shape)));
  }
  for (size_t d = 0; d < shape.size(); ++d) {
    const auto intervals = box.dims[d].intervals();
    if (!intervals.empty() && intervals.back().end > shape[d]) {
      return absl::InvalidArgumentError(
          absl::StrCat("box ", box.ToString(), " exceeds the shape ", ToString(shape)));
    }
  }
  return absl::OkStatus();
}

// Bytes of a dense buffer; false if the number does not fit.
bool BytesOf(const Shape& shape, DType dtype, int64_t* bytes) {
  *bytes = SizeOf(dtype);
  for (int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(*bytes, extent, bytes)) return false;
  }
  return true;
}

absl::StatusOr<Buffer> Load(const BufferDef& def, const Arena& arena,
                            const VariableLookup& variables) {
  Buffer buffer;
  buffer.name = def.name();
  if (def.dtype() < 0 || def.dtype() > static_cast<int>(DType::kBool)) {
    return absl::InvalidArgumentError(absl::StrCat("dtype ", def.dtype()));
  }
  buffer.logical.dtype = static_cast<DType>(def.dtype());
  buffer.logical.shape.assign(def.shape().begin(), def.shape().end());
  WEFT_ASSIGN_OR_RETURN(buffer.box, FromProto(def.box()));
  WEFT_RETURN_IF_ERROR(CheckWithin(buffer.box, buffer.logical.shape));
  buffer.shape = buffer.box.shape();
  int64_t bytes = 0;
  if (!BytesOf(buffer.shape, buffer.logical.dtype, &bytes)) {
    return absl::InvalidArgumentError(absl::StrCat("shape ", ToString(buffer.shape)));
  }
  if (!def.variable().empty()) {
    if (def.offsets_size() > 0) {
      return absl::InvalidArgumentError("a variable with offsets in the arena");
    }
    void* memory = variables ? variables(def.variable()) : nullptr;
    if (memory == nullptr) {
      return absl::NotFoundError(absl::StrCat("there is no variable `", def.variable(), "`"));
    }
    buffer.slots.push_back(memory);
    return buffer;
  }
  if (def.offsets_size() == 0) return absl::InvalidArgumentError("neither offsets nor a variable");
  for (int64_t offset : def.offsets()) {
    if (offset < 0 || offset > arena.bytes() || bytes > arena.bytes() - offset) {
      return absl::InvalidArgumentError(absl::StrCat(bytes, " bytes at ", offset,
                                                     " exceed the arena of ", arena.bytes()));
    }
    buffer.slots.push_back(arena.data() + offset);
  }
  return buffer;
}

}  // namespace

absl::StatusOr<std::vector<Buffer>> LoadBuffers(const Plan& plan, const Arena& arena,
                                                const VariableLookup& variables) {
  std::vector<Buffer> buffers;
  buffers.reserve(plan.buffers_size());
  for (const BufferDef& def : plan.buffers()) {
    absl::StatusOr<Buffer> buffer = Load(def, arena, variables);
    if (!buffer.ok()) {
      return Annotate(buffer.status(), absl::StrCat("buffer `", def.name(), "`"));
    }
    buffers.push_back(*std::move(buffer));
  }
  return buffers;
}

}  // namespace weft

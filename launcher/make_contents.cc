#include "launcher/make_contents.h"

#include <algorithm>
#include <cstddef>
#include <thread>
#include <vector>

#include "absl/types/span.h"

namespace weft {
namespace {

// Below this a thread costs more than it saves.
constexpr int64_t kElementsForAThread = int64_t{1} << 18;

absl::Status MakePart(Kernel kernel, const Attrs& attrs, const Operand& output) {
  KernelContext context;
  context.outputs = absl::MakeConstSpan(&output, 1);
  context.attrs = &attrs;
  return kernel(context);
}

}  // namespace

absl::Status MakeContents(Kernel kernel, const Attrs& attrs, const Operand& output, int threads) {
  // Parts are ranges of the first dimension that has several indices, so each is dense.
  size_t dim = 0;
  while (dim < output.shape.size() && output.shape[dim] == 1) ++dim;
  const int64_t extent = dim < output.shape.size() ? output.shape[dim] : 1;
  const int64_t parts = std::min({static_cast<int64_t>(threads), extent,
                                  output.elements() / kElementsForAThread});
  if (parts <= 1) return MakePart(kernel, attrs, output);
  const int64_t row_bytes = output.elements() / extent * SizeOf(output.dtype());
  std::vector<absl::Status> statuses(parts);
  std::vector<std::thread> workers;
  for (int64_t p = 0; p < parts; ++p) {
    workers.emplace_back([&, p] {
      const int64_t begin = extent * p / parts, end = extent * (p + 1) / parts;
      Box box = *output.box;
      box.dims[dim] = box.dims[dim].Slice({begin, end});
      Operand part = output;
      part.data = output.as<std::byte>() + begin * row_bytes;
      part.box = &box;
      part.shape[dim] = end - begin;
      statuses[p] = MakePart(kernel, attrs, part);
    });
  }
  for (std::thread& worker : workers) worker.join();
  for (const absl::Status& status : statuses) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace weft

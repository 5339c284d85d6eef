#include "launcher/memory_holders.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/box_proto.h"
#include "runtime/tensor_spec.h"

namespace weft {
namespace {

Shape LocalShape(const BoxDef& box) {
  Shape shape;
  for (const IndexSetDef& dim : box.dims()) {
    int64_t size = 0;
    for (int i = 0; i + 1 < dim.bounds_size(); i += 2) size += dim.bounds(i + 1) - dim.bounds(i);
    shape.push_back(size);
  }
  return shape;
}

// First writer and last readers of every buffer.
class Lives {
 public:
  explicit Lives(const Plan& plan) : writer_(plan.buffers_size()), readers_(plan.buffers_size()) {
    for (int stream = 0; stream < plan.streams_size(); ++stream) {
      for (int a : plan.streams(stream).order()) Visit(plan.actors(a), stream);
    }
  }
  const std::string& writer(int buffer) const { return writer_[buffer]; }
  std::string readers(int buffer) const {
    return absl::StrJoin(readers_[buffer], ", ", [](std::string* out, const auto& reader) {
      absl::StrAppend(out, reader.second);
    });
  }

 private:
  void Write(int buffer, const std::string& by) {
    if (buffer >= 0 && writer_[buffer].empty()) writer_[buffer] = by;
  }
  void Read(int buffer, int stream, const std::string& by) {
    if (buffer >= 0) readers_[buffer][stream] = by;
  }
  void Visit(const ActorDef& actor, int stream) {
    switch (actor.kind_case()) {
      case ActorDef::kCompute:
        for (const KernelCallDef& call : actor.compute().calls()) {
          for (const OperandDef& in : call.inputs()) Read(in.buffer(), stream, call.name());
          for (const OperandDef& out : call.outputs()) Write(out.buffer(), call.name());
        }
        return;
      case ActorDef::kAllReduce:
        Read(actor.all_reduce().input().buffer(), stream, actor.name());
        return Write(actor.all_reduce().output().buffer(), actor.name());
      case ActorDef::kExchange:
        Read(actor.exchange().input().buffer(), stream, actor.name());
        return Write(actor.exchange().output().buffer(), actor.name());
      case ActorDef::kFeed: return Write(actor.feed().output().buffer(), actor.name());
      case ActorDef::kFetch: return Read(actor.fetch().input().buffer(), stream, actor.name());
      case ActorDef::KIND_NOT_SET: return;
    }
  }

  std::vector<std::string> writer_;
  std::vector<std::map<int, std::string>> readers_;  // by stream
};

// The kernel or conversion that needs the most scratch, which all share.
MemoryHolder Workspace(const Plan& plan) {
  MemoryHolder holder{.name = "workspace", .part = "bytes", .from = "always"};
  const auto see = [&holder](int64_t bytes, const std::string& name) {
    if (bytes <= holder.bytes) return;
    holder.bytes = bytes;
    holder.name = absl::StrCat("workspace, most for ", name);
  };
  for (const ActorDef& actor : plan.actors()) {
    for (const KernelCallDef& call : actor.compute().calls()) {
      see(call.workspace_bytes(), call.name());
    }
    see(actor.all_reduce().workspace_bytes(), actor.name());
    see(actor.exchange().workspace_bytes(), actor.name());
  }
  return holder;
}

}  // namespace

std::vector<MemoryHolder> MemoryHolders(const Plan& plan) {
  const Lives lives(plan);
  std::vector<MemoryHolder> holders = {Workspace(plan)};
  for (int b = 0; b < plan.buffers_size(); ++b) {
    const BufferDef& buffer = plan.buffers(b);
    const DType dtype = static_cast<DType>(buffer.dtype());
    const TensorSpec local{LocalShape(buffer.box()), dtype};
    const Shape whole(buffer.shape().begin(), buffer.shape().end());
    MemoryHolder holder;
    holder.buffer = b;
    holder.slots = std::max(1, buffer.offsets_size());
    holder.bytes = local.bytes() * holder.slots;
    holder.name = buffer.name();
    holder.part = local.shape == whole ? local.ToString()
                                       : absl::StrCat(local.ToString(), " of ", ToString(whole));
    holder.from = buffer.variable().empty() ? lives.writer(b) : "always";
    holder.until = buffer.variable().empty() ? lives.readers(b) : "";
    holders.push_back(std::move(holder));
  }
  std::stable_sort(holders.begin(), holders.end(),
                   [](const MemoryHolder& a, const MemoryHolder& b) { return a.bytes > b.bytes; });
  return holders;
}

int64_t BoxBytes(const BufferDef& buffer) {
  return TensorSpec{LocalShape(buffer.box()), static_cast<DType>(buffer.dtype())}.bytes();
}

int64_t VariableBytes(const Plan& plan) {
  int64_t bytes = 0;
  for (const BufferDef& buffer : plan.buffers()) {
    if (buffer.variable().empty()) continue;
    bytes += BoxBytes(buffer);
  }
  return bytes;
}

}  // namespace weft

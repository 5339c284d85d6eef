#include "launcher/variable_store.h"

#include "absl/strings/str_cat.h"
#include "runtime/status.h"

namespace weft {

absl::StatusOr<VariableStore::Entry*> VariableStore::Add(const std::string& name,
                                                         const TensorSpec& spec, const Box& box,
                                                         bool* added) {
  auto it = entries_.find(name);
  *added = it == entries_.end();
  if (!*added) {
    Entry& entry = it->second;
    if (!(entry.spec == spec) || !(entry.box == box)) {
      return absl::FailedPreconditionError(absl::StrCat(
          "variable '", name, "' is ", entry.spec.ToString(), " with part ", entry.box.ToString(),
          " here, but this graph has it as ", spec.ToString(), " with part ", box.ToString()));
    }
    return &entry;
  }
  WEFT_ASSIGN_OR_RETURN(Arena memory, device_.Allocate(box.elements() * SizeOf(spec.dtype)));
  Entry entry{spec, box, std::move(memory)};
  return &entries_.emplace(name, std::move(entry)).first->second;
}

absl::StatusOr<const std::byte*> VariableStore::Contents(const Entry& entry, Arena& copy) const {
  if (device_.queue() == nullptr) return entry.memory.data();
  WEFT_ASSIGN_OR_RETURN(copy, Arena::Allocate(entry.memory.bytes()));
  WEFT_RETURN_IF_ERROR(device_.Read(copy.data(), entry.memory.data(), entry.memory.bytes()));
  return copy.data();
}

absl::Status VariableStore::SetContents(Entry& entry, const void* contents) {
  return device_.Write(entry.memory.data(), contents, entry.memory.bytes());
}

VariableStore::Entry* VariableStore::Find(std::string_view name) {
  auto it = entries_.find(name);
  return it == entries_.end() ? nullptr : &it->second;
}

int64_t VariableStore::bytes() const {
  int64_t bytes = 0;
  for (const auto& [name, entry] : entries_) bytes += entry.memory.bytes();
  return bytes;
}

}  // namespace weft

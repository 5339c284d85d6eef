// VariableStore: one rank's part of every named buffer that outlives a step. Several plans (train,
// evaluate, generate) bind the same store.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "runtime/arena.h"
#include "runtime/box.h"
#include "runtime/cpu_device.h"
#include "runtime/device.h"
#include "runtime/kernel.h"
#include "runtime/tensor_spec.h"

namespace weft {

// Single-threaded while variables are added; the memory itself belongs to whichever plan runs.
class VariableStore {
 public:
  struct Entry {
    TensorSpec spec;  // logical
    Box box;          // this rank's part
    Arena memory;     // of the device; dense over box.shape()

    // The variable as an operand; borrows from the entry.
    Operand operand() const { return {memory.data(), &spec, &box, box.shape()}; }
  };

  // On `device`, which outlives the store; null: the CPU.
  explicit VariableStore(Device* device = nullptr) : device_(device != nullptr ? *device : cpu_) {}
  VariableStore(const VariableStore&) = delete;
  VariableStore& operator=(const VariableStore&) = delete;

  // Adds a zeroed variable, or finds it again: then spec and box must be as before (the error names
  // both, since two plans disagree about where the variable lies). `added` tells which.
  absl::StatusOr<Entry*> Add(const std::string& name, const TensorSpec& spec, const Box& box,
                             bool* added);
  // The contents in host memory: where they lie if that is there, else in `copy`, which they fill.
  absl::StatusOr<const std::byte*> Contents(const Entry& entry, Arena& copy) const;
  // Replaces them by as many bytes of host memory.
  absl::Status SetContents(Entry& entry, const void* contents);
  // nullptr if there is none of that name.
  Entry* Find(std::string_view name);
  // Memory held, in bytes.
  int64_t bytes() const;
  // In name order.
  std::map<std::string, Entry, std::less<>>& entries() { return entries_; }

 private:
  CpuDevice cpu_;
  Device& device_;
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace weft

// VariableStore: one rank's part of every named buffer that outlives a step. Several plans (train,
// evaluate, generate) bind the same store.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "runtime/arena.h"
#include "runtime/box.h"
#include "runtime/kernel.h"
#include "runtime/tensor_spec.h"

namespace weft {

// Single-threaded while variables are added; the memory itself belongs to whichever plan runs.
class VariableStore {
 public:
  struct Entry {
    TensorSpec spec;  // logical
    Box box;          // this rank's part
    Arena memory;     // dense over box.shape()

    // The variable as an operand; borrows from the entry.
    Operand operand() const { return {memory.data(), &spec, &box, box.shape()}; }
  };

  // Adds a zeroed variable, or finds it again: then spec and box must be as before (the error names
  // both, since two plans disagree about where the variable lies). `added` tells which.
  absl::StatusOr<Entry*> Add(const std::string& name, const TensorSpec& spec, const Box& box,
                             bool* added);
  // nullptr if there is none of that name.
  Entry* Find(std::string_view name);
  // Memory held, in bytes.
  int64_t bytes() const;
  // In name order.
  std::map<std::string, Entry, std::less<>>& entries() { return entries_; }

 private:
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace weft

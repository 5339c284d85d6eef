// Value: a handle to one tensor of a graph under construction; an index, valid for that graph only.
#pragma once

namespace weft {

struct Value {
  int id = -1;  // -1: no value (an absent optional operand, a missing gradient)
  explicit operator bool() const { return id >= 0; }
  friend bool operator==(const Value&, const Value&) = default;
};

}  // namespace weft

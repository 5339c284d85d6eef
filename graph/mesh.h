// Mesh: ranks as a grid with named axes. Every value of a graph names the mesh it lies on; a
// pipeline stage is a sub-mesh with explicit ranks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace weft {

// Whether an axis of this name splits the sequence: "seq", or "seq_inner", "seq_outer" and whatever
// else begins with "seq_".
bool IsSequenceAxis(std::string_view name);

class Mesh {
 public:
  struct Axis {
    std::string name;
    int size = 1;
    friend bool operator==(const Axis&, const Axis&) = default;
  };

  Mesh() = default;  // one rank, no axes
  // Axes in order, first major; `ranks` lists world ranks in row-major grid order. Errors: a size
  // below 1, a repeated or empty axis name, a repeated rank, a count that does not match.
  static absl::StatusOr<Mesh> Create(std::vector<Axis> axes, std::vector<int> ranks);
  // Ranks 0 .. product-1.
  static absl::StatusOr<Mesh> Create(std::vector<Axis> axes);
  // Reads "data:2,model:4" with an optional rank list "data:2@4,5" or "data:8@0-3,8-11" (ranges
  // include both ends); "" is one rank.
  static absl::StatusOr<Mesh> Parse(std::string_view text);

  const std::vector<Axis>& axes() const { return axes_; }
  const std::vector<int>& ranks() const { return ranks_; }
  int size() const { return static_cast<int>(ranks_.size()); }
  int num_axes() const { return static_cast<int>(axes_.size()); }
  // Index of the axis, or -1.
  int FindAxis(std::string_view name) const;
  // Position of a world rank in the grid, or -1 if it is not a member.
  int IndexOf(int rank) const;
  // Coordinate along `axis` of the member at `index`.
  int Coordinate(int index, int axis) const;
  // Members (indices) that differ from `index` only along `axis`, in order of that coordinate.
  std::vector<int> Line(int index, int axis) const;
  // The sub-meshes of one coordinate each along `axis`, in its order, without that axis.
  std::vector<Mesh> Cut(int axis) const;
  // "data:2,model:2", with "@ranks" when these are not 0..n-1.
  std::string ToString() const;
  friend bool operator==(const Mesh&, const Mesh&) = default;

 private:
  std::vector<Axis> axes_;
  std::vector<int> ranks_ = {0};
};

}  // namespace weft

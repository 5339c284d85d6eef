#include "graph/mesh.h"

#include <numeric>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr int64_t kMaxRanks = 1 << 20;

// Letters, digits and "_-": whatever has no meaning in the text of meshes and layouts.
bool IsAxisName(const std::string& name) {
  for (char c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '-') return false;
  }
  return !name.empty();
}

// "4,5" or "0-3,8-11".
absl::StatusOr<std::vector<int>> ParseRanks(absl::string_view text) {
  std::vector<int> ranks;
  for (absl::string_view part : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
    const std::vector<absl::string_view> ends = absl::StrSplit(part, absl::MaxSplits('-', 1));
    int first = 0, last = 0;
    if (!absl::SimpleAtoi(ends.front(), &first) || !absl::SimpleAtoi(ends.back(), &last) ||
        first < 0 || last < first || last >= kMaxRanks) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", std::string(part), "' is not a rank or a range such as 4-7"));
    }
    if (static_cast<int64_t>(ranks.size()) + last - first >= kMaxRanks) {
      return absl::InvalidArgumentError(absl::StrCat("a mesh of more than ", kMaxRanks, " ranks"));
    }
    for (int rank = first; rank <= last; ++rank) ranks.push_back(rank);
  }
  return ranks;
}

// What ParseRanks reads: runs of three and more as ranges.
std::string RanksText(const std::vector<int>& ranks) {
  std::vector<std::string> parts;
  for (size_t begin = 0, end = 0; begin < ranks.size(); begin = end) {
    end = begin + 1;
    while (end < ranks.size() && ranks[end] == ranks[end - 1] + 1) ++end;
    if (end - begin < 3) end = begin + 1;
    parts.push_back(end - begin < 3 ? absl::StrCat(ranks[begin])
                                    : absl::StrCat(ranks[begin], "-", ranks[end - 1]));
  }
  return absl::StrJoin(parts, ",");
}

}  // namespace

bool IsSequenceAxis(std::string_view name) { return name == "seq" || name.starts_with("seq_"); }

absl::StatusOr<Mesh> Mesh::Create(std::vector<Axis> axes, std::vector<int> ranks) {
  std::set<std::string> names;
  int64_t product = 1;
  for (const Axis& axis : axes) {
    if (!IsAxisName(axis.name)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "mesh axis '", axis.name, "' must be named by letters, digits, '_' and '-'"));
    }
    if (!names.insert(axis.name).second) {
      return absl::InvalidArgumentError(absl::StrCat("two mesh axes are named '", axis.name, "'"));
    }
    if (axis.size < 1) {
      return absl::InvalidArgumentError(absl::StrCat("mesh axis '", axis.name, "' has size ",
                                                     axis.size, "; it must be at least 1"));
    }
    product *= axis.size;
    if (product > kMaxRanks) {
      return absl::InvalidArgumentError(absl::StrCat("a mesh of more than ", kMaxRanks, " ranks"));
    }
  }
  const std::set<int> distinct(ranks.begin(), ranks.end());
  if (product != static_cast<int64_t>(ranks.size()) || distinct.size() != ranks.size() ||
      *distinct.begin() < 0) {
    return absl::InvalidArgumentError(absl::StrCat("the mesh has ", product, " places but lists ",
                                                   distinct.size(), " distinct ranks of ",
                                                   ranks.size()));
  }
  Mesh mesh;
  mesh.axes_ = std::move(axes);
  mesh.ranks_ = std::move(ranks);
  return mesh;
}

absl::StatusOr<Mesh> Mesh::Create(std::vector<Axis> axes) {
  int64_t product = 1;
  for (const Axis& axis : axes) product *= axis.size < 1 || product > kMaxRanks ? 1 : axis.size;
  std::vector<int> ranks(product > kMaxRanks ? 1 : product);
  std::iota(ranks.begin(), ranks.end(), 0);
  return Create(std::move(axes), std::move(ranks));
}

absl::StatusOr<Mesh> Mesh::Parse(std::string_view text) {
  const std::vector<std::string> halves =
      absl::StrSplit(absl::string_view(text.data(), text.size()), '@');
  if (halves.size() > 2) return absl::InvalidArgumentError("a mesh has at most one '@'");
  std::vector<Axis> axes;
  for (absl::string_view part : absl::StrSplit(halves[0], ',')) {
    if (absl::StripAsciiWhitespace(halves[0]).empty()) break;  // no axes: one rank
    const std::vector<std::string> pair = absl::StrSplit(part, ':');
    Axis axis;
    if (pair.size() != 2 || !absl::SimpleAtoi(pair[1], &axis.size)) {
      return absl::InvalidArgumentError(
          absl::StrCat("mesh '", std::string(text), "': '", std::string(part),
                       "' is not name:size; write for example \"data:2,model:2\""));
    }
    axis.name = std::string(absl::StripAsciiWhitespace(pair[0]));
    axes.push_back(std::move(axis));
  }
  if (halves.size() == 1) return Create(std::move(axes));
  WEFT_ASSIGN_OR_RETURN(std::vector<int> ranks, ParseRanks(halves[1]));
  return Create(std::move(axes), std::move(ranks));
}

int Mesh::FindAxis(std::string_view name) const {
  for (size_t i = 0; i < axes_.size(); ++i) {
    if (axes_[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

int Mesh::IndexOf(int rank) const {
  for (size_t i = 0; i < ranks_.size(); ++i) {
    if (ranks_[i] == rank) return static_cast<int>(i);
  }
  return -1;
}

int Mesh::Coordinate(int index, int axis) const {
  for (int a = num_axes() - 1; a > axis; --a) index /= axes_[a].size;
  return index % axes_[axis].size;
}

std::vector<int> Mesh::Line(int index, int axis) const {
  int stride = 1;
  for (int a = num_axes() - 1; a > axis; --a) stride *= axes_[a].size;
  const int first = index - Coordinate(index, axis) * stride;
  std::vector<int> members;
  for (int c = 0; c < axes_[axis].size; ++c) members.push_back(first + c * stride);
  return members;
}

std::vector<Mesh> Mesh::Cut(int axis) const {
  std::vector<Mesh> parts(axes_[axis].size);
  for (Mesh& part : parts) {
    part.axes_ = axes_;
    part.axes_.erase(part.axes_.begin() + axis);
    part.ranks_.clear();
  }
  for (int index = 0; index < size(); ++index) {
    parts[Coordinate(index, axis)].ranks_.push_back(ranks_[index]);
  }
  return parts;
}

std::string Mesh::ToString() const {
  std::string text = absl::StrJoin(axes_, ",", [](std::string* out, const Axis& axis) {
    absl::StrAppend(out, axis.name, ":", axis.size);
  });
  for (size_t i = 0; i < ranks_.size(); ++i) {
    if (ranks_[i] != static_cast<int>(i)) {
      return absl::StrCat(text, "@", RanksText(ranks_));
    }
  }
  return text;
}

}  // namespace weft

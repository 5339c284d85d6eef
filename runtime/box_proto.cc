#include "runtime/box_proto.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/plan.pb.h"

namespace weft {

void ToProto(const Box& box, BoxDef* proto) {
  proto->Clear();
  for (const IndexSet& dim : box.dims) {
    IndexSetDef* def = proto->add_dims();
    for (const Interval& interval : dim.intervals()) {
      def->add_bounds(interval.begin);
      def->add_bounds(interval.end);
    }
  }
}

absl::StatusOr<Box> FromProto(const BoxDef& proto) {
  Box box;
  for (const IndexSetDef& def : proto.dims()) {
    IndexSet dim;
    int64_t last = 0;
    bool good = def.bounds_size() % 2 == 0;
    for (int i = 0; good && i + 1 < def.bounds_size(); i += 2) {
      const Interval interval{def.bounds(i), def.bounds(i + 1)};
      good = interval.begin >= last && interval.end >= interval.begin;
      if (!good) break;
      last = interval.end;
      dim.Append(interval);
    }
    if (!good) {
      return absl::InvalidArgumentError(absl::StrCat(
          "dimension ", box.dims.size(), " of a box has the bounds [",
          absl::StrJoin(def.bounds(), ","), "]; they must be pairs that increase"));
    }
    box.dims.push_back(std::move(dim));
  }
  return box;
}

}  // namespace weft

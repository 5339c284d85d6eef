// How many rows of op_rows.h were run, of which kind: so that none is lost unseen.
#pragma once

#include <cstdio>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/system/op_row_graph.h"
#include "tests/system/op_rows.h"

namespace weft::testing {

class OpRowCounts {
 public:
  void Add(const OpRow& row) {
    Count& count = counts_[row.id];
    ++(MeshOfRow(row).num_axes() == 1 ? count.one_axis : count.two_axes);
    count.gradients += row.grads.empty() ? 0 : 1;
    count.illegal += row.illegal ? 1 : 0;
    ++rows_;
  }
  int rows() const { return rows_; }
  // Of table `id`, on both meshes.
  int rows(const std::string& id) const {
    const auto it = counts_.find(id);
    return it == counts_.end() ? 0 : it->second.one_axis + it->second.two_axes;
  }

  void Print() const {
    for (int id = 1; id <= kOpTables; ++id) {
      const auto it = counts_.find(absl::StrCat("O", id));
      const Count count = it == counts_.end() ? Count() : it->second;
      std::printf("O%-2d: %3d on 4 ranks, %3d on 2x2; %3d with gradients, %d to be converted\n", id,
                  count.one_axis, count.two_axes, count.gradients, count.illegal);
    }
  }
  // Every table was met on both meshes.
  void ExpectBothMeshes() const {
    for (int id = 1; id <= kOpTables; ++id) {
      const auto it = counts_.find(absl::StrCat("O", id));
      EXPECT_TRUE(it != counts_.end() && it->second.one_axis > 0 && it->second.two_axes > 0)
          << "O" << id;
    }
  }

 private:
  struct Count {
    int one_axis = 0, two_axes = 0, gradients = 0, illegal = 0;
  };
  std::map<std::string, Count> counts_;
  int rows_ = 0;
};

}  // namespace weft::testing

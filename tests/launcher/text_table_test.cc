#include "launcher/text_table.h"

#include <gtest/gtest.h>

namespace weft {
namespace {

TEST(TextTable, ColumnsAreAligned) {
  TextTable table({">bytes", "name", "note"});
  table.Add({"5", "x", ""});
  table.Add({"12345678", "longer", "last"});
  EXPECT_EQ(table.Text(2),
            "     bytes  name    note\n"
            "         5  x\n"
            "  12345678  longer  last\n");
}

}  // namespace
}  // namespace weft

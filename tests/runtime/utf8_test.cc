#include "runtime/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace weft {
namespace {

TEST(Utf8, TakesTextOfEveryLength) {
  for (const char* text : {"", "loss", "\u00e9", "\u20ac!", "\U0001f600", "\U0010ffff"}) {
    EXPECT_TRUE(IsUtf8(text)) << text;
  }
}

TEST(Utf8, RefusesWhatIsNone) {
  for (const char* text : {"\xff", "a\x80", "\xc3", "\xe2\x82", "\xc0\xaf", "\xe0\x80\xaf",
                           "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80"}) {
    EXPECT_FALSE(IsUtf8(text)) << text;
  }
}

}  // namespace
}  // namespace weft

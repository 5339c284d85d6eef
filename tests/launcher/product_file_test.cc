// The file in which algorithms for matrix products are kept.
#include "launcher/product_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace weft {
namespace {

namespace fs = std::filesystem;

ProductKey KeyOf(int64_t m) {
  ProductKey key;
  for (size_t i = 0; i < key.values.size(); ++i) key.values[i] = static_cast<int64_t>(i);
  key[ProductKey::kM] = m;
  return key;
}

ProductAlgorithm AlgorithmOf(uint64_t word) {
  ProductAlgorithm algorithm;
  algorithm.words = {word, std::numeric_limits<uint64_t>::max(), 0, 1, 2, 3, 4, 5};
  algorithm.workspace_bytes = int64_t{32} << 20;
  algorithm.seconds = 1.0 / 3;
  algorithm.first_seconds = 0.7;
  return algorithm;
}

class ProductFileTest : public ::testing::Test {
 protected:
  ProductFileTest()
      : dir_(fs::path(::testing::TempDir()) / absl::StrCat("weft_products_", ::getpid())) {}
  ~ProductFileTest() override { fs::remove_all(dir_); }
  std::string path() const { return dir_ / "in" / "products.json"; }
  void Write(const std::string& text) {
    fs::create_directories(fs::path(path()).parent_path());
    std::ofstream(path()) << text;
  }

  fs::path dir_;
};

TEST_F(ProductFileTest, TextReadsBack) {
  const MachineProducts products = {
      {"NVIDIA H200, cuBLASLt 130100", {{KeyOf(1), AlgorithmOf(9)}, {KeyOf(2), AlgorithmOf(8)}}},
      {"a \"quoted\" one", {{KeyOf(-3), AlgorithmOf(7)}}},
      {"one that knows nothing", {}}};
  const absl::StatusOr<MachineProducts> back = ParseProducts(PrintProducts(products));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, products);
  EXPECT_EQ(*ParseProducts(PrintProducts({})), MachineProducts());
}

TEST_F(ProductFileTest, OtherTextIsRefused) {
  const std::string good = PrintProducts({{"gpu", {{KeyOf(1), AlgorithmOf(9)}}}});
  ASSERT_TRUE(ParseProducts(good).ok());
  for (size_t size = 0; size + 1 < good.size(); ++size) {
    EXPECT_FALSE(ParseProducts(good.substr(0, size)).ok()) << good.substr(0, size);
  }
  for (const auto& [from, to] :
       std::vector<std::pair<const char*, const char*>>{{"\"first_ld\"", "\"first_lead\""},
                                                        {"[[1,", "[["},
                                                        {"[[1,", "[[1.5,"},
                                                        {"[[1,", "[[\"1\","},
                                                        {"[9,", "[-9,"},
                                                        {"[9,", "["},
                                                        {"0.7]", "null]"},
                                                        {"0.7]", "0.7,1]"},
                                                        {"\"gpu\": [", "\"gpu\": [7,"}}) {
    const std::string text = absl::StrReplaceAll(good, {{from, to}});
    ASSERT_NE(text, good) << from;
    EXPECT_FALSE(ParseProducts(text).ok()) << text;
  }
  for (const char* text : {"", "[]", "null", "{}", "{\"machines\": 3}", "\xff\xfe"}) {
    EXPECT_FALSE(ParseProducts(text).ok()) << text;
  }
}

TEST_F(ProductFileTest, AFileThatIsNotThereHoldsNothing) {
  const absl::StatusOr<MachineProducts> products = ReadProductFile(path());
  ASSERT_TRUE(products.ok()) << products.status();
  EXPECT_TRUE(products->empty());
}

TEST_F(ProductFileTest, WhatIsAddedComesToWhatIsThereOrInItsPlace) {
  ASSERT_TRUE(
      AddToProductFile(path(), {{"a", {{KeyOf(1), AlgorithmOf(1)}, {KeyOf(3), AlgorithmOf(1)}}}})
          .ok());
  ASSERT_TRUE(
      AddToProductFile(path(), {{"a", {{KeyOf(1), AlgorithmOf(2)}, {KeyOf(2), AlgorithmOf(2)}}},
                                {"b", {{KeyOf(1), AlgorithmOf(3)}}}})
          .ok());
  const absl::StatusOr<MachineProducts> products = ReadProductFile(path());
  ASSERT_TRUE(products.ok()) << products.status();
  const MachineProducts want = {
      {"a", {{KeyOf(1), AlgorithmOf(2)}, {KeyOf(2), AlgorithmOf(2)}, {KeyOf(3), AlgorithmOf(1)}}},
      {"b", {{KeyOf(1), AlgorithmOf(3)}}}};
  EXPECT_EQ(*products, want);
  int files = 0;
  for ([[maybe_unused]] const auto& file : fs::directory_iterator(fs::path(path()).parent_path())) {
    ++files;
  }
  EXPECT_EQ(files, 1) << "something is left of writing";
}

TEST_F(ProductFileTest, ACorruptFileIsToldAndReplaced) {
  Write("{\"machines\": ");
  const absl::Status status = ReadProductFile(path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find(path()), std::string::npos) << status;
  const MachineProducts products = {{"a", {{KeyOf(1), AlgorithmOf(1)}}}};
  ASSERT_TRUE(AddToProductFile(path(), products).ok());
  EXPECT_EQ(*ReadProductFile(path()), products);
}

TEST_F(ProductFileTest, WhatCannotBeWrittenIsAnError) {
  // A file where the folder should be; root may write anywhere else.
  fs::create_directories(dir_);
  std::ofstream(dir_ / "in") << "no folder";
  const absl::Status status = AddToProductFile(path(), {});
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.message().find(path()), std::string::npos) << status;
}

TEST_F(ProductFileTest, LiesInTheUsersCacheFolder) {
  const auto with = [](const char* cache, const char* home) {
    const auto set = [](const char* name, const char* value) {
      if (value == nullptr) {
        ::unsetenv(name);
      } else {
        ::setenv(name, value, 1);
      }
    };
    const char* const cache_before = std::getenv("XDG_CACHE_HOME");
    const char* const home_before = std::getenv("HOME");
    const std::string old_cache = cache_before != nullptr ? cache_before : "";
    const std::string old_home = home_before != nullptr ? home_before : "";
    set("XDG_CACHE_HOME", cache);
    set("HOME", home);
    std::string file = DefaultProductFile();
    set("XDG_CACHE_HOME", cache_before != nullptr ? old_cache.c_str() : nullptr);
    set("HOME", home_before != nullptr ? old_home.c_str() : nullptr);
    return file;
  };
  EXPECT_EQ(with("/c", "/h"), "/c/weft/products.json");
  EXPECT_EQ(with("relative", "/h"), "/h/.cache/weft/products.json");
  EXPECT_EQ(with(nullptr, "/h"), "/h/.cache/weft/products.json");
  EXPECT_EQ(with(nullptr, nullptr), "");
}

}  // namespace
}  // namespace weft

// Rows out of CSV and array files: what comes out, and what is said of files that are wrong.
#include "launcher/row_table.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/dtype.h"

namespace weft {
namespace {

using Values = std::vector<std::vector<float>>;

class RowTableTest : public ::testing::Test {
 protected:
  RowTableTest() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = (std::filesystem::path(::testing::TempDir()) /
             absl::StrCat("weft_rows_", ::getpid(), "_", info->name()))
                .string();
  }
  ~RowTableTest() override { std::filesystem::remove(path_); }

  void Write(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  }
  Job::Data Csv(const std::string& text) const {
    Write(text);
    Job::Data data;
    data.set_csv(path_);
    return data;
  }
  Job::Data Array(const std::string& bytes, const std::string& type = "") const {
    Write(bytes);
    Job::Data data;
    data.set_array(path_);
    if (!type.empty()) data.set_type(type);
    return data;
  }
  // .npy of version 1.
  static std::string Npy(const std::string& descr, const std::string& shape,
                         const std::string& bytes, const std::string& order = "False") {
    const std::string header = absl::StrCat("{'descr': '", descr, "', 'fortran_order': ", order,
                                            ", 'shape': ", shape, ", }\n");
    std::string text("\x93NUMPY\x01\x00", 8);
    text.push_back(static_cast<char>(header.size()));
    text.push_back(0);
    return text + header + bytes;
  }
  template <typename T>
  static std::string Bytes(std::vector<T> values) {
    return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }

  // All rows, or the error with the path taken out.
  absl::StatusOr<Values> Read(const absl::StatusOr<RowTable>& table) const {
    if (!table.ok()) return table.status();
    const int64_t width = table->row().elements();
    std::vector<int64_t> offsets(width);
    std::iota(offsets.begin(), offsets.end(), 0);
    Values rows;
    for (int64_t r = 0; r < table->rows(); ++r) {
      std::vector<float> row(width);
      std::vector<int32_t> whole(width);
      const bool floats = table->row().dtype == DType::kF32;
      const absl::Status status =
          table->Read(r, offsets, floats ? static_cast<void*>(row.data()) : whole.data());
      if (!status.ok()) return status;
      if (!floats) row.assign(whole.begin(), whole.end());
      rows.push_back(row);
    }
    return rows;
  }
  std::string ErrorOf(const absl::StatusOr<Values>& values) const {
    if (values.ok()) return "no error";
    std::string message(values.status().message());
    for (size_t at; (at = message.find(path_)) != std::string::npos;) {
      message.replace(at, path_.size(), "FILE");
    }
    return message;
  }

  std::string path_;
};

const TensorSpec kPair{{2}, DType::kF32};

TEST_F(RowTableTest, CsvTakesColumnsByNameInTheirOrder) {
  Job::Data data = Csv("a,\"b, or so\",c\r\n1,2,3\r\n-4.5e1,\"+5\", 6 \r\n");
  data.add_columns("c");
  data.add_columns("b, or so");
  const auto rows = Read(RowTable::OpenCsv(data, kPair));
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(*rows, (Values{{3, 2}, {6, 5}}));
}

TEST_F(RowTableTest, CsvWithoutHeaderOrLastLineBreak) {
  Job::Data data =
      Csv("\xef\xbb\xbf"
          "1\t2\n3\t4");
  data.set_header(false);
  data.set_delimiter("\t");
  const auto rows = Read(RowTable::OpenCsv(data, kPair));
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(*rows, (Values{{1, 2}, {3, 4}}));
}

TEST_F(RowTableTest, CsvErrorsNameLineAndColumn) {
  const TensorSpec whole{{2}, DType::kI32};
  const auto error = [&](const std::string& text, const TensorSpec& row) {
    return ErrorOf(Read(RowTable::OpenCsv(Csv(text), row)));
  };
  EXPECT_EQ(error("a,b\n1,2\n3,x\n", kPair), "FILE:3:3: column 'b': 'x' is no number");
  EXPECT_EQ(error("a,b\n1,2 3\n", kPair), "FILE:2:3: column 'b': '2 3' is no number");
  EXPECT_EQ(error("a,b\n1,inf\n", kPair), "FILE:2:3: column 'b': 'inf' is no finite f32");
  EXPECT_EQ(error("a,b\n1,1e39\n", kPair), "FILE:2:3: column 'b': '1e39' is no finite f32");
  EXPECT_EQ(error("a,b\n1,\n", kPair), "FILE:2:3: column 'b': is empty; every row needs a number");
  EXPECT_EQ(error("a,b\n1\n", kPair), "FILE:2:1: 1 field, but there are 2 columns");
  EXPECT_EQ(error("a,b\n1,2\n\n3,4\n", kPair), "FILE:3:1: an empty line; every line is a row");
  EXPECT_EQ(error("a,b\n1,\"2\n", kPair), "FILE:2:3: the quote is not closed in this line");
  EXPECT_EQ(error("a,b\n1,\"2\"3\n", kPair), "FILE:2:6: something follows the closing quote");
  EXPECT_EQ(error("a,b\n1,2.5\n", whole),
            "FILE:2:3: column 'b': '2.5' is no whole number, as i32 needs");
  EXPECT_EQ(error("a,b\n2147483648,2\n", whole),
            "FILE:2:1: column 'a': '2147483648' does not fit i32");
  EXPECT_EQ(error("a,b\n99999999999999999999,2\n", whole),
            "FILE:2:1: column 'a': '99999999999999999999' does not fit i32");
  EXPECT_EQ(error("", kPair), "FILE: the file is empty");
  EXPECT_EQ(error("a,b\n", kPair), "'FILE' has no rows");
  Job::Data twice = Csv("a,a\n1,2\n");
  twice.add_columns("a");
  EXPECT_EQ(ErrorOf(Read(RowTable::OpenCsv(twice, {{1}, DType::kF32}))),
            "FILE:1:1: two columns are named 'a'; rename one");
}

TEST_F(RowTableTest, ArraysOfEveryKindBecomeTheInputsType) {
  const auto read = [&](const std::string& descr, const std::string& bytes) {
    return Read(RowTable::OpenArray(Array(Npy(descr, "(2, 2)", bytes)), kPair));
  };
  const Values want = {{0, 1}, {2, 100}};
  EXPECT_EQ(*read("<f4", Bytes<float>({0, 1, 2, 100})), want);
  EXPECT_EQ(*read("<f8", Bytes<double>({0, 1, 2, 100})), want);
  EXPECT_EQ(
      *read("<f2", Bytes<Float16>({Float16(0.f), Float16(1.f), Float16(2.f), Float16(100.f)})),
      want);
  EXPECT_EQ(*read("<i8", Bytes<int64_t>({0, 1, 2, 100})), want);
  EXPECT_EQ(*read("<u4", Bytes<uint32_t>({0, 1, 2, 100})), want);
  EXPECT_EQ(*read("<i4", Bytes<int32_t>({0, 1, 2, 100})), want);
  EXPECT_EQ(*read("<u2", Bytes<uint16_t>({0, 1, 2, 100})), want);
  EXPECT_EQ(*read("<i2", Bytes<int16_t>({0, 1, 2, 100})), want);
  EXPECT_EQ(*read("|u1", Bytes<uint8_t>({0, 1, 2, 100})), want);
  EXPECT_EQ(*read("|i1", Bytes<int8_t>({0, 1, 2, 100})), want);
  EXPECT_EQ(*read("|b1", Bytes<uint8_t>({0, 1, 1, 0})), (Values{{0, 1}, {1, 0}}));
  // Nothing but numbers.
  EXPECT_EQ(*Read(RowTable::OpenArray(Array(Bytes<float>({0, 1, 2, 100}), "f32[2,2]"), kPair)),
            want);
}

TEST_F(RowTableTest, WholeNumbersMustFit) {
  const TensorSpec label{{}, DType::kI32};
  const auto read = [&](const std::string& bytes, const char* descr) {
    return Read(RowTable::OpenArray(Array(Npy(descr, "(2,)", bytes)), label));
  };
  EXPECT_EQ(*read(Bytes<int64_t>({-7, 3}), "<i8"), (Values{{-7}, {3}}));
  EXPECT_EQ(ErrorOf(read(Bytes<int64_t>({1, int64_t{1} << 31}), "<i8")),
            "row 1 of 'FILE' holds 2.14748e+09, which is no i32");
  EXPECT_EQ(ErrorOf(read(Bytes<float>({1, 2}), "<f4")),
            "'FILE' holds floating-point numbers, which do not go into an input of i32; store "
            "whole numbers");
}

TEST_F(RowTableTest, PartsOfARow) {
  const absl::StatusOr<RowTable> table =
      RowTable::OpenArray(Array(Bytes<float>({0, 1, 2, 3, 4, 5}), "f32[2,3]"), {{3}, DType::kF32});
  ASSERT_TRUE(table.ok()) << table.status();
  float out[2] = {};
  ASSERT_TRUE(table->Read(1, {2, 0}, out).ok());
  EXPECT_EQ(out[0], 5);
  EXPECT_EQ(out[1], 3);
}

TEST_F(RowTableTest, ArrayErrorsSayWhatToDo) {
  const auto error = [&](const Job::Data& data) {
    return ErrorOf(Read(RowTable::OpenArray(data, kPair)));
  };
  const std::string four = Bytes<float>({1, 2, 3, 4});
  EXPECT_EQ(error(Array(four)),
            "'FILE' is no .npy; if it is nothing but numbers, say of which type, such as "
            "data.type: \"f32[1000,3]\"");
  EXPECT_EQ(error(Array(four, "f32[3,2]")),
            "'FILE' has 16 bytes of numbers, but [3,2] of 4 bytes each takes 24; correct "
            "data.type");
  EXPECT_EQ(error(Array(four, "f32[4]")),
            "'FILE' is [4], but a row of the input is f32[2]; the array's first dimension counts "
            "rows, the others must be those");
  EXPECT_EQ(error(Array("", "f32[0,2]")), "'FILE' has no rows");
  EXPECT_EQ(error(Array(Npy("<f4", "(2, 2)", four, "True"))),
            "'FILE' is stored column by column; save numpy.ascontiguousarray of it");
  EXPECT_NE(error(Array(Npy(">f4", "(2, 2)", four))).find("holds '>f4'; known:"),
            std::string::npos);
  EXPECT_NE(error(Array(Npy("<f4", "(2, 3)", four))).find("it is damaged"), std::string::npos);
  EXPECT_NE(error(Array(Npy("<f4", "(2, -2)", four))).find("which is none"), std::string::npos);
  EXPECT_NE(error(Array(std::string("\x93NUMPY\x09", 7))).find("version 9"), std::string::npos);
}

// Whatever the bytes, a table or an error comes out.
TEST_F(RowTableTest, MutatedFilesAreErrorsOrTables) {
  std::mt19937 random(3);
  const std::string npy = Npy("<f4", "(2, 2)", Bytes<float>({1, 2, 3, 4}));
  const std::string csv = "a,b\n1,2\n\"3\",4\n";
  int good = 0;
  for (int round = 0; round < 600; ++round) {
    std::string text = round % 2 == 0 ? npy : csv;
    for (int i = 0; i < 1 + round % 3; ++i) {
      const size_t at = random() % text.size();
      if (random() % 2 == 0) {
        text[at] = static_cast<char>(random());
      } else {
        text.erase(at, 1 + random() % 4);
      }
      if (text.empty()) text = "x";
    }
    const auto rows = round % 2 == 0 ? Read(RowTable::OpenArray(Array(text), kPair))
                                     : Read(RowTable::OpenCsv(Csv(text), kPair));
    good += rows.ok();
    if (rows.ok()) continue;
    EXPECT_NE(rows.status().message().find(path_), absl::string_view::npos);
  }
  EXPECT_GT(good, 20);
}

}  // namespace
}  // namespace weft

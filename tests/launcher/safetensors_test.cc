#include "launcher/safetensors.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "launcher/safetensors_writer.h"

namespace weft {
namespace {

// Of the running test alone: tests run beside each other.
std::string TempPath(const std::string& name) {
  const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
  return testing::TempDir() + "safetensors_" + test.name() + "_" + name;
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

bool Exists(const std::string& path) {
  struct stat status = {};
  return stat(path.c_str(), &status) == 0;
}

// Header text in front of `data` bytes of zeros.
std::string File(const std::string& header, size_t data) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i));
  return bytes + header + std::string(data, '\0');
}

absl::StatusOr<SafetensorsFile> OpenBytes(const std::string& bytes) {
  const std::string path = TempPath("bytes");
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  return SafetensorsFile::Open(path);
}

std::string ValidFile() {
  const std::string path = TempPath("valid");
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};
  const std::vector<uint8_t> b = {7, 8, 9};
  const std::vector<int64_t> c = {-1};
  const absl::Status status = WriteSafetensors(path,
                                               {{"layer.0.a", {{2, 3}, DType::kF32}},
                                                {"b", {{3}, DType::kU8}},
                                                {"scalar", {{}, DType::kI64}},
                                                {"empty", {{4, 0}, DType::kBF16}}},
                                               {a.data(), b.data(), c.data(), nullptr},
                                               {{"step", "12"}, {"job", "name: \"x\"\n"}});
  EXPECT_TRUE(status.ok()) << status;
  return path;
}

TEST(Safetensors, WritesAndReadsBack) {
  const absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(ValidFile());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->entries().size(), 4u);
  EXPECT_EQ(file->metadata().at("step"), "12");
  EXPECT_EQ(file->metadata().at("job"), "name: \"x\"\n");
  const SafetensorsEntry* a = file->Find("layer.0.a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->spec, (TensorSpec{{2, 3}, DType::kF32}));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(file->data(*a)) % 4, 0u);
  EXPECT_EQ(reinterpret_cast<const float*>(file->data(*a))[5], 6);
  EXPECT_EQ(file->data(*file->Find("b"))[2], 9);
  EXPECT_EQ(*reinterpret_cast<const int64_t*>(file->data(*file->Find("scalar"))), -1);
  EXPECT_EQ(file->Find("empty")->spec.bytes(), 0);
  EXPECT_EQ(file->Find("none"), nullptr);
}

TEST(Safetensors, EveryDTypeKeepsItsName) {
  for (const DType dtype : {DType::kF32, DType::kF64, DType::kBF16, DType::kF16, DType::kI32,
                            DType::kI64, DType::kU8, DType::kBool}) {
    SafetensorsHeader header;
    header.entries.push_back({"t", {{3}, dtype}, 0});
    const std::string text = PrintSafetensorsHeader(header).substr(8);
    EXPECT_NE(text.find("\"" + SafetensorsDTypeName(dtype) + "\""), std::string::npos) << text;
    const auto read = ParseSafetensorsHeader(text, 3 * SizeOf(dtype));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->entries[0].spec.dtype, dtype);
  }
}

TEST(Safetensors, CommitReplacesAtomically) {
  const std::string path = TempPath("atomic");
  const float one = 1;
  const std::vector<SafetensorsWriter::Tensor> tensors = {{"x", {{1}, DType::kF32}}};
  ASSERT_TRUE(WriteSafetensors(path, tensors, {&one}, {}).ok());
  const std::string before = ReadFile(path);
  {
    auto writer = SafetensorsWriter::Create(path, {{"x", {{100}, DType::kF32}}}, {});
    ASSERT_TRUE(writer.ok()) << writer.status();
    EXPECT_TRUE((*writer)->Write("x", 4, &one, 4).ok());
    EXPECT_TRUE(Exists(path + ".partial"));
    EXPECT_EQ((*writer)->Commit().code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_FALSE(Exists(path + ".partial"));
  EXPECT_EQ(ReadFile(path), before);
}

TEST(Safetensors, WriterRefusesWhatDoesNotFit) {
  const std::string path = TempPath("new/folder/x");
  auto writer = SafetensorsWriter::Create(path, {{"x", {{2}, DType::kF32}}}, {});
  ASSERT_TRUE(writer.ok()) << writer.status();
  const float v[2] = {1, 2};
  EXPECT_FALSE((*writer)->Write("y", 0, v, 8).ok());
  EXPECT_FALSE((*writer)->Write("x", 4, v, 8).ok());
  EXPECT_FALSE((*writer)->Write("x", -4, v, 4).ok());
  EXPECT_TRUE((*writer)->Write("x", 4, v + 1, 4).ok());
  EXPECT_TRUE((*writer)->Write("x", 0, v, 4).ok());
  EXPECT_TRUE((*writer)->Commit().ok());
  EXPECT_TRUE(SafetensorsFile::Open(path).ok());
  const TensorSpec spec{{1}, DType::kF32};
  EXPECT_FALSE(SafetensorsWriter::Create(path, {{"x", spec}, {"x", spec}}, {}).ok());
  EXPECT_FALSE(SafetensorsWriter::Create(path, {{"__metadata__", spec}}, {}).ok());
  EXPECT_FALSE(SafetensorsWriter::Create("/proc/none/x", {{"x", spec}}, {}).ok());
}

TEST(Safetensors, BrokenHeadersSayWhatIsWrong) {
  struct Case {
    std::string header;
    size_t data;
    const char* says;
  };
  const auto tensor = [](const char* rest) { return std::string("{\"t\":{") + rest + "}}"; };
  const std::vector<Case> cases = {
      {"", 0, "not a JSON object"},
      {"[]", 0, "not a JSON object"},
      {"{", 0, "not a JSON object"},
      {"{\"a\xff\":1}", 0, "not a JSON object"},
      {std::string(100000, '['), 0, "nests deeper"},
      {"{\"t\":1}", 0, "'t' is not described"},
      {tensor("\"shape\":[1],\"data_offsets\":[0,4]"), 4, "no dtype"},
      {tensor("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), 4, "no shape"},
      {tensor("\"dtype\":\"F32\",\"shape\":[1]"), 4, "data_offsets"},
      {tensor("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]"), 4, "data_offsets"},
      {tensor("\"dtype\":\"C64\",\"shape\":[1],\"data_offsets\":[0,8]"), 8, "'C64'"},
      {tensor("\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]"), 4, "extent"},
      {tensor("\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]"), 4, "extent"},
      {tensor("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]"), 0,
       "too large"},
      {tensor("\"dtype\":\"F32\",\"shape\":[0,4294967296,4294967296],\"data_offsets\":[0,0]"), 0,
       "too large"},
      {tensor("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]"), 8, "offsets are 0 to 8"},
      {tensor("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,4]"), 8, "offsets are 8 to 4"},
      {tensor("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]"), 8, "after a gap"},
      {tensor("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 3, "more than"},
      {tensor("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 5, "only 4 bytes"},
      {tensor("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
              "\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"),
       4, "twice"},
      {tensor("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
              "\"u\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]"),
       8, "inside another"},
      {"{\"__metadata__\":{\"a\":1}}", 0, "metadata 'a'"},
      {"{\"__metadata__\":[]}", 0, "__metadata__"},
  };
  for (const Case& c : cases) {
    const absl::Status status = OpenBytes(File(c.header, c.data)).status();
    ASSERT_FALSE(status.ok()) << c.header;
    EXPECT_NE(std::string(status.message()).find(c.says), std::string::npos)
        << c.says << " in " << status;
  }
}

TEST(Safetensors, BrokenLengths) {
  for (const std::string& bytes : {std::string(), std::string("abc"), std::string(8, '\xff'),
                                   std::string("\x10\0\0\0\0\0\0\0{}", 10)}) {
    EXPECT_FALSE(OpenBytes(bytes).ok());
  }
  EXPECT_EQ(SafetensorsFile::Open("/nowhere").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(OpenBytes(File("{}", 0)).ok());
  EXPECT_TRUE(OpenBytes(File("{}   ", 0)).ok());
}

// One to three random edits: cut, insert, a JSON character, a flipped bit.
std::string Mutate(std::string bytes, std::mt19937& random) {
  for (int edits = 1 + static_cast<int>(random() % 3); edits > 0; --edits) {
    const size_t at = random() % (bytes.size() + 1);
    switch (random() % 4) {
      case 0: bytes.resize(at); break;
      case 1: bytes.insert(at, 1, static_cast<char>(random())); break;
      case 2:
        if (at < bytes.size()) bytes[at] = "0123456789[]{},:\"-e."[random() % 20];
        break;
      default:
        if (at < bytes.size()) bytes[at] ^= static_cast<char>(1 << random() % 8);
    }
  }
  return bytes;
}

TEST(Safetensors, MutatedHeadersNeverCrash) {
  const absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(ValidFile());
  ASSERT_TRUE(file.ok());
  const std::string valid = PrintSafetensorsHeader({file->entries(), file->metadata()}).substr(8);
  const int64_t data_bytes = 8 + 24 + 3;
  ASSERT_TRUE(ParseSafetensorsHeader(valid, data_bytes).ok());
  std::mt19937 random(3);
  for (int round = 0; round < 20000; ++round) {
    const auto header = ParseSafetensorsHeader(Mutate(valid, random), data_bytes);
    if (!header.ok()) continue;
    int64_t bytes = 0;
    for (const SafetensorsEntry& entry : header->entries) bytes += entry.spec.bytes();
    EXPECT_EQ(bytes, data_bytes);
  }
}

TEST(Safetensors, MutatedFilesNeverCrash) {
  const std::string valid = ReadFile(ValidFile());
  std::mt19937 random(4);
  for (int round = 0; round < 200; ++round) {
    const absl::StatusOr<SafetensorsFile> file = OpenBytes(Mutate(valid, random));
    if (!file.ok()) continue;
    uint64_t sum = 0;
    for (const SafetensorsEntry& entry : file->entries()) {
      for (int64_t i = 0; i < entry.spec.bytes(); ++i) sum += file->data(entry)[i];
    }
    EXPECT_LT(sum, uint64_t{1} << 20);
  }
}

}  // namespace
}  // namespace weft

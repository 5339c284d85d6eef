#include "launcher/dataset_source.h"

#include <google/protobuf/io/gzip_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace weft {
namespace {

class DatasetSource : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& bytes) {
    const std::string path = Path(name);
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  // Of the running test alone: tests run beside each other.
  std::string Path(const std::string& name) {
    const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
    return testing::TempDir() + "dataset_source_" + test.name() + "_" + name;
  }
};

template <typename T>
std::string Raw(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

std::string LlmcHeader(int32_t magic, int32_t version, int32_t count) {
  std::vector<int32_t> header(256);
  header[0] = magic;
  header[1] = version;
  header[2] = count;
  return Raw(header);
}

// An index of the given sequence lengths.
std::string MegatronIndex(uint8_t code, int64_t item, const std::vector<int32_t>& lengths) {
  std::vector<int64_t> offsets;
  int64_t at = 0;
  for (const int32_t length : lengths) {
    offsets.push_back(at);
    at += length * item;
  }
  const std::vector<int64_t> documents = {0, static_cast<int64_t>(lengths.size())};
  return std::string("MMIDIDX\0\0", 9) + Raw<uint64_t>({1}) + static_cast<char>(code) +
         Raw<uint64_t>({lengths.size(), documents.size()}) + Raw(lengths) + Raw(offsets) +
         Raw(documents);
}

std::string Gzip(const std::string& text) {
  std::string packed;
  google::protobuf::io::StringOutputStream sink(&packed);
  google::protobuf::io::GzipOutputStream stream(&sink);
  void* part = nullptr;
  int size = 0;
  size_t done = 0;
  while (done < text.size() && stream.Next(&part, &size)) {
    const size_t n = std::min<size_t>(size, text.size() - done);
    std::memcpy(part, text.data() + done, n);
    done += n;
    if (n < static_cast<size_t>(size)) stream.BackUp(size - static_cast<int>(n));
  }
  stream.Close();
  return packed;
}

std::vector<int64_t> Tokens(const absl::StatusOr<TokenSource>& source) {
  EXPECT_TRUE(source.ok()) << source.status();
  std::vector<int64_t> tokens;
  for (int64_t i = 0; source.ok() && i < source->size(); ++i) tokens.push_back(source->At(i));
  return tokens;
}

void ExpectError(const absl::StatusOr<TokenSource>& source, const std::string& says) {
  ASSERT_FALSE(source.ok()) << says;
  EXPECT_NE(std::string(source.status().message()).find(says), std::string::npos)
      << says << " in " << source.status();
}

TEST_F(DatasetSource, TextIsBytes) {
  const std::string text = "ab\xff\n";
  EXPECT_EQ(Tokens(TokenSource::OpenText(Write("t.txt", text))),
            (std::vector<int64_t>{'a', 'b', 0xff, '\n'}));
  ExpectError(TokenSource::OpenText("/nowhere/x.txt"), "cannot read '/nowhere/x.txt'");
  EXPECT_EQ(Tokens(TokenSource::OpenText(Write("e.txt", ""))).size(), 0u);
}

TEST_F(DatasetSource, PackedTextIsUnpacked) {
  std::string text;
  for (int i = 0; i < 100000; ++i) text += std::to_string(i * 7919 % 1000);
  const std::string packed = Gzip(text);
  const absl::StatusOr<TokenSource> source = TokenSource::OpenText(Write("t.gz", packed));
  ASSERT_TRUE(source.ok()) << source.status();
  ASSERT_EQ(source->size(), static_cast<int64_t>(text.size()));
  for (size_t i = 0; i < text.size(); i += 997) EXPECT_EQ(source->At(i), text[i]);
  ExpectError(TokenSource::OpenText(Write("cut.gz", packed.substr(0, packed.size() / 2))), "gzip");
  std::string damaged = packed;
  damaged[packed.size() / 2] ^= 0x55;
  ExpectError(TokenSource::OpenText(Write("bad.gz", damaged)), "gzip");
}

TEST_F(DatasetSource, LlmcOfBothWidths) {
  const std::string u16 = LlmcHeader(20240520, 1, 3) + Raw<uint16_t>({1, 50256, 65535});
  const std::string u32 = LlmcHeader(20240801, 7, 2) + Raw<uint32_t>({128255, 4000000000u});
  EXPECT_EQ(Tokens(TokenSource::OpenAny(Write("a.bin", u16))),
            (std::vector<int64_t>{1, 50256, 65535}));
  EXPECT_EQ(Tokens(TokenSource::OpenLlmc(Write("b.bin", u32))),
            (std::vector<int64_t>{128255, 4000000000}));
}

TEST_F(DatasetSource, LlmcDamage) {
  const std::string tokens = Raw<uint16_t>({1, 2, 3});
  ExpectError(TokenSource::OpenLlmc(Write("c.bin", "short")), "header");
  ExpectError(TokenSource::OpenLlmc(Write("d.bin", LlmcHeader(7, 1, 3) + tokens)), "no llm.c");
  ExpectError(TokenSource::OpenLlmc(Write("e.bin", LlmcHeader(20240520, 2, 3) + tokens)),
              "version 2");
  ExpectError(TokenSource::OpenLlmc(Write("f.bin", LlmcHeader(20240520, 1, 4) + tokens)),
              "promises 4 tokens but has room for 3");
  ExpectError(TokenSource::OpenLlmc(Write("g.bin", LlmcHeader(20240520, 1, -1) + tokens)),
              "promises");
}

TEST_F(DatasetSource, RawNeedsItsWidthNamed) {
  const std::string path = Write("r.bin", Raw<uint16_t>({5, 6}));
  EXPECT_EQ(Tokens(TokenSource::OpenRaw(path, TokenSource::Width::kU16)),
            (std::vector<int64_t>{5, 6}));
  EXPECT_EQ(Tokens(TokenSource::OpenRaw(path, TokenSource::Width::kU32)),
            (std::vector<int64_t>{5 + (6 << 16)}));
  ExpectError(TokenSource::OpenAny(path), "data.format: U16 or U32");
  ExpectError(TokenSource::OpenRaw(Write("odd.bin", "abc"), TokenSource::Width::kU16), "2-byte");
}

TEST_F(DatasetSource, MegatronByAnyOfItsNames) {
  Write("m.bin", Raw<uint16_t>({10, 11, 12, 13, 14}));
  Write("m.idx", MegatronIndex(8, 2, {3, 0, 2}));
  const std::vector<int64_t> expected = {10, 11, 12, 13, 14};
  EXPECT_EQ(Tokens(TokenSource::OpenAny(Path("m.bin"))), expected);
  EXPECT_EQ(Tokens(TokenSource::OpenAny(Path("m.idx"))), expected);
  EXPECT_EQ(Tokens(TokenSource::OpenAny(Path("m"))), expected);
  EXPECT_EQ(Tokens(TokenSource::OpenMegatron(Path("m"))), expected);
  Write("n.bin", Raw<int32_t>({100000, -1}));
  Write("n.idx", MegatronIndex(4, 4, {2}));
  EXPECT_EQ(Tokens(TokenSource::OpenMegatron(Path("n.bin"))), (std::vector<int64_t>{100000, -1}));
}

TEST_F(DatasetSource, MegatronDamage) {
  const std::string good = MegatronIndex(8, 2, {3, 2});
  Write("x.bin", Raw<uint16_t>({10, 11, 12, 13, 14}));
  const auto open = [&](const std::string& index) {
    Write("x.idx", index);
    return TokenSource::OpenMegatron(Path("x.bin"));
  };
  EXPECT_TRUE(open(good).ok());
  ExpectError(open("MMID"), "shorter than its header");
  ExpectError(open("NMIDIDX" + good.substr(7)), "lacks MMIDIDX");
  ExpectError(open(good.substr(0, good.size() - 20)), "too short");
  ExpectError(open(MegatronIndex(6, 8, {5})), "dtype code 6");
  ExpectError(open(MegatronIndex(8, 2, {3, 3})), "do not belong together");
  ExpectError(open(MegatronIndex(8, 2, {6, -1})), "length -1");
  ExpectError(open(MegatronIndex(8, 4, {3, 2})), "begins at byte 12");
  std::string huge = good;
  std::memset(huge.data() + 18, 0xff, 8);
  ExpectError(open(huge), "too short");
  std::string version = good;
  version[9] = 2;
  ExpectError(open(version), "version 2");
}

}  // namespace
}  // namespace weft

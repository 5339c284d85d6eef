#include "launcher/product_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/status.h"

namespace weft {
namespace {

using Json = nlohmann::json;

absl::Status SystemError(std::string_view what, const std::string& path, int error) {
  return absl::InternalError(
      absl::StrCat("cannot ", std::string(what), " '", path, "': ", std::strerror(error)));
}

// One [KEY, WORDS, BYTES, SECONDS, FIRST]; false if it is something else.
bool Read(const Json& entry, ProductKey& key, ProductAlgorithm& algorithm) {
  if (!entry.is_array() || entry.size() != 5) return false;
  const Json &fields = entry[0], &words = entry[1];
  if (!fields.is_array() || fields.size() != key.values.size()) return false;
  if (!words.is_array() || words.size() != algorithm.words.size()) return false;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (!fields[i].is_number_integer()) return false;
    key.values[i] = fields[i].get<int64_t>();
  }
  for (size_t i = 0; i < words.size(); ++i) {
    if (!words[i].is_number_unsigned()) return false;
    algorithm.words[i] = words[i].get<uint64_t>();
  }
  if (!entry[2].is_number_integer() || !entry[3].is_number() || !entry[4].is_number()) return false;
  algorithm.workspace_bytes = entry[2].get<int64_t>();
  algorithm.seconds = entry[3].get<double>();
  algorithm.first_seconds = entry[4].get<double>();
  return true;
}

}  // namespace

std::string PrintProducts(const MachineProducts& products) {
  std::string text =
      absl::StrCat("{\"products_of\": ", Json(ProductKey::kNames).dump(), ",\n\"machines\": {");
  const char* before_machine = "";
  for (const auto& [machine, algorithms] : products) {
    absl::StrAppend(&text, before_machine, "\n",
                    Json(machine).dump(-1, ' ', false, Json::error_handler_t::replace), ": [");
    const char* before = "";
    for (const auto& [key, algorithm] : algorithms) {
      const Json entry = {key.values, algorithm.words, algorithm.workspace_bytes, algorithm.seconds,
                          algorithm.first_seconds};
      absl::StrAppend(&text, before, "\n", entry.dump());
      before = ",";
    }
    text += "]";
    before_machine = ",";
  }
  return text + "}}\n";
}

absl::StatusOr<MachineProducts> ParseProducts(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("machines") || !json["machines"].is_object()) {
    return absl::InvalidArgumentError("it is not JSON of algorithms for matrix products");
  }
  if (!json.contains("products_of") || json["products_of"] != Json(ProductKey::kNames)) {
    return absl::InvalidArgumentError("it is of another version of weft");
  }
  MachineProducts products;
  for (const auto& [machine, entries] : json["machines"].items()) {
    ProductAlgorithms& algorithms = products[machine];
    for (const Json& entry : entries) {
      ProductKey key;
      ProductAlgorithm algorithm;
      if (!Read(entry, key, algorithm)) {
        return absl::InvalidArgumentError(
            absl::StrCat("algorithm ", algorithms.size(), " of ", machine, " is no such"));
      }
      algorithms.emplace(key, algorithm);
    }
  }
  return products;
}

std::string DefaultProductFile() {
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  // Relative paths are to be ignored, by the specification of these folders.
  if (cache != nullptr && cache[0] == '/') return absl::StrCat(cache, "/weft/products.json");
  const char* const home = std::getenv("HOME");
  if (home == nullptr || home[0] == '\0') return "";
  return absl::StrCat(home, "/.cache/weft/products.json");
}

absl::StatusOr<MachineProducts> ReadProductFile(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return MachineProducts();
  std::ifstream file(path);
  if (!file.is_open()) return SystemError("read", path, errno);
  std::ostringstream text;
  text << file.rdbuf();
  absl::StatusOr<MachineProducts> products = ParseProducts(text.str());
  if (!products.ok()) return Annotate(products.status(), absl::StrCat("'", path, "'"));
  return products;
}

absl::Status AddToProductFile(const std::string& path, const MachineProducts& products) {
  MachineProducts all = ReadProductFile(path).value_or(MachineProducts());
  for (const auto& [machine, algorithms] : products) {
    for (const auto& [key, algorithm] : algorithms) all[machine][key] = algorithm;
  }
  std::error_code ignored;  // opening the file gives the reason
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (!folder.empty()) std::filesystem::create_directories(folder, ignored);
  // Of another process, or another rank of this one, that writes at the same time.
  const std::string partial = absl::StrCat(path, ".", ::getpid(), ".partial");
  std::ofstream file(partial, std::ios::trunc);
  if (!file) return SystemError("write", partial, errno);
  file << PrintProducts(all);
  file.close();
  if (file && std::rename(partial.c_str(), path.c_str()) == 0) return absl::OkStatus();
  const int error = errno;
  std::remove(partial.c_str());
  return SystemError("write", path, error);
}

}  // namespace weft

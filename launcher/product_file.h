// The text in which algorithms for matrix products are kept in a file and sent to other ranks:
// JSON, by device and library.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/product_algorithms.h"

namespace weft {

// By ProductMeasurer::machine().
using MachineProducts = std::map<std::string, ProductAlgorithms>;

// {"products_of": ["m", ...], "machines": {MACHINE: [[KEY, WORDS, BYTES, SECONDS, FIRST], ...]}},
// an algorithm a line. The names of a key's fields are part of it: text of a weft with other fields
// is refused, and so is nothing that this one wrote.
std::string PrintProducts(const MachineProducts& products);
// InvalidArgument if `text` is anything else.
absl::StatusOr<MachineProducts> ParseProducts(std::string_view text);

// $XDG_CACHE_HOME/weft/products.json, by default in ~/.cache; "" if the environment has neither.
std::string DefaultProductFile();

// What the file holds; nothing if there is none. Errors: the system's, or ParseProducts', with the
// path.
absl::StatusOr<MachineProducts> ReadProductFile(const std::string& path);

// Puts algorithms into the file, which is made with its folder if there is none, and replaced if it
// cannot be read. It appears whole or not at all; of two that add at once one may be lost. Errors:
// the system's, with the path.
absl::Status AddToProductFile(const std::string& path, const MachineProducts& products);

}  // namespace weft

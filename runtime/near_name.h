// Finds what the user probably meant, for errors about unknown names.
#pragma once

#include <string>
#include <vector>

namespace weft {

// The candidate nearest to `name` by edit distance (letter case ignored), or "" if none is near:
// more than a third of the letters differ.
std::string NearName(const std::string& name, const std::vector<std::string>& candidates);

// "; did you mean 'steps'?" or, where nothing is near, "; known: a, b, c".
std::string Suggest(const std::string& name, const std::vector<std::string>& candidates);

}  // namespace weft

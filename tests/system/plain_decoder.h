// A decoder's loss in plain loops over doubles, written from the formulas and using no weft op:
// what the graph is held against.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "graph/decoder.h"

namespace weft::testing {

// Row-major parameters by their names in graph/decoder.h.
using PlainParameters = std::map<std::string, std::vector<double>>;

// scale * the sum of token losses of `batch` rows of `sequence` tokens; targets below 0 do not
// count.
double PlainDecoderLoss(const DecoderConfig& config, const PlainParameters& parameters,
                        const std::vector<int>& tokens, const std::vector<int>& targets,
                        int64_t batch, int64_t sequence, double scale);

}  // namespace weft::testing

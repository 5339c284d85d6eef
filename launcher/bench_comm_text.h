// How results of `weft bench comm` read: the columns of nccl-tests, or JSON.
#pragma once

#include <string>

#include "launcher/bench_comm.h"

namespace weft {

// The lines above the first row of a collective over one kind of group.
std::string BenchHeading(const CommResult& first);
// "        1024           256       f32     sum      -1 ..." and a newline.
std::string BenchRow(const CommResult& result);
// One object and a newline. Keys: collective, axis (absent without a mesh), group, size, count,
// type, redop and root where there is one, out_of_place and, where it can be, in_place: time_us,
// algbw_gbs, busbw_gbs, and wrong where results were checked.
std::string BenchJson(const CommResult& result);
// "data of 4: latency 21.3 us, 2.1 GB/s": what was fitted.
std::string LinkLine(const CostModel::Group& group);

}  // namespace weft

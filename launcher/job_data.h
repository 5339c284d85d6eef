// What a job's data entries are for: one unnamed stream of tokens, or one entry for each input of a
// graph file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "launcher/job.pb.h"
#include "launcher/job_text.h"

namespace weft {

// The path of entry `i` as errors and --set name it: "data", or "data[1]" where there are several.
std::string DataPath(const Job& job, int i);
// Whether the entry is a stream of tokens, cut into rows of data.sequence; else it has rows itself.
bool IsStream(const Job::Data& data);
// Which input an entry feeds, in words: "'x'", or "tokens and targets".
std::string FedInputs(const Job::Data& data);
// Whether `data` names what it feeds and that is `input`, or is an unnamed stream, which feeds
// "tokens" and "targets".
bool Feeds(const Job::Data& data, std::string_view input);

// Whether the entries make sense, together and with the model; InvalidArgument names the field.
// Needs no file.
absl::Status CheckJobData(const Job& job, const FieldOrigins& origins);

// What the loss of a step is a mean over: targets of a stream, rows otherwise.
int64_t TargetsPerStep(const Job& job);
// The share of the data that is held out; entries that say so agree.
double HeldOutShare(const Job& job);

}  // namespace weft

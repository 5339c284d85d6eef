#include "launcher/trace_summary.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launcher/text_table.h"

namespace weft {
namespace {

constexpr size_t kMostRows = 16;

struct Stretch {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t length() const { return end > begin ? end - begin : 0; }
};

Stretch Common(const Stretch& a, const Stretch& b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

// The same moments, each in one interval, in order.
std::vector<Stretch> Union(std::vector<Stretch> intervals) {
  std::sort(intervals.begin(), intervals.end(),
            [](const Stretch& a, const Stretch& b) { return a.begin < b.begin; });
  std::vector<Stretch> merged;
  for (const Stretch& interval : intervals) {
    if (!merged.empty() && interval.begin <= merged.back().end) {
      merged.back().end = std::max(merged.back().end, interval.end);
    } else if (interval.length() > 0) {
      merged.push_back(interval);
    }
  }
  return merged;
}

// Of two unions.
int64_t LengthOfCommon(const std::vector<Stretch>& a, const std::vector<Stretch>& b) {
  int64_t length = 0;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    length += Common(a[i], b[j]).length();
    a[i].end < b[j].end ? ++i : ++j;
  }
  return length;
}

// What of the times is looked at, and how many steps that is.
struct Window {
  Stretch interval{std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min()};
  int64_t steps = 0;
};

Window WindowOf(const Plan& plan, const std::vector<FiringTime>& times) {
  int64_t first = std::numeric_limits<int64_t>::max(), last = -1;
  for (const FiringTime& time : times) {
    first = std::min(first, time.step);
    last = std::max(last, time.step);
  }
  Window window;
  Stretch& at = window.interval;
  int64_t last_begin = std::numeric_limits<int64_t>::max();
  for (const FiringTime& time : times) {
    if (!plan.actors(time.actor).has_compute()) continue;
    at.begin = std::min(at.begin, time.begin);
    at.end = std::max(at.end, time.end);
    if (time.step == last) last_begin = std::min(last_begin, time.begin);
  }
  if (at.length() == 0) return Window{.interval = {}};
  if (last > first) at.end = last_begin;
  window.steps = std::max<int64_t>(last - first, 1);
  return window;
}

double Share(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

nlohmann::ordered_json SummariseTrace(const Plan& plan, const std::vector<FiringTime>& times) {
  const Window window = WindowOf(plan, times);
  const int64_t whole = window.interval.length();
  std::vector<int64_t> busy(plan.streams_size()), host_bound(plan.streams_size());
  std::vector<Stretch> computes, communicates;
  for (const FiringTime& time : times) {
    const ActorDef& actor = plan.actors(time.actor);
    const Stretch all = Common({time.begin, time.end}, window.interval);
    const int64_t works =
        Common({time.begin + time.host_bound, time.end}, window.interval).length();
    busy[actor.stream()] += works;
    host_bound[actor.stream()] += all.length() - works;
    if (actor.has_compute()) computes.push_back(all);
    if (actor.has_all_reduce() || actor.has_exchange()) communicates.push_back(all);
  }
  communicates = Union(std::move(communicates));
  int64_t exposed = -LengthOfCommon(communicates, Union(std::move(computes)));
  for (const Stretch& interval : communicates) exposed += interval.length();
  const double steps = static_cast<double>(std::max<int64_t>(window.steps, 1));
  nlohmann::ordered_json summary = {
      {"rank", plan.rank()},
      {"steps", window.steps},
      {"step_ms", static_cast<double>(whole) / 1e6 / steps},
      {"exposed_communication_ms", static_cast<double>(exposed) / 1e6 / steps},
      {"streams", nlohmann::ordered_json::array()}};
  for (int s = 0; s < plan.streams_size(); ++s) {
    summary["streams"].push_back({{"name", plan.streams(s).name()},
                                  {"busy", Share(busy[s], whole)},
                                  {"host_bound", Share(host_bound[s], whole)}});
  }
  return summary;
}

std::string TraceSummaryText(const std::vector<nlohmann::ordered_json>& ranks) {
  if (ranks.empty()) return "";
  std::vector<std::string> headings = {">rank", ">step ms"};
  for (const auto& stream : ranks[0]["streams"]) {
    headings.push_back(absl::StrCat(">", stream["name"].get<std::string>(), " busy"));
    headings.push_back(">idle");
  }
  headings.push_back(">exposed ms");
  TextTable table(std::move(headings));
  for (size_t r = 0; r < std::min(ranks.size(), kMostRows); ++r) {
    const auto& rank = ranks[r];
    std::vector<std::string> row = {absl::StrCat(rank["rank"].get<int>()),
                                    absl::StrFormat("%.2f", rank["step_ms"].get<double>())};
    for (const auto& stream : rank["streams"]) {
      const double busy = stream["busy"].get<double>();
      row.push_back(absl::StrFormat("%.1f %%", 100 * busy));
      row.push_back(absl::StrFormat("%.1f %%", 100 * (1 - busy)));
    }
    row.push_back(absl::StrFormat("%.2f", rank["exposed_communication_ms"].get<double>()));
    table.Add(std::move(row));
  }
  std::string text = table.Text(2);
  if (ranks.size() > kMostRows) {
    absl::StrAppend(&text, "  and ", ranks.size() - kMostRows, " more ranks, in the file\n");
  }
  return text;
}

}  // namespace weft

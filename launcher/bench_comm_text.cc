#include "launcher/bench_comm_text.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/human_units.h"

namespace weft {
namespace {

std::string RedOp(const CommResult& result) {
  return Reduces(result.collective) ? std::string(Name(result.monoid)) : "none";
}

int Root(const CommResult& result) { return result.collective == Collective::kBroadcast ? 0 : -1; }

std::string PassColumns(const std::optional<CommResult::Pass>& pass) {
  if (!pass) return absl::StrFormat(" %9s %7s %7s %6s", "N/A", "N/A", "N/A", "N/A");
  return absl::StrFormat(" %9.2f %7.2f %7.2f %6s", pass->seconds * 1e6, pass->algbw / 1e9,
                         pass->busbw / 1e9, pass->wrong < 0 ? "N/A" : absl::StrCat(pass->wrong));
}

nlohmann::ordered_json PassJson(const CommResult::Pass& pass) {
  nlohmann::ordered_json json = {{"time_us", pass.seconds * 1e6},
                                 {"algbw_gbs", pass.algbw / 1e9},
                                 {"busbw_gbs", pass.busbw / 1e9}};
  if (pass.wrong >= 0) json["wrong"] = pass.wrong;
  return json;
}

}  // namespace

std::string BenchHeading(const CommResult& first) {
  std::string text = absl::StrCat("# ", std::string(Name(first.collective)), " over ",
                                  first.axis.empty() ? "all " : "each group of ", first.group,
                                  first.group == 1 ? " rank" : " ranks");
  if (!first.axis.empty()) absl::StrAppend(&text, " along ", first.axis, ", all groups at once");
  absl::StrAppendFormat(&text, "\n# %50s %-32s %s\n", "", "          out-of-place",
                        "             in-place");
  absl::StrAppendFormat(&text, "# %10s %13s %9s %7s %7s", "size", "count", "type", "redop", "root");
  for (int pass = 0; pass < 2; ++pass) {
    absl::StrAppendFormat(&text, " %9s %7s %7s %6s", "time", "algbw", "busbw", "#wrong");
  }
  absl::StrAppendFormat(&text, "\n# %10s %13s %9s %7s %7s", "(B)", "(elements)", "", "", "");
  for (int pass = 0; pass < 2; ++pass) {
    absl::StrAppendFormat(&text, " %9s %7s %7s%s", "(us)", "(GB/s)", "(GB/s)",
                          pass == 0 ? "       " : "\n");
  }
  return text;
}

std::string BenchRow(const CommResult& result) {
  return absl::StrFormat("  %10d %13d %9s %7s %7d%s%s\n", result.bytes, result.count,
                         std::string(Name(result.dtype)), RedOp(result), Root(result),
                         PassColumns(result.out_of_place), PassColumns(result.in_place));
}

std::string BenchJson(const CommResult& result) {
  nlohmann::ordered_json json = {{"collective", std::string(Name(result.collective))}};
  if (!result.axis.empty()) json["axis"] = result.axis;
  json["group"] = result.group;
  json["size"] = result.bytes;
  json["count"] = result.count;
  json["type"] = std::string(Name(result.dtype));
  if (Reduces(result.collective)) json["redop"] = RedOp(result);
  if (Root(result) >= 0) json["root"] = Root(result);
  json["out_of_place"] = PassJson(result.out_of_place);
  if (result.in_place) json["in_place"] = PassJson(*result.in_place);
  return json.dump() + "\n";
}

std::string LinkLine(const CostModel::Group& group) {
  return absl::StrCat(group.axis.empty() ? "any axis" : group.axis, " of ", group.size,
                      ": latency ", HumanSeconds(group.link.latency),
                      absl::StrFormat(", %.4g GB/s", group.link.bytes_per_second / 1e9));
}

}  // namespace weft

#include "launcher/plan_html.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "launcher/plan_json.h"
#include "launcher/plan_page.h"
#include "runtime/human_units.h"

namespace weft {
namespace {

constexpr size_t kMostFirings = 6000;  // of a stream
constexpr size_t kMostConversions = 2000;
// Of all ranks together.
constexpr size_t kMostHolders = 1600;
constexpr size_t kMostChannels = 1600;

// Shortens lists and says what was left out of them, of all lists of a sort together.
class Cutter {
 public:
  template <typename T>
  void Cut(std::vector<T>& list, size_t most, const char* what) {
    Count& count = counts_[what];
    count.all += list.size();
    if (list.size() > most) list.resize(most);
    count.kept += list.size();
  }

  void Say(std::vector<std::string>& left_out) const {
    for (const auto& [what, count] : counts_) {
      if (count.kept == count.all) continue;
      left_out.push_back(absl::StrCat(HumanCount(static_cast<int64_t>(count.all - count.kept)),
                                      " of ", HumanCount(static_cast<int64_t>(count.all)), " ",
                                      what));
    }
  }

 private:
  struct Count {
    size_t kept = 0, all = 0;
  };
  std::map<std::string, Count> counts_;
};

// The report's JSON inside of a script element: no tag may begin in it.
std::string Embedded(const PlanReport& report) {
  return absl::StrReplaceAll(PlanJson(report).dump(), {{"<", "\\u003c"}});
}

std::string EscapeHtml(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
}

}  // namespace

PlanReport CutForPage(PlanReport report) {
  Cutter cutter;
  std::vector<PlanReport::Conversion>& conversions = report.conversions;
  if (conversions.size() > kMostConversions) {
    std::stable_sort(conversions.begin(), conversions.end(), [](const auto& a, const auto& b) {
      return a.bytes * a.firings > b.bytes * b.firings;
    });
  }
  cutter.Cut(conversions, kMostConversions, "conversions (those that send least)");
  const size_t ranks = std::max<size_t>(1, report.ranks.size());
  for (PlanReport::Rank& rank : report.ranks) {
    cutter.Cut(rank.memory.holders, kMostHolders / ranks, "holders of memory (the smallest)");
    cutter.Cut(rank.channels, kMostChannels / ranks, "channels (the last)");
    for (PlanReport::Stream& stream : rank.streams) {
      cutter.Cut(stream.order, kMostFirings, "firings in the lists of streams (the last)");
    }
  }
  for (PlanReport::Timeline& timeline : report.timelines) {
    for (PlanReport::Stream& stream : timeline.streams) {
      cutter.Cut(stream.timeline, kMostFirings, "firings of the schedule (the last of a stream)");
    }
  }
  cutter.Say(report.left_out);
  return report;
}

std::string PlanHtml(const PlanReport& report) {
  const PlanReport cut = CutForPage(report);
  return absl::StrReplaceAll(kPlanPageTemplate, {{"@TITLE@", EscapeHtml(report.job.name)},
                                                 {"@STYLE@", kPlanPageStyle},
                                                 {"@SCRIPT@", kPlanPageScript},
                                                 {"@REPORT@", Embedded(cut)}});
}

}  // namespace weft

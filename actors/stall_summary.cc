#include "actors/stall_summary.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace weft {
namespace {

struct Edge {
  int to;
  std::string actor;
};
using Edges = std::vector<std::vector<Edge>>;  // by rank

std::string RanksText(const std::vector<int>& ranks) {
  return absl::StrCat(ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(ranks, ", "));
}

// Whether the report says that its rank is in operation `actor` with `rank`.
bool IsIn(const RankReportDef& report, const std::string& actor, int rank) {
  for (const RankWaitDef& wait : report.waits()) {
    if (wait.actor() != actor) continue;
    if (std::find(wait.ranks().begin(), wait.ranks().end(), rank) != wait.ranks().end()) {
      return true;
    }
  }
  return false;
}

Edges EdgesOf(const std::vector<std::optional<RankReportDef>>& reports) {
  Edges edges(reports.size());
  for (int rank = 0; rank < static_cast<int>(reports.size()); ++rank) {
    if (!reports[rank]) continue;
    for (const RankWaitDef& wait : reports[rank]->waits()) {
      for (int to : wait.ranks()) {
        if (to < 0 || to >= static_cast<int>(reports.size())) continue;
        if (reports[to] && IsIn(*reports[to], wait.actor(), rank)) continue;
        edges[rank].push_back({to, wait.actor()});
      }
    }
  }
  return edges;
}

// A path of ranks that ends where it begins; empty if there is none.
std::vector<int> FindCycle(const Edges& edges) {
  enum Mark { kNew, kOpen, kClosed };
  std::vector<Mark> marks(edges.size(), kNew);
  for (size_t start = 0; start < edges.size(); ++start) {
    if (marks[start] != kNew) continue;
    std::vector<int> path = {static_cast<int>(start)};
    std::vector<size_t> next = {0};
    marks[start] = kOpen;
    while (!path.empty()) {
      const int rank = path.back();
      if (next.back() == edges[rank].size()) {
        marks[rank] = kClosed;
        path.pop_back();
        next.pop_back();
        continue;
      }
      const int to = edges[rank][next.back()++].to;
      if (marks[to] == kOpen) {
        path.erase(path.begin(), std::find(path.begin(), path.end(), to));
        path.push_back(to);
        return path;
      }
      if (marks[to] == kClosed) continue;
      marks[to] = kOpen;
      path.push_back(to);
      next.push_back(0);
    }
  }
  return {};
}

std::string CycleText(const Edges& edges, const std::vector<int>& cycle) {
  std::string text = "the ranks wait in a circle: ";
  for (size_t i = 0; i + 1 < cycle.size(); ++i) {
    const std::vector<Edge>& from = edges[cycle[i]];
    const auto edge =
        std::find_if(from.begin(), from.end(), [&](const Edge& e) { return e.to == cycle[i + 1]; });
    absl::StrAppend(&text, i == 0 ? "" : ", ", "rank ", cycle[i], " in `", edge->actor,
                    "` for rank ", cycle[i + 1]);
  }
  return text;
}

}  // namespace

std::string StallSummary(const std::vector<std::optional<RankReportDef>>& reports) {
  std::vector<int> absent;
  bool any_wait = false;
  for (int rank = 0; rank < static_cast<int>(reports.size()); ++rank) {
    if (!reports[rank]) absent.push_back(rank);
    any_wait = any_wait || (reports[rank] && reports[rank]->waits_size() > 0);
  }
  if (!absent.empty()) {
    return absl::StrCat(RanksText(absent), absent.size() == 1 ? " does" : " do",
                        " not answer: stopped, lost, or cut off from the others");
  }
  const Edges edges = EdgesOf(reports);
  if (const std::vector<int> cycle = FindCycle(edges); !cycle.empty()) {
    return CycleText(edges, cycle);
  }
  std::vector<int> waiting, awaited;
  for (int rank = 0; rank < static_cast<int>(edges.size()); ++rank) {
    if (!edges[rank].empty()) waiting.push_back(rank);
    for (const Edge& edge : edges[rank]) {
      if (edges[edge.to].empty()) awaited.push_back(edge.to);
    }
  }
  std::sort(awaited.begin(), awaited.end());
  awaited.erase(std::unique(awaited.begin(), awaited.end()), awaited.end());
  if (!awaited.empty()) {
    return absl::StrCat(RanksText(waiting), waiting.size() == 1 ? " waits" : " wait", " for ",
                        RanksText(awaited), ", which ", awaited.size() == 1 ? "waits" : "wait",
                        " for no other rank");
  }
  return any_wait ? "ranks wait for messages alone that are on their way"
                  : "no rank waits for another";
}

}  // namespace weft

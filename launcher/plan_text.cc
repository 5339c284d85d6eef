#include "launcher/plan_text.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launcher/text_table.h"
#include "runtime/human_units.h"

namespace weft {
namespace {

std::string Count(int64_t count, const char* one) {
  return absl::StrCat(HumanCount(count), " ", one, count == 1 ? "" : "s");
}

// "853,120 B (833 KiB)": exact, then readable.
std::string ExactBytes(int64_t bytes) {
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  return absl::StrCat(HumanCount(bytes), " B (", HumanBytes(bytes), ")");
}

constexpr size_t kMostRanges = 6;

// "0-3,6"; with many ranges "0-7,64-71, ... (128 ranks)".
std::string Ranges(const std::vector<int>& ranks) {
  std::vector<std::string> ranges;
  for (size_t first = 0, next = 0; first < ranks.size(); first = next) {
    next = first + 1;
    while (next < ranks.size() && ranks[next] == ranks[next - 1] + 1) ++next;
    ranges.push_back(next == first + 1 ? absl::StrCat(ranks[first])
                                       : absl::StrCat(ranks[first], "-", ranks[next - 1]));
  }
  if (ranges.size() <= kMostRanges) return absl::StrJoin(ranges, ",");
  ranges.resize(kMostRanges);
  return absl::StrCat(absl::StrJoin(ranges, ","), ", ... (", HumanCount(ranks.size()), " ranks)");
}

class PlanWriter {
 public:
  PlanWriter(const PlanReport& report, size_t holders) : report_(report), holders_(holders) {}

  std::string Write() const {
    std::string text = absl::StrCat(MeshChoiceText(report_.mesh_choice), Header(), "\n", Layouts(),
                                    "\n", Conversions(), "\n");
    if (report_.ranks.empty()) return text;
    const PlanReport::Rank& rank = report_.ranks[0];
    return absl::StrCat(text, Memory(rank), "\n", Channels(rank), "\n", Streams(rank));
  }

 private:
  std::string Header() const {
    const PlanReport::Job& job = report_.job;
    std::string text = absl::StrCat(
        "job ", job.name, ": mesh {", report_.meshes[0].ToString(), "}, ",
        Count(report_.num_ranks, "rank"),
        report_.stages.size() > 1 ? absl::StrCat(" in ", report_.stages.size(), " pipeline stages")
                                  : "",
        ", ", Count(job.parameters, "parameter"), ", ",
        Count(static_cast<int64_t>(report_.ops.size()), "op"), " in ",
        Count(static_cast<int64_t>(report_.actors.size()), "actor"), ", ",
        HumanCount(job.microbatches), job.microbatches == 1 ? " microbatch" : " microbatches",
        " of ", Count(job.microbatch_rows, "row"), "\n");
    absl::StrAppend(&text, "predicted: ", ExactBytes(report_.bytes_sent),
                    " sent a step by all ranks");
    if (report_.times) absl::StrAppend(&text, ", ", Times());
    return text + "\n";
  }

  std::string Times() const {
    const PlanReport::Prediction& prediction = report_.prediction;
    if (!prediction.known) {
      return absl::StrCat("step time of so many ranks: ask weft simulate\n", Machine());
    }
    std::string text = absl::StrCat(HumanSeconds(prediction.step_seconds), " a step (");
    bool first = true;
    for (const auto& [stream, seconds] : prediction.busy) {
      absl::StrAppend(&text, first ? "" : ", ", stream, " ", HumanSeconds(seconds));
      first = false;
    }
    return absl::StrCat(text, ")\n", Machine());
  }

  std::string Machine() const {
    const PlanReport::Machine& machine = report_.machine;
    std::string text = absl::StrFormat(
        "modelled machine: %.6g GFLOP/s and %.4g GB/s of memory a rank, "
        "links of %.4g GB/s and %s",
        machine.flops_per_second / 1e9, machine.memory_bytes_per_second / 1e9,
        machine.link_bytes_per_second / 1e9, HumanSeconds(machine.link_latency));
    for (const CostModel::Group& group : machine.groups) {
      absl::StrAppend(&text, "\n  measured along ", group.axis.empty() ? "any axis" : group.axis,
                      " of ", group.size, ": ",
                      absl::StrFormat("%.3g GB/s and ", group.link.bytes_per_second / 1e9),
                      HumanSeconds(group.link.latency));
    }
    return text;
  }

  std::string Layouts() const {
    TextTable table({"made by", "value", "type", "layout"});
    for (const PlanReport::Value& value : report_.values) {
      table.Add({value.made_by, value.name, value.type, value.layout});
    }
    return absl::StrCat("layouts, ", report_.layouts.proof, " for the modelled machine\n",
                        table.Text(2));
  }

  std::string Conversions() const {
    std::vector<std::string> headings = {"value", "from", "to", "how", ">bytes", ">a step"};
    if (report_.times) headings.push_back(">time");
    headings.push_back("for");
    TextTable table(std::move(headings));
    double seconds = 0;
    for (const PlanReport::Conversion& c : report_.conversions) {
      seconds += c.seconds * static_cast<double>(c.firings);
      std::vector<std::string> cells = {
          report_.values[c.from].name, c.from_layout, c.to_layout, c.how, HumanBytes(c.bytes),
          absl::StrCat(c.firings, "x")};
      if (report_.times) cells.push_back(HumanSeconds(c.seconds));
      cells.push_back(c.consumer);
      table.Add(std::move(cells));
    }
    std::string text = absl::StrCat("conversions: ", report_.conversions.size());
    if (report_.conversions.empty()) return text + "\n";
    absl::StrAppend(&text, ", ", HumanBytes(report_.bytes_sent), " a step over all ranks");
    if (report_.times) absl::StrAppend(&text, ", ", HumanSeconds(seconds));
    return absl::StrCat(text, "\n", table.Text(2));
  }

  // Classes that need and send the same are one row.
  std::vector<PlanReport::RankClass> Needs() const {
    std::vector<PlanReport::RankClass> needs;
    for (const PlanReport::RankClass& one : report_.rank_classes) {
      const auto same = std::find_if(needs.begin(), needs.end(), [&](const auto& other) {
        return other.arena_bytes == one.arena_bytes && other.variable_bytes == one.variable_bytes &&
               other.bytes_sent == one.bytes_sent;
      });
      if (same == needs.end()) {
        needs.push_back(one);
        continue;
      }
      same->ranks.insert(same->ranks.end(), one.ranks.begin(), one.ranks.end());
      std::sort(same->ranks.begin(), same->ranks.end());
    }
    return needs;
  }

  std::string Memory(const PlanReport::Rank& rank) const {
    TextTable ranks({"ranks", ">arena", ">variables", ">together", ">sends a step"});
    for (const PlanReport::RankClass& one : Needs()) {
      ranks.Add({Ranges(one.ranks), HumanBytes(one.arena_bytes), HumanBytes(one.variable_bytes),
                 HumanBytes(one.arena_bytes + one.variable_bytes), ExactBytes(one.bytes_sent)});
    }
    const std::vector<PlanReport::Holder>& holders = rank.memory.holders;
    TextTable table({">bytes", ">slots", "value", "part", "written by", "last read by"});
    const size_t shown = std::min(holders_, holders.size());
    for (size_t i = 0; i < shown; ++i) {
      const PlanReport::Holder& h = holders[i];
      table.Add({HumanBytes(h.bytes), absl::StrCat(h.slots), h.name, h.part, h.from, h.until});
    }
    return absl::StrCat("memory\n", ranks.Text(2), "the ", shown, " largest holders of ",
                        holders.size(), " on rank ", rank.rank,
                        " (values whose lives do not overlap share memory)\n", table.Text(2));
  }

  std::string Channels(const PlanReport::Rank& rank) const {
    TextTable table({"channel", ">slots", ">writes", ">reads", ">full at start", "from", "to"});
    for (const PlanReport::Channel& channel : rank.channels) {
      std::vector<std::string> reads, readers;
      for (const PlanReport::Channel::Reader& reader : channel.readers) {
        reads.push_back(absl::StrCat(reader.reads_per_slot));
        readers.push_back(report_.actors[reader.actor].name);
      }
      table.Add({channel.name, absl::StrCat(channel.slots), absl::StrCat(channel.writes_per_slot),
                 absl::StrJoin(reads, ","), absl::StrCat(channel.initial),
                 report_.actors[channel.writer].name, absl::StrJoin(readers, ", ")});
    }
    return absl::StrCat("channels of rank ", rank.rank,
                        " (writes and reads: firings for one slot)\n", table.Text(2));
  }

  std::string Streams(const PlanReport::Rank& rank) const {
    std::string text = absl::StrCat("streams of rank ", rank.rank, ", in firing order\n");
    for (const PlanReport::Stream& stream : rank.streams) {
      absl::StrAppend(&text, "  ", stream.name, ": ",
                      Count(static_cast<int64_t>(stream.order.size()), "firing"), "\n");
      const bool computes = std::any_of(stream.order.begin(), stream.order.end(),
                                        [&](int a) { return report_.actors[a].kind == "compute"; });
      std::vector<std::string> headings = {">#", "actor"};
      if (computes) headings.push_back(">kernels");
      if (report_.times) headings.push_back(">time");
      TextTable table(std::move(headings));
      int number = 0;
      for (int a : stream.order) {
        const PlanReport::Actor& actor = report_.actors[a];
        std::vector<std::string> cells = {absl::StrCat(++number), actor.name};
        if (computes) cells.push_back(absl::StrCat(actor.kind == "compute" ? actor.kernels : 0));
        if (report_.times) cells.push_back(HumanSeconds(actor.seconds));
        table.Add(std::move(cells));
      }
      absl::StrAppend(&text, table.Text(4));
    }
    return text;
  }

  const PlanReport& report_;
  const size_t holders_;
};

}  // namespace

std::string PlanText(const PlanReport& report, size_t holders) {
  return PlanWriter(report, holders).Write();
}

}  // namespace weft

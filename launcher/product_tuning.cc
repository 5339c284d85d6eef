#include "launcher/product_tuning.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launcher/product_file.h"
#include "runtime/rendezvous.h"
#include "runtime/status.h"

namespace weft {
namespace {

using Clock = std::chrono::steady_clock;

// Rank 0's part: what all ranks are to use.
class Decision {
 public:
  Decision(ProductTuning& tuning, std::string machine)
      : tuning_(tuning), machine_(std::move(machine)) {}

  absl::StatusOr<ProductAlgorithms> Of(const ProductSet& wanted) {
    ProductAlgorithms chosen = tuning_.in_use;
    std::vector<ProductKey> unknown;
    for (const ProductKey& key : wanted) {
      if (!chosen.contains(key)) unknown.push_back(key);
    }
    if (unknown.empty()) return chosen;
    WEFT_RETURN_IF_ERROR(TakeFromFile(unknown, chosen));
    WEFT_RETURN_IF_ERROR(Measure(unknown, chosen));
    return chosen;
  }

 private:
  void Say(const std::string& message) const {
    if (tuning_.say) tuning_.say(message);
  }

  // Leaves in `unknown` what the file does not know.
  absl::Status TakeFromFile(std::vector<ProductKey>& unknown, ProductAlgorithms& chosen) {
    if (tuning_.cache.empty()) return absl::OkStatus();
    const absl::StatusOr<MachineProducts> kept = ReadProductFile(tuning_.cache);
    if (!kept.ok()) {
      Say(absl::StrCat("algorithms of matrix products are measured anew: ",
                       std::string(kept.status().message())));
      return absl::OkStatus();
    }
    const auto here = kept->find(machine_);
    if (here == kept->end()) return absl::OkStatus();
    std::vector<ProductKey> left;
    for (const ProductKey& key : unknown) {
      const auto known = here->second.find(key);
      bool accepted = false;
      if (known != here->second.end()) {
        WEFT_ASSIGN_OR_RETURN(accepted, tuning_.measurer->Accepts(key, known->second));
      }
      if (accepted) {
        chosen.insert(*known);
        ++tuning_.from_file;
      } else {
        left.push_back(key);
      }
    }
    unknown = std::move(left);
    return absl::OkStatus();
  }

  // The largest first, in case time runs out.
  absl::Status Measure(std::vector<ProductKey> unknown, ProductAlgorithms& chosen) {
    std::stable_sort(unknown.begin(), unknown.end(), [](const ProductKey& a, const ProductKey& b) {
      return a.flops() > b.flops();
    });
    const Clock::time_point start = Clock::now();
    const double spent_before = tuning_.seconds_spent;
    const int left_before = tuning_.left;
    ProductAlgorithms found;
    double seconds = 0, first_seconds = 0;
    for (const ProductKey& key : unknown) {
      std::optional<ProductAlgorithm> algorithm;
      if (tuning_.seconds_spent < tuning_.limit_seconds) {
        WEFT_ASSIGN_OR_RETURN(algorithm, tuning_.measurer->Measure(key));
      }
      tuning_.seconds_spent =
          spent_before + std::chrono::duration<double>(Clock::now() - start).count();
      if (!algorithm) {
        ++tuning_.left;
        continue;
      }
      ++tuning_.measured;
      found.emplace(key, *algorithm);
      seconds += algorithm->seconds;
      first_seconds += algorithm->first_seconds;
    }
    const int left = tuning_.left - left_before;
    if (!unknown.empty()) {
      Say(absl::StrFormat(
          "measured algorithms of %d matrix products in %.1f s: %.3f ms in all, %.3f ms by the "
          "library's first guesses%s",
          found.size(), tuning_.seconds_spent - spent_before, seconds * 1e3, first_seconds * 1e3,
          left == 0 ? ""
                    : absl::StrCat("; ", left, " more keep these, for want of time or memory")));
    }
    chosen.insert(found.begin(), found.end());
    if (found.empty() || tuning_.cache.empty()) return absl::OkStatus();
    const absl::Status kept = AddToProductFile(tuning_.cache, {{machine_, std::move(found)}});
    if (!kept.ok()) {
      Say(absl::StrCat("algorithms of matrix products are not kept: ",
                       std::string(kept.message())));
    }
    return absl::OkStatus();
  }

  ProductTuning& tuning_;
  const std::string machine_;
};

// What all ranks want, with no algorithms.
absl::StatusOr<MachineProducts> Union(const std::vector<std::string>& texts) {
  MachineProducts all;
  for (const std::string& text : texts) {
    WEFT_ASSIGN_OR_RETURN(const MachineProducts of_rank, ParseProducts(text));
    for (const auto& [machine, products] : of_rank) {
      all[machine].insert(products.begin(), products.end());
    }
  }
  return all;
}

}  // namespace

absl::StatusOr<ProductSet> ListProducts(Executor& executor, ProductMeasurer& measurer) {
  ProductSet products;
  WEFT_RETURN_IF_ERROR(
      executor.VisitCalls([&](std::string_view name, Kernel kernel, const KernelContext& context) {
        return measurer.List(name, kernel, context, products);
      }));
  std::erase_if(products, [](const ProductKey& key) { return !WorthMeasuring(key); });
  return products;
}

absl::Status TuneProducts(const ProductSet& products, Transport& transport, ProductTuning& tuning) {
  const std::string machine = tuning.measurer->machine();
  MachineProducts mine;
  for (const ProductKey& key : products) mine[machine][key];
  if (products.empty()) mine[machine];
  WEFT_ASSIGN_OR_RETURN(const std::vector<std::string> texts,
                        GatherBytes(transport, 0, PrintProducts(mine)));
  std::string decided;
  if (transport.rank() == 0) {
    WEFT_ASSIGN_OR_RETURN(const MachineProducts wanted, Union(texts));
    ProductAlgorithms chosen;
    if (wanted.size() == 1) {
      ProductSet keys;
      for (const auto& [key, nothing] : wanted.begin()->second) keys.insert(key);
      WEFT_ASSIGN_OR_RETURN(chosen, Decision(tuning, machine).Of(keys));
    } else if (tuning.say) {
      tuning.say(
          absl::StrCat("matrix products use the library's first guesses: ranks differ in GPU "
                       "or library (",
                       wanted.begin()->first, "; ", wanted.rbegin()->first, ")"));
    }
    decided = PrintProducts({{machine, std::move(chosen)}});
  }
  WEFT_RETURN_IF_ERROR(BroadcastBytes(transport, 0, &decided));
  WEFT_ASSIGN_OR_RETURN(MachineProducts all, ParseProducts(decided));
  tuning.in_use = std::move(all.begin()->second);
  tuning.measurer->Adopt(tuning.in_use);
  return absl::OkStatus();
}

}  // namespace weft

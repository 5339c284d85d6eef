#include "launcher/plan_report.h"

namespace weft {

const char* Name(PlanPart part) {
  switch (part) {
    case PlanPart::kForward: return "forward";
    case PlanPart::kBackward: return "backward";
    case PlanPart::kOptimizer: return "optimizer";
  }
  return "";
}

}  // namespace weft

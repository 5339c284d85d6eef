// The demo's picture: what the model learnt, against what it had to beat. Plain SVG, so that a
// browser shows it and no plotting package is needed.
#pragma once

#include <string>
#include <vector>

#include "examples/demo/metrics_curve.h"

namespace weft {

// A horizontal line with its name.
struct Yardline {
  std::string label;
  double bits = 0;
};

// An SVG document: training loss (thin: every step; bold: smoothed), evaluations as dots joined by
// a line, yardlines dashed. x: steps; y: bits per byte. Pure.
std::string DrawLossCurve(const MetricsCurve& curve, const std::vector<Yardline>& yardlines,
                          const std::string& title);

}  // namespace weft

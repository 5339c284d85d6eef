#include "examples/demo/loss_curve_svg.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace weft {
namespace {

using Points = std::vector<MetricsCurve::Point>;

constexpr double kWidth = 900, kHeight = 520;
constexpr double kLeft = 70, kRight = 160, kTop = 50, kBottom = 60;
constexpr std::array<const char*, 4> kYardColours = {"#c0392b", "#8e44ad", "#16a085", "#7f8c8d"};
constexpr size_t kMostPoints = 1500;  // of one drawn line; more only make the file larger

std::string Escaped(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
}

// 1, 2 or 5 times a power of ten, such that `span` takes about `count` of them.
double NiceStep(double span, int count) {
  const double raw = span / count;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (raw <= factor * power) return factor * power;
  }
  return 10 * power;
}

// Mean over 2 % of the run around each point; less towards the start, where the curve is steep, and
// towards the end, where there is no more.
Points Smoothed(const Points& points) {
  const size_t reach = std::max<size_t>(1, points.size() / 100);
  std::vector<double> sums(points.size() + 1, 0);
  for (size_t i = 0; i < points.size(); ++i) sums[i + 1] = sums[i] + points[i].bits;
  Points result = points;
  for (size_t i = 0; i < points.size(); ++i) {
    const size_t before = std::min(reach, i);
    const size_t after = std::min(before, points.size() - 1 - i);
    result[i].bits =
        (sums[i + after + 1] - sums[i - before]) / static_cast<double>(before + after + 1);
  }
  return result;
}

class Drawing {
 public:
  Drawing(double last_step, double low, double high)
      : last_step_(last_step), low_(low), high_(high) {}

  void Frame(const std::string& title) {
    absl::StrAppend(
        &body_,
        absl::StrFormat("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" "
                        "width=\"%g\" height=\"%g\" font-family=\"sans-serif\" "
                        "font-size=\"13\">\n<rect width=\"%g\" height=\"%g\" fill=\"white\"/>\n",
                        kWidth, kHeight, kWidth, kHeight, kWidth, kHeight));
    absl::StrAppend(&body_, absl::StrFormat("<clipPath id=\"plot\"><rect x=\"%g\" y=\"%g\" "
                                            "width=\"%g\" height=\"%g\"/></clipPath>\n",
                                            kLeft, kTop, kWidth - kLeft - kRight + 4,
                                            kHeight - kTop - kBottom));
    Text(kLeft, 28, "start", "#222", title, " font-size=\"17\"");
    const double dy = NiceStep(high_ - low_, 7);
    for (double y = std::ceil(low_ / dy) * dy; y <= high_ + 1e-9; y += dy) {
      Line(kLeft, Y(y), kWidth - kRight, Y(y), "#e3e3e3", "");
      Text(kLeft - 8, Y(y) + 4, "end", "#444", absl::StrFormat("%.4g", y));
    }
    const double dx = NiceStep(last_step_, 8);
    for (double x = 0; x <= last_step_ + 1e-9; x += dx) {
      Line(X(x), kHeight - kBottom, X(x), kHeight - kBottom + 5, "#444", "");
      Text(X(x), kHeight - kBottom + 20, "middle", "#444", absl::StrFormat("%.0f", x));
    }
    Line(kLeft, kTop, kLeft, kHeight - kBottom, "#444", "");
    Line(kLeft, kHeight - kBottom, kWidth - kRight, kHeight - kBottom, "#444", "");
    Text((kLeft + kWidth - kRight) / 2, kHeight - 15, "middle", "#222", "step");
    Text(0, 0, "middle", "#222", "bits per byte",
         absl::StrFormat(" transform=\"translate(20 %g) rotate(-90)\"",
                         (kTop + kHeight - kBottom) / 2));
  }

  void Curve(const Points& points, const char* colour, double width, double opacity) {
    const size_t stride = std::max<size_t>(1, points.size() / kMostPoints);
    std::string path;
    for (size_t i = 0; i < points.size(); i += stride) Extend(points[i], &path);
    if (!points.empty() && (points.size() - 1) % stride != 0) Extend(points.back(), &path);
    absl::StrAppend(&body_, absl::StrFormat("<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" "
                                            "stroke-width=\"%g\" stroke-opacity=\"%g\" "
                                            "clip-path=\"url(#plot)\"/>\n",
                                            path, colour, width, opacity));
  }

  void Dots(const Points& points, const char* colour) {
    for (const MetricsCurve::Point& point : points) {
      absl::StrAppend(&body_,
                      absl::StrFormat("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\" "
                                      "clip-path=\"url(#plot)\"/>\n",
                                      X(static_cast<double>(point.step)), Y(point.bits), colour));
    }
  }

  void Level(double bits, const char* colour) {
    Line(kLeft, Y(bits), kWidth - kRight, Y(bits), colour, " stroke-dasharray=\"7 4\"");
  }

  // A label at the right edge beside `bits`, moved so that labels do not overlap.
  void Label(double bits, const char* colour, const std::string& text) {
    labels_.push_back({Y(bits) + 4, colour, text});
  }

  std::string Finish() {
    std::stable_sort(labels_.begin(), labels_.end(),
                     [](const Named& a, const Named& b) { return a.y < b.y; });
    double above = kTop - 16;
    for (Named& label : labels_) {
      label.y = above = std::max(label.y, above + 16);
      Text(kWidth - kRight + 8, label.y, "start", label.colour, label.text);
    }
    return body_ + "</svg>\n";
  }

 private:
  struct Named {
    double y = 0;
    const char* colour = nullptr;
    std::string text;
  };

  double X(double step) const {
    return kLeft + step / std::max(1.0, last_step_) * (kWidth - kLeft - kRight);
  }
  double Y(double bits) const {
    const double share = (bits - low_) / (high_ - low_);
    return kHeight - kBottom - share * (kHeight - kTop - kBottom);
  }

  void Extend(const MetricsCurve::Point& point, std::string* path) const {
    absl::StrAppend(
        path, path->empty() ? "" : " ",
        absl::StrFormat("%.1f,%.1f", X(static_cast<double>(point.step)), Y(point.bits)));
  }

  void Line(double x1, double y1, double x2, double y2, const char* colour, const char* more) {
    absl::StrAppend(&body_, absl::StrFormat("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" "
                                            "stroke=\"%s\"%s/>\n",
                                            x1, y1, x2, y2, colour, more));
  }

  void Text(double x, double y, const char* anchor, const char* colour, const std::string& text,
            const std::string& more = "") {
    absl::StrAppend(&body_,
                    absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"%s\"%s>",
                                    x, y, anchor, colour, more),
                    Escaped(text), "</text>\n");
  }

  const double last_step_, low_, high_;
  std::string body_;
  std::vector<Named> labels_;
};

}  // namespace

std::string DrawLossCurve(const MetricsCurve& curve, const std::vector<Yardline>& yardlines,
                          const std::string& title) {
  const Points smooth = Smoothed(curve.training);
  double low = 8, high = 0;
  const auto widen = [&](double bits) {
    low = std::min(low, bits);
    high = std::max(high, bits);
  };
  for (const Points* points : {&smooth, &curve.evaluation}) {
    for (const MetricsCurve::Point& point : *points) widen(point.bits);
  }
  double top_yardline = 0;
  for (const Yardline& yardline : yardlines) {
    widen(yardline.bits);
    top_yardline = std::max(top_yardline, yardline.bits);
  }
  low = std::floor(2 * (low - 0.1)) / 2;
  // The first steps fall from 8 bits; what matters happens near the yardlines.
  if (!yardlines.empty()) high = std::min(high, top_yardline + 2);
  high = std::max(std::ceil(2 * high) / 2, low + 0.5);

  Drawing drawing(static_cast<double>(curve.last_step), low, high);
  drawing.Frame(title);
  for (size_t i = 0; i < yardlines.size(); ++i) {
    const char* colour = kYardColours[i % kYardColours.size()];
    drawing.Level(yardlines[i].bits, colour);
    drawing.Label(yardlines[i].bits, colour,
                  absl::StrFormat("%s %.3f", yardlines[i].label, yardlines[i].bits));
  }
  drawing.Curve(curve.training, "#2980b9", 1, 0.25);
  drawing.Curve(smooth, "#2980b9", 2, 1);
  drawing.Label(smooth.back().bits, "#2980b9",
                absl::StrFormat("training %.3f", smooth.back().bits));
  if (!curve.evaluation.empty()) {
    const double last = curve.evaluation.back().bits;
    drawing.Curve(curve.evaluation, "#d35400", 1.5, 1);
    drawing.Dots(curve.evaluation, "#d35400");
    drawing.Label(last, "#d35400", absl::StrFormat("held out %.3f", last));
  }
  return drawing.Finish();
}

}  // namespace weft

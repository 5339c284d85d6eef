#include "launcher/progress_line.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace weft {
namespace {

// What is shown of steps 1..n that end `seconds` apart.
std::string Shown(bool terminal, int64_t steps, double seconds) {
  char* text = nullptr;
  size_t size = 0;
  std::FILE* out = open_memstream(&text, &size);
  {
    ProgressLine progress(out, terminal, steps);
    for (int64_t step = 1; step <= steps; ++step) {
      StepMetrics m;
      m.step = step;
      m.loss = 2.5;
      progress.Update(m, static_cast<double>(step) * seconds, TimeLeft());
      if (step == 2) progress.Say("saved");
    }
  }
  std::fclose(out);
  const std::string shown(text, size);
  free(text);
  return shown;
}

int Count(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(ProgressLine, PlainLinesNowAndThen) {
  const std::string shown = Shown(false, 100, 0.5);
  EXPECT_EQ(shown.find('\r'), std::string::npos);
  EXPECT_EQ(Count(shown, "step "), 11) << shown;  // 1, 11, 21, .. 91, 100
  EXPECT_NE(shown.find("step 1/100"), std::string::npos);
  EXPECT_NE(shown.find("step 100/100"), std::string::npos);
  EXPECT_EQ(Count(shown, "\n"), 12);
}

TEST(ProgressLine, ALiveLineOnATerminal) {
  const std::string shown = Shown(true, 5, 1);
  EXPECT_EQ(Count(shown, "step "), 5) << shown;
  EXPECT_NE(shown.find("\r\033[Ksaved\n"), std::string::npos);
  EXPECT_EQ(shown.back(), '\n');
  EXPECT_EQ(Count(shown, "\n"), 2);
}

TEST(ProgressLine, TerminalIsNotFlooded) {
  EXPECT_LE(Count(Shown(true, 1000, 0.001), "step "), 12);
}

TEST(ProgressLine, TextHasWhatMatters) {
  const StepMetrics m{.step = 12,
                      .loss = 3.21456,
                      .grad_norm = 1.25,
                      .lr = 0.001,
                      .tokens = 1,
                      .tokens_per_s = 45230,
                      .step_ms = 2000,
                      .more = {{"held_out", 2.5}}};
  EXPECT_EQ(ProgressText(m, 52, {.seconds = 80}),
            "step 12/52  loss 3.2146  lr 0.001  grad 1.25  45.2k tokens/s  left 1m 20s"
            "  held_out 2.5000");
  StepMetrics unknown;
  unknown.grad_norm = unknown.tokens_per_s = unknown.step_ms = std::nan("");
  EXPECT_EQ(ProgressText(unknown, 9, {.seconds = std::nan("")}), "step 0/9  loss 0.0000  lr 0");
  EXPECT_EQ(ProgressText(unknown, 100000, {.seconds = 65, .at_most = true, .by_steps = false}),
            "step 0  loss 0.0000  lr 0  left at most 1m 05s");
}

}  // namespace
}  // namespace weft

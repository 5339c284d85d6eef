// The parts of the plan's page, from the files of launcher/plan_page/, put into the library by
// cmake/embed_page.cmake.
#pragma once

namespace weft {

extern const char kPlanPageTemplate[];  // page.html with @TITLE@, @STYLE@, @SCRIPT@ and @REPORT@
extern const char kPlanPageStyle[];     // style.css
extern const char kPlanPageScript[];    // all *.js, in order of their names

}  // namespace weft

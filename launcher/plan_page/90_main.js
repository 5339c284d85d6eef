// Puts the sections on the page.

function drawPage() {
  if (report.schema !== "weft.plan" || report.version !== 1) throw new Error("a report of another version");
  const memory = memorySection();
  const schedule = scheduleSection();
  const links = [["graph", "Graph"], ["conversions", "Conversions"], ["memory", "Memory"], ["schedule", "Schedule"], ["tables", "Tables"]];
  const page = document.getElementById("page");
  page.append(...header().flat(), h("nav", null, links.map(([id, text]) => h("a", { href: "#" + id }, text))));
  page.append(arrowHead(), graphSection(), conversionsSection(), memory, schedule, tablesSection());
  memory.draw();
  schedule.draw();
  // For printing, and for tests: "#everything" opens all.
  if (location.hash === "#everything") {
    for (const item of document.querySelectorAll("details")) item.open = true;
  }
  const target = document.getElementById(location.hash.slice(1));
  if (target) target.scrollIntoView();
  document.documentElement.dataset.ready = "true";
}
try {
  drawPage();
} catch (error) {
  fail(error.message);
  throw error;
}

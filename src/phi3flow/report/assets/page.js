// The controls, the keyboard, the address and the theme.

const controls = {
  search: document.getElementById("search"),
  filters: document.getElementById("filters"),
  sort: document.getElementById("sort"),
  metric: document.getElementById("metric"),
  candidate: document.getElementById("candidate"),
  slice: document.getElementById("slice"),
};

function fill(select, options) {
  for (const [value, label] of options) {
    const option = element("option", "", label);
    option.value = value;
    select.append(option);
  }
  select.closest("label").hidden = options.length < 2;
}

function buildControls() {
  fill(controls.sort, Object.entries(SORTS).filter(([, { where }]) => !where || where()).map(([key, { label }]) => [key, label]));
  fill(controls.metric, METRICS.map(({ name }, index) => [index, name]));
  fill(controls.candidate, RUNS.slice(1).map(({ name }, index) => [index + 1, name]));
  fill(controls.slice, SLICES.length ? ["", ...sliceLabels()].map((label) => [label, label || "all"]) : []);
  for (const key of ["all", ...Object.keys(OUTCOMES)]) {
    const button = element("button", `filter ${key}`);
    button.type = "button";
    button.dataset.show = key;
    button.id = `show-${key}`;
    const { sign, label } = OUTCOMES[key] ?? { sign: "", label: "All" };
    if (sign) button.append(element("span", "sign", sign));
    button.append(element("span", "", label), element("span", "count", ""));
    controls.filters.append(button);
  }
}

/** Write the counts onto the filters; an outcome that no line can have here has no filter. */
function showCounts(counts, total) {
  const always = PAIRED && comparable() ? ["all", "win", "loss", "tie", "failed"] : ["all", "failed"];
  for (const button of controls.filters.children) {
    const { show } = button.dataset;
    const found = show === "all" ? total : counts[show] ?? 0;
    button.lastChild.textContent = count(found);
    button.hidden = !found && !always.includes(show) && view.show !== show;
    button.setAttribute("aria-pressed", view.show === show);
  }
}

function showControls() {
  controls.search.value = view.query;
  controls.sort.value = view.sort;
  controls.metric.value = view.metric;
  controls.candidate.value = view.candidate;
  controls.slice.value = view.slice;
  document.getElementById("lines").dataset.runs = shownRuns().length;
  const names = shownRuns().map((run) => element("span", side(run), RUNS[run].name));
  const outcomeLabel = comparable() ? metricName(METRICS[view.metric]) : "outcome";
  document.getElementById("columns").replaceChildren(
    element("span", "", "Question and expected answer"), ...names, element("span", "", outcomeLabel),
  );
}

/** Return what is shown as an address, so that it can be sent to somebody: line=ID&show=loss; `open` is the line. */
function addressOf(open) {
  const address = new URLSearchParams();
  if (open !== null) address.set("line", LINES.id[open]);
  if (view.query) address.set("search", view.query);
  if (view.show !== "all") address.set("show", view.show);
  if (view.sort !== "file") address.set("sort", view.sort);
  if (view.metric) address.set("metric", METRICS[view.metric].name);
  if (view.candidate > 1) address.set("run", RUNS[view.candidate].name);
  if (view.slice) address.set("slice", view.slice);
  return address;
}

function writeAddress() {
  const address = addressOf(view.open);
  const hash = address.size ? `#${address}` : location.hash.includes("=") ? "#lines" : location.hash;
  if (hash !== location.hash) history.replaceState(null, "", hash);
}

/** Take what the address asks for; what it names and is not here is left at its default. */
function readAddress() {
  const address = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  const position = positionOf(address.get("line") ?? "");
  Object.assign(view, {
    query: address.get("search") ?? "",
    show: Object.hasOwn(OUTCOMES, address.get("show")) ? address.get("show") : "all",
    sort: Object.hasOwn(SORTS, address.get("sort")) ? address.get("sort") : "file",
    metric: Math.max(0, METRICS.findIndex(({ name }) => name === address.get("metric"))),
    candidate: PAIRED ? Math.max(1, RUNS.findIndex(({ name }) => name === address.get("run"))) : 0,
    slice: sliceLabels().find((label) => label === address.get("slice")) ?? "",
    open: position < 0 ? null : position,
  });
  showControls();
  refresh();
  if (view.open !== null) openLine(view.open);
}

function choose(change) {
  Object.assign(view, change);
  showControls();
  refresh();
  const hidden = list.getBoundingClientRect().top - coveredHeight();
  if (hidden < 0) window.scrollBy({ top: hidden, behavior: "instant" });
  draw();
}

function pressKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input, select, textarea");
  if (event.key === "Escape") {
    if (event.target === controls.search && view.query) choose({ query: "" });
    else if (typing) event.target.blur();
    else if (view.open !== null) openLine(null);
  } else if (!typing && (event.key === "j" || event.key === "k")) {
    step(event.key === "j" ? 1 : -1);
  } else if (!typing && event.key === "/") {
    document.getElementById("lines").scrollIntoView();
    controls.search.focus();
    controls.search.select();
    event.preventDefault();
  }
}

function clickLine(event) {
  const row = event.target.closest(".line");
  if (!row || event.target.closest("a")) return;
  const position = Number(row.dataset.position);
  const selecting = !getSelection().isCollapsed;
  const onQuestion = event.target.closest(".line-question");
  if (onQuestion) openLine(view.open === position ? null : position);
  else if (view.open !== position && !selecting) openLine(position);
}

const THEMES = ["auto", "light", "dark"];

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  document.getElementById("theme").lastElementChild.textContent = theme;
  try {
    localStorage.setItem("phi3flow-theme", theme);
  } catch {
    // A page opened from a file may not keep anything: the choice then lasts as long as the page.
  }
}

function savedTheme() {
  try {
    return localStorage.getItem("phi3flow-theme");
  } catch {
    return null;
  }
}

function start() {
  setTheme(THEMES.includes(savedTheme()) ? savedTheme() : "auto");
  document.getElementById("theme").addEventListener("click", () => {
    setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
  });
  buildControls();
  controls.search.addEventListener("input", () => choose({ query: controls.search.value }));
  controls.sort.addEventListener("change", () => choose({ sort: controls.sort.value }));
  controls.metric.addEventListener("change", () => choose({ metric: Number(controls.metric.value) }));
  controls.candidate.addEventListener("change", () => choose({ candidate: Number(controls.candidate.value) }));
  controls.slice.addEventListener("change", () => choose({ slice: controls.slice.value }));
  document.getElementById("export").addEventListener("click", saveShown);
  document.getElementById("slices")?.addEventListener("click", ({ target }) => {
    if (target.closest("a")) document.getElementById("lines").scrollIntoView();
  });
  controls.filters.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) choose({ show: button.dataset.show });
  });
  list.addEventListener("click", clickLine);
  document.addEventListener("keydown", pressKey);
  addEventListener("scroll", draw, { passive: true });
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) draw();
    else redraw();
    width = innerWidth;
  });
  addEventListener("hashchange", () => {
    if (location.hash.includes("=")) readAddress();
  });
  addEventListener("beforeprint", layOutForPrint);
  addEventListener("afterprint", layOutForScreen);
  readAddress();
}

start();

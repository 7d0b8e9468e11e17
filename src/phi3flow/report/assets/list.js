// The list: only the rows near the window exist. Closed rows have one height (report.css), the open one its own,
// so that every row's position is arithmetic and 5,000 lines scroll like 50.

const OVERSCAN_PX = 600;
const PRINTED = 300;

const list = document.getElementById("line-list");
const rows = new Map();
let shown = [];
let rowHeight = 0;
let openHeight = 0;
const openRow = new ResizeObserver(([{ target }]) => {
  const { height } = target.getBoundingClientRect();
  if (height === openHeight || !target.isConnected) return;
  openHeight = height;
  draw();
});

const openIndex = () => (view.open === null ? -1 : shown.indexOf(view.open));

/** Filter and sort again, and rebuild every row. */
function refresh() {
  const positions = searched();
  showCounts(countOutcomes(positions), positions.length);
  shown = chosen(positions);
  if (openIndex() < 0) view.open = null;
  document.getElementById("shown-count").textContent =
    `${shown.length === COUNT ? "" : `${count(shown.length)} of `}${count(COUNT)} line${COUNT === 1 ? "" : "s"}`;
  document.getElementById("no-lines").hidden = shown.length > 0;
  redraw();
  writeAddress();
}

function redraw() {
  if (list.classList.contains("printing")) return;
  list.replaceChildren();
  rows.clear();
  measureClosed();
  measureOpen();
  draw();
}

function measureClosed() {
  if (!COUNT) return;
  const probe = element("article", "line");
  list.append(probe);
  rowHeight = probe.getBoundingClientRect().height;
  probe.remove();
}

function measureOpen() {
  const index = openIndex();
  openRow.disconnect();
  if (index < 0) return;
  openHeight = rowAt(index).getBoundingClientRect().height;
  openRow.observe(rowAt(index));
}

/** Return where the row at `index` begins, in px below the top of the list. */
function topOf(index) {
  const open = openIndex();
  return index * rowHeight + (open >= 0 && index > open ? openHeight - rowHeight : 0);
}

/** Return the index of the row at `y` px below the top of the list. */
function indexAt(y) {
  const open = openIndex();
  const past = open < 0 ? y : y < topOf(open) ? y : Math.max(topOf(open), y - (openHeight - rowHeight));
  return Math.min(Math.max(0, Math.floor(past / rowHeight)), shown.length - 1);
}

/** Make the rows near the window, drop the others; the open and the focused one stay. */
function draw() {
  if (list.classList.contains("printing")) return;
  list.style.setProperty("height", `${topOf(shown.length)}px`);
  if (!shown.length) return;
  const above = -list.getBoundingClientRect().top;
  const first = indexAt(above - OVERSCAN_PX);
  const last = indexAt(above + window.innerHeight + OVERSCAN_PX);
  const wanted = new Set([openIndex()]);
  for (let index = first; index <= last; index++) wanted.add(index);
  wanted.delete(-1);
  for (const [index, row] of rows) {
    if (wanted.has(index) || row.contains(document.activeElement)) continue;
    row.remove();
    rows.delete(index);
  }
  for (const index of [...wanted].sort((a, b) => a - b)) rowAt(index);
  for (const [index, row] of rows) row.style.setProperty("transform", `translateY(${topOf(index)}px)`);
}

/** Return the row at `index`, made in its reading order where it is not there yet. */
function rowAt(index) {
  if (rows.has(index)) return rows.get(index);
  const row = buildLine(shown[index], index, shown.length);
  rows.set(index, row);
  const next = [...rows.keys()].filter((other) => other > index).reduce((a, b) => Math.min(a, b), Infinity);
  list.insertBefore(row, next === Infinity ? null : rows.get(next));
  return row;
}

/** Open the line at `position` in the data (null closes), keeping it in sight; `focus` moves the keyboard there. */
function openLine(position, { focus = true } = {}) {
  const before = openIndex();
  view.open = position;
  for (const index of [before, openIndex()]) {
    rows.get(index)?.remove();
    rows.delete(index);
  }
  measureOpen();
  draw();
  const index = position === null ? before : openIndex();
  if (index < 0) return;
  reveal(index);
  draw();
  if (focus) rowAt(index).focus({ preventScroll: true });
  writeAddress();
}

/** Scroll so that the row at `index` begins in sight below the controls. */
function reveal(index) {
  const controls = coveredHeight();
  const top = list.getBoundingClientRect().top + topOf(index);
  const height = view.open === shown[index] ? openHeight : rowHeight;
  if (top < controls || top + Math.min(height, window.innerHeight - controls) > window.innerHeight) {
    window.scrollBy({ top: top - controls - 8, behavior: "instant" });
  }
}

/** Return how much of the window's top the controls cover while the list is scrolled. */
function coveredHeight() {
  const bar = document.getElementById("controls");
  return getComputedStyle(bar).position === "sticky" ? bar.getBoundingClientRect().height : 0;
}

/** Open the next (+1) or previous (-1) line; without an open one, the first in sight. */
function step(by) {
  const open = openIndex();
  const index = open >= 0 ? open + by : indexAt(coveredHeight() - list.getBoundingClientRect().top);
  if (index >= 0 && index < shown.length) openLine(shown[index]);
}

/** Lay the chosen lines out for the printer, as many as paper bears. */
function layOutForPrint() {
  list.classList.add("printing");
  const printed = shown.slice(0, PRINTED).map((position, index) => buildLine(position, index, shown.length));
  if (shown.length > PRINTED) {
    printed.push(element("p", "note", `The first ${PRINTED} of ${count(shown.length)} lines are printed.`));
  }
  list.replaceChildren(...printed);
}

function layOutForScreen() {
  list.classList.remove("printing");
  redraw();
}

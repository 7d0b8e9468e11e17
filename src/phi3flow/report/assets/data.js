// The embedded lines, and what the controls choose of them.

const DATA = JSON.parse(document.getElementById("data").textContent);
const LINES = DATA.lines;
const RUNS = DATA.runs;
const METRICS = DATA.metrics;
const SLICES = DATA.slices;
const COUNT = LINES.id.length;
const PAIRED = RUNS.length > 1;

const OUTCOMES = {
  win: { sign: "▲", label: "Wins", one: "win" },
  loss: { sign: "▼", label: "Losses", one: "loss" },
  tie: { sign: "=", label: "Ties", one: "tie" },
  differ: { sign: "Δ", label: "Answers differ", one: "answers differ" },
  same: { sign: "=", label: "Answers alike", one: "answers alike" },
  done: { sign: "✓", label: "Completed", one: "completed" },
  unscored: { sign: "–", label: "Without score", one: "without score" },
  unmatched: { sign: "◐", label: "In one run only", one: "in one run only" },
  failed: { sign: "✕", label: "Failed", one: "failed" },
};

const SORTS = {
  file: { label: "Order of the data", key: (i) => i },
  gain: { label: "Difference: greatest gain first", key: (i) => negated(gain(i)), where: () => PAIRED && comparable() },
  drop: { label: "Difference: greatest loss first", key: (i) => gain(i), where: () => PAIRED && comparable() },
  low: { label: "Score: lowest first", key: (i) => score(view.candidate, i), where: () => METRICS.length },
  high: { label: "Score: highest first", key: (i) => negated(score(view.candidate, i)), where: () => METRICS.length },
  slow: { label: "Latency: slowest first", key: (i) => negated(RUNS[view.candidate].ms[i]), where: () => true },
  fast: { label: "Latency: fastest first", key: (i) => RUNS[view.candidate].ms[i], where: () => true },
  slower: { label: "Latency: most slowed down first", key: (i) => negated(slowdown(i)), where: () => PAIRED },
};

/** What is shown: `open` is a line's position in the data or null; `metric` an index into METRICS; `slice` a label. */
const view = { candidate: PAIRED ? 1 : 0, metric: 0, show: "all", sort: "file", query: "", slice: "", open: null };

const negated = (value) => (value === null ? null : -value);
const full = (text) => (Array.isArray(text) ? text[0] : text);
const missing = (text) => (Array.isArray(text) ? text[1] : 0);

/** Return the runs that stand side by side: the baseline and the chosen candidate, or the only run. */
const shownRuns = () => (PAIRED ? [0, view.candidate] : [0]);

function score(run, i, metric = METRICS[view.metric]) {
  return metric ? RUNS[run].scores[metric.name]?.[i] ?? null : null;
}

function difference(i, metric = METRICS[view.metric]) {
  const [before, after] = [score(0, i, metric), score(view.candidate, i, metric)];
  return before === null || after === null ? null : after - before;
}

/** Return how much better the candidate did: the difference, turned round where lower is better. */
function gain(i) {
  const change = difference(i);
  return METRICS[view.metric]?.lower ? negated(change) : change;
}

function slowdown(i) {
  const [before, after] = [RUNS[0].ms[i], RUNS[view.candidate].ms[i]];
  return before === null || after === null ? null : after - before;
}

/** Tell whether the shown runs share a metric, so that their lines can win and lose. */
const comparable = () => METRICS.some(({ name }) => shownRuns().every((run) => name in RUNS[run].scores));

/** Tell whether a line failed in one of the shown runs. */
const failed = (i) => shownRuns().some((run) => RUNS[run].error[i] !== null);

/** Return the key in OUTCOMES of a line: for two runs by the chosen metric, where a failed line may count, for one by its status. */
function outcome(i) {
  const runs = shownRuns().map((run) => RUNS[run]);
  if (failed(i) && !(PAIRED && comparable() && gain(i) !== null)) return "failed";
  if (runs.some((run) => run.answer[i] === null && run.error[i] === null)) return "unmatched";
  if (!PAIRED) return "done";
  if (!comparable()) return full(runs[0].answer[i]) === full(runs[1].answer[i]) ? "same" : "differ";
  const change = gain(i);
  return change === null ? "unscored" : change > 0 ? "win" : change < 0 ? "loss" : "tie";
}

/** Tell whether a line is of an outcome; one that failed is so whatever it counts as. */
const isOf = (i, key) => outcome(i) === key || (key === "failed" && failed(i));

/** Return how many of the lines at `positions` have each outcome. */
function countOutcomes(positions) {
  const counts = { failed: positions.filter(failed).length };
  for (const i of positions) if (outcome(i) !== "failed") counts[outcome(i)] = (counts[outcome(i)] ?? 0) + 1;
  return counts;
}

/** Return the positions in the slice that hold every word of the query, in the order of the data; #5fec is an id. */
function searched() {
  const words = queryWords();
  const within = sliceTest();
  const positions = [];
  for (let i = 0; i < COUNT; i++) {
    const holds = (word) => word.startsWith("#") ? `#${LINES.id[i]}`.startsWith(word) : searchable(i).includes(word);
    if (within(i) && words.every(holds)) positions.push(i);
  }
  return positions;
}

const sliceLabels = () => SLICES.flatMap(({ column, values }) => values.map((value) => `${column}: ${value}`));

/** Return a test of whether a line is in the chosen slice. */
function sliceTest() {
  for (const { column, values, of } of SLICES) {
    const chosenValue = values.findIndex((value) => `${column}: ${value}` === view.slice);
    if (chosenValue >= 0) return (i) => of[i] === chosenValue;
  }
  return () => true;
}

const queryWords = () => view.query.toLowerCase().split(/\s+/).filter(Boolean);

const searchTexts = [];

/** Return what evaluations said of a run's line in words, as [name, text]. */
const lineTexts = (run, i) => Object.entries(run.texts).map(([name, texts]) => [name, texts[i]]).filter(([, text]) => text !== null);

/** Return everything a reader may look for in a line, in lower case; made on first use. */
function searchable(i) {
  searchTexts[i] ??= [
    LINES.question[i], ...LINES.history[i].map(([, text]) => text), ...LINES.context[i],
    ...LINES.truths[i], ...LINES.values[i],
    ...RUNS.flatMap((run) => [run.answer[i], ...(run.error[i] ?? []), ...(run.score_errors[i] ?? []), ...lineTexts(run, i).map(([, text]) => text)]),
  ].map((text) => full(text) ?? "").join("\n").toLowerCase();
  return searchTexts[i];
}

/** Return the positions to show, filtered and sorted; what has no key comes last. */
function chosen(positions) {
  const kept = view.show === "all" ? positions : positions.filter((i) => isOf(i, view.show));
  if (view.sort === "file") return kept;
  const keyed = kept.map((i) => [SORTS[view.sort].key(i), i]);
  return keyed.sort(([a, i], [b, j]) => (a === null) - (b === null) || a - b || i - j).map(([, i]) => i);
}

/** Return the position of a line by its id, by a full hash that begins with it, or -1. */
function positionOf(id) {
  const exact = LINES.id.indexOf(id);
  if (exact >= 0) return exact;
  const [hash, repeat] = id.split("#");
  return LINES.id.indexOf(hash.slice(0, 12) + (repeat ? `#${repeat}` : ""));
}

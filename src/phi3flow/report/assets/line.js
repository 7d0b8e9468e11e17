// One line: closed it is a row of clipped texts, open it shows everything there is.

const CLIPPED = 420;

/** Return the row of the line at `place`; `position` of `total` in the list. */
function buildLine(place, position, total) {
  const open = view.open === place;
  const row = element("article", open ? "line open" : "line");
  row.dataset.place = place;
  row.tabIndex = -1;
  row.setAttribute("aria-posinset", position + 1);
  row.setAttribute("aria-setsize", total);
  const heading = buildHeading(place, open);
  row.setAttribute("aria-labelledby", heading.id);
  row.append(heading, ...(open ? buildOpen(place) : buildClosed(place)));
  return row;
}

function buildHeading(place, open) {
  const heading = element("h3", "line-question");
  heading.id = `question-${place}`;
  const button = element("button", "", element("span", "line-number", LINES.number[place] + 1));
  button.type = "button";
  button.setAttribute("aria-expanded", open);
  const text = element("span", "line-text");
  text.dir = "auto";
  paintFound(text, open ? full(LINES.question[place]) : clip(LINES.question[place]));
  button.append(text);
  heading.append(button);
  return heading;
}

function buildClosed(place) {
  const truth = element("p", "line-truth");
  if (LINES.truths[place].length) {
    truth.append(element("span", "label", "expected "));
    paintFound(truth, clip(LINES.truths[place][0]));
  }
  const answers = shownRuns().map((run) => element("div", `line-answer ${side(run)}`, runLabel(run)));
  paintAnswers(place, answers, clip);
  return [truth, ...answers, buildOutcome(place)];
}

function buildOutcome(place) {
  const { sign, one } = OUTCOMES[outcome(place)];
  const box = element("div", `line-outcome ${outcome(place)}`);
  const change = PAIRED ? difference(place) : score(0, place);
  const shown = change === null ? one : PAIRED ? signed(change, METRICS[view.metric].digits) : number(change, METRICS[view.metric].digits);
  box.append(element("span", "sign", sign), element("strong", "", shown));
  if (change !== null && PAIRED) box.append(element("span", "sr-only", one));
  const times = shownRuns().map((run) => latency(RUNS[run].ms[place]));
  box.append(element("span", "times", times.join(" → ")));
  return box;
}

function buildOpen(place) {
  const facts = element("p", "line-facts");
  const link = element("a", "", `#${LINES.id[place]}`);
  link.href = `#${new URLSearchParams({ line: LINES.id[place] })}`;
  link.title = "Link to this line";
  const { sign, one } = OUTCOMES[outcome(place)];
  facts.append(element("span", `chip ${outcome(place)}`, `${sign} ${one}`), link);
  const parts = [facts, buildTurns(place)];
  if (LINES.history[place].length) parts.push(buildHistory(place));
  LINES.context[place].forEach((text) => parts.push(block("Context", text)));
  LINES.truths[place].forEach((text, k) => parts.push(block(k ? "or" : "Ground truth", text)));
  const answers = shownRuns().map((run) => buildAnswer(place, run));
  const clipped = paintAnswers(place, answers.map((answer) => answer.querySelector(".answer-text")), full);
  const pair = element("div", "answers", ...answers);
  parts.push(pair);
  if (clipped) parts.push(element("p", "note", "The answers are too long for their differing words to be marked."));
  if (METRICS.length) parts.push(buildScores(place));
  return parts.filter(Boolean);
}

/** Return a labelled text; a long one is folded away, so that the answers stay near the question. */
function block(label, text) {
  const body = element("div", "said");
  body.dir = "auto";
  paintFound(body, full(text));
  appendMissing(body, text);
  if (full(text).length <= CLIPPED) return element("div", "block", element("span", "label", label), body);
  const summary = element("summary", "", `${label}, ${count(full(text).length)} characters`);
  return element("details", "long", summary, body);
}

/** Return one run's answer with its required values and figures; the text itself is painted by paintAnswers. */
function buildAnswer(place, run) {
  const { ms, attempts, tokens, answer, error, score_errors } = RUNS[run];
  const text = element("div", "answer-text");
  const box = element("section", `answer ${side(run)}`, element("h4", "", runLabel(run)), text);
  if (answer[place] !== null && LINES.values[place].length) box.append(buildValues(place, full(answer[place])));
  for (const problem of score_errors[place] ?? []) {
    box.append(element("p", "problem", `✕ not scored: ${full(problem)}`));
  }
  const figures = [];
  if (answer[place] !== null || error[place] !== null) figures.push(latency(ms[place]));
  if (attempts[place] > 1) figures.push(`${attempts[place]} attempts`);
  if (tokens[place]) figures.push(`${tokens[place][0]} + ${tokens[place][1]} tokens`);
  box.append(element("p", "figures", figures.join(" · ")));
  return box;
}

function buildValues(place, answer) {
  const list = element("ul", "values");
  list.setAttribute("aria-label", "Required values");
  for (const value of LINES.values[place]) {
    const found = findValue(answer, value).length > 0;
    const item = element("li", found ? "present" : "absent", found ? "✓ " : "✕ ", value);
    item.append(element("span", "sr-only", found ? " is in the answer" : " is not in the answer"));
    list.append(item);
  }
  return list;
}

function buildScores(place) {
  const names = METRICS.map((metric) => {
    const name = element("th", "", metricName(metric));
    name.scope = "col";
    name.title = metric.name;
    return name;
  });
  const body = element("tbody");
  for (const run of shownRuns()) {
    const cells = METRICS.map((metric) => element("td", "", number(score(run, place, metric), metric.digits)));
    body.append(element("tr", "", rowHeader(RUNS[run].name, side(run)), ...cells));
  }
  if (PAIRED) {
    const cells = METRICS.map((metric) => element("td", "", signed(difference(place, metric), metric.digits)));
    body.append(element("tr", "", rowHeader("difference"), ...cells));
  }
  const head = element("thead", "", element("tr", "", element("th", "", "Scores"), ...names));
  const wide = element("div", "scroll", element("table", "scores", head, body));
  wide.tabIndex = 0;
  wide.setAttribute("role", "region");
  wide.setAttribute("aria-label", "Scores");
  return wide;
}

function rowHeader(text, name = "") {
  const cell = element("th", name, text);
  cell.scope = "row";
  return cell;
}

/** Paint the shown runs' answers (or errors) into `targets`; return whether they were too long to be compared. */
function paintAnswers(place, targets, shorten) {
  const runs = shownRuns();
  const answers = runs.map((run) => RUNS[run].answer[place]);
  const shown = answers.map((answer) => (answer === null ? null : shorten(answer)));
  const comparable = PAIRED && !shown.includes(null);
  const own = comparable ? differingWords(...shown) : null;
  targets.forEach((target, k) => {
    const body = element("div", "said");
    body.dir = "auto";
    const error = RUNS[runs[k]].error[place];
    if (error) body.append(element("span", "problem", `✕ ${error[0]}: ${clip(error[1])}`));
    else if (shown[k] === null) body.append(element("span", "absent-line", "not in this run"));
    else if (!shown[k].trim()) body.append(element("span", "absent-line", "empty answer"));
    else paintAnswer(body, place, shown[k], own?.[k] ?? []);
    if (shown[k] !== null && shorten === full) appendMissing(body, answers[k]);
    target.append(body);
  });
  return comparable && own === null;
}

function paintAnswer(body, place, text, differing) {
  const values = joined(LINES.values[place].flatMap((value) => findValue(text, value)));
  paint(body, text, [
    { tag: "mark", name: "own", ranges: differing },
    { tag: "strong", name: "value", ranges: values },
    { tag: "mark", name: "found", ranges: findWords(text, queryWords()) },
  ]);
}

function paintFound(parent, text) {
  paint(parent, text, [{ tag: "mark", name: "found", ranges: findWords(text, queryWords()) }]);
}

function appendMissing(parent, text) {
  if (missing(text)) parent.append(element("span", "missing", `… ${count(missing(text))} more characters in results.jsonl`));
}

/** Return the beginning of a text, for a row that shows a few lines of it. */
function clip(text) {
  const all = full(text);
  return all.length > CLIPPED ? `${all.slice(0, CLIPPED)}…` : all;
}

const side = (run) => (PAIRED && run === 0 ? "baseline" : "candidate");
const runLabel = (run) => element("span", "run-name", RUNS[run].name);
const metricName = ({ name }) => name.slice(name.lastIndexOf(".") + 1).replaceAll("_", " ");
const count = (value) => value.toLocaleString("en");

function number(value, digits) {
  return value === null ? "–" : value.toFixed(digits).replace(/^-(?=[0.]*$)/, "").replace("-", "−");
}

function signed(value, digits) {
  const text = number(value, digits);
  return value > 0 && /[1-9]/.test(text) ? `+${text}` : text;
}

function latency(ms) {
  if (ms === null) return "–";
  return ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${ms.toFixed(ms < 10 ? 2 : 0)} ms`;
}

// One line: closed it is a row of clipped texts, open it shows everything there is.

const CLIPPED = 420;

/** Return the row of the line at `position` in the data, the `rank`-th of `total` in the list, from 0. */
function buildLine(position, rank, total) {
  const open = view.open === position;
  const row = element("article", open ? "line open" : "line");
  row.dataset.position = position;
  row.tabIndex = -1;
  row.setAttribute("aria-posinset", rank + 1);
  row.setAttribute("aria-setsize", total);
  const heading = buildHeading(position, open);
  row.setAttribute("aria-labelledby", heading.id);
  row.append(heading, ...(open ? buildOpen(position) : buildClosed(position)));
  return row;
}

function buildHeading(position, open) {
  const heading = element("h3", "line-question");
  heading.id = `question-${position}`;
  const button = element("button", "", element("span", "line-number", LINES.number[position]));
  button.type = "button";
  button.setAttribute("aria-expanded", open);
  const text = element("span", "line-text");
  text.dir = "auto";
  paintFound(text, open ? full(LINES.question[position]) : clip(LINES.question[position]));
  button.append(text);
  heading.append(button);
  return heading;
}

function buildClosed(position) {
  const truth = element("p", "line-truth");
  if (LINES.truths[position].length) {
    truth.append(element("span", "label", "expected "));
    paintFound(truth, clip(LINES.truths[position][0]));
  }
  const answers = shownRuns().map((run) => element("div", `line-answer ${side(run)}`, runLabel(run)));
  paintAnswers(position, answers, clip);
  return [truth, ...answers, buildOutcome(position)];
}

function buildOutcome(position) {
  const { sign, one } = OUTCOMES[outcome(position)];
  const box = element("div", `line-outcome ${outcome(position)}`);
  const change = PAIRED ? difference(position) : score(0, position);
  const shown = change === null ? one : PAIRED ? signed(change, METRICS[view.metric].digits) : number(change, METRICS[view.metric].digits);
  box.append(element("span", "sign", sign), element("strong", "", shown));
  if (change !== null && PAIRED) box.append(element("span", "sr-only", one));
  const times = shownRuns().map((run) => latency(RUNS[run].ms[position]));
  box.append(element("span", "times", times.join(" → ")));
  return box;
}

function buildOpen(position) {
  const facts = element("p", "line-facts");
  const link = element("a", "", `#${LINES.id[position]}`);
  link.href = `#${new URLSearchParams({ line: LINES.id[position] })}`;
  link.title = "Link to this line";
  const { sign, one } = OUTCOMES[outcome(position)];
  facts.append(element("span", `chip ${outcome(position)}`, `${sign} ${one}`));
  if (failed(position) && outcome(position) !== "failed") facts.append(element("span", "chip failed", "✕ failed"));
  facts.append(link);
  const parts = [facts, buildTurns(position)];
  parts.push(...buildPictures(LINES, position, "Picture of the question"));
  if (LINES.history[position].length) parts.push(buildHistory(position));
  LINES.context[position].forEach((text) => parts.push(block("Context", text)));
  LINES.truths[position].forEach((text, k) => parts.push(block(k ? "or" : "Ground truth", text)));
  const answers = shownRuns().map((run) => buildAnswer(position, run));
  const clipped = paintAnswers(position, answers.map((answer) => answer.querySelector(".answer-text")), full);
  const pair = element("div", "answers", ...answers);
  parts.push(pair);
  if (clipped) parts.push(element("p", "note", "The answers are too long for their differing words to be marked."));
  if (METRICS.length) parts.push(buildScores(position));
  parts.push(...shownRuns().map((run) => buildTrace(position, run)));
  return parts.filter(Boolean);
}

/** Return a labelled text, whole in `file`; a long one is folded away, so that the answers stay near the question. */
function block(label, text, file) {
  const body = element("div", "said");
  body.dir = "auto";
  paintFound(body, full(text));
  appendMissing(body, text, file);
  if (full(text).length <= CLIPPED) return element("div", "block", element("span", "label", label), body);
  const summary = element("summary", "", `${label}, ${count(full(text).length)} characters`);
  return element("details", "long", summary, body);
}

/** Return one run's answer with its required values and figures; the text itself is painted by paintAnswers. */
function buildAnswer(position, run) {
  const { ms, attempts, tokens, answer, error, score_errors } = RUNS[run];
  const text = element("div", "answer-text");
  const box = element("section", `answer ${side(run)}`, element("h4", "", runLabel(run)), text);
  box.append(...buildPictures(RUNS[run], position, "Picture of the answer"));
  if (answer[position] !== null && LINES.values[position].length) box.append(buildValues(position, full(answer[position])));
  for (const problem of score_errors[position] ?? []) {
    box.append(element("p", "problem", `✕ not scored: ${full(problem)}`));
  }
  box.append(...lineTexts(RUNS[run], position).map(([name, text]) => block(metricName({ name }), text)));
  const figures = [];
  if (answer[position] !== null || error[position] !== null) figures.push(latency(ms[position]));
  if (attempts[position] > 1) figures.push(`${attempts[position]} attempts`);
  if (tokens[position]) figures.push(`${tokens[position][0]} + ${tokens[position][1]} tokens`);
  box.append(element("p", "figures", figures.join(" · ")));
  return box;
}

/** Return the pictures that a line or a run's answer has. */
function buildPictures({ pictures }, position, label) {
  return (pictures[position] ?? []).map((number) => {
    const picture = element("img", "picture");
    picture.src = DATA.pictures[number];
    picture.alt = label;
    return picture;
  });
}

function buildValues(position, answer) {
  const list = element("ul", "values");
  list.setAttribute("aria-label", "Required values");
  for (const value of LINES.values[position]) {
    const found = findValue(answer, value).length > 0;
    const item = element("li", found ? "present" : "absent", found ? "✓ " : "✕ ", value);
    item.append(element("span", "sr-only", found ? " is in the answer" : " is not in the answer"));
    list.append(item);
  }
  return list;
}

function buildScores(position) {
  const names = METRICS.map((metric) => {
    const name = element("th", "", metricName(metric));
    name.scope = "col";
    name.title = metric.name;
    return name;
  });
  const body = element("tbody");
  for (const run of shownRuns()) {
    const cells = METRICS.map((metric) => element("td", "", number(score(run, position, metric), metric.digits)));
    const header = rowHeader(RUNS[run].name, side(run));
    if (RUNS[run].error[position] !== null) header.append(" ", element("small", "", "failed: counts as"));
    body.append(element("tr", "", header, ...cells));
  }
  if (PAIRED) {
    const cells = METRICS.map((metric) => element("td", "", signed(difference(position, metric), metric.digits)));
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
function paintAnswers(position, targets, shorten) {
  const runs = shownRuns();
  const answers = runs.map((run) => RUNS[run].answer[position]);
  const shown = answers.map((answer) => (answer === null ? null : shorten(answer)));
  const comparable = PAIRED && !shown.includes(null);
  const own = comparable ? differingWords(...shown) : null;
  targets.forEach((target, k) => {
    const body = element("div", "said");
    body.dir = "auto";
    const error = RUNS[runs[k]].error[position];
    if (error) body.append(element("span", "problem", `✕ ${error[0]}: ${clip(error[1])}`));
    else if (shown[k] === null) body.append(element("span", "absent-line", "not in this run"));
    else if (!shown[k].trim()) body.append(element("span", "absent-line", "empty answer"));
    else paintAnswer(body, position, shown[k], own?.[k] ?? []);
    if (shown[k] !== null && shorten === full) appendMissing(body, answers[k]);
    target.append(body);
  });
  return comparable && own === null;
}

function paintAnswer(body, position, text, differing) {
  const values = joined(LINES.values[position].flatMap((value) => findValue(text, value)));
  paint(body, text, [
    { tag: "mark", name: "own", ranges: differing },
    { tag: "strong", name: "value", ranges: values },
    { tag: "mark", name: "found", ranges: findWords(text, queryWords()) },
  ]);
}

function paintFound(parent, text) {
  paint(parent, text, [{ tag: "mark", name: "found", ranges: findWords(text, queryWords()) }]);
}

function appendMissing(parent, text, file = "results.jsonl") {
  if (missing(text)) parent.append(element("span", "missing", `… ${count(missing(text))} more characters in ${file}`));
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

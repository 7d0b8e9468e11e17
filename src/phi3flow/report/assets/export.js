// Saving the lines that are shown, in their order, as JSON Lines.

const EXPORT_TYPE = "application/x-ndjson";

/** Hand the lines shown to the browser as a file; nothing leaves the page. */
function saveShown() {
  const content = new Blob(shown.map((place) => `${JSON.stringify(exported(place))}\n`), { type: EXPORT_TYPE });
  const link = element("a");
  link.href = URL.createObjectURL(content);
  link.download = `${[...shownRuns().map((run) => RUNS[run].name), view.show].join("-").replace(/[^\w.-]+/g, "_")}.jsonl`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Return a line as it is exported: names as in results.jsonl; `cut` where a text is not whole in this file. */
function exported(place) {
  const cut = [];
  const whole = (text, name) => {
    if (missing(text)) cut.push(name);
    return full(text);
  };
  const line = {
    line_number: LINES.number[place],
    line_id: fullId(place),
    outcome: outcome(place),
    question: whole(LINES.question[place], "question"),
    chat_history: LINES.history[place].map(([role, text]) => ({ role, content: whole(text, "chat_history") })),
    context: LINES.context[place].map((text) => whole(text, "context")),
    ground_truth: LINES.truths[place].map((text) => whole(text, "ground_truth")),
    values: LINES.values[place],
    slices: Object.fromEntries(SLICES.map(({ column, values, of }) => [column, values[of[place]] ?? null])),
    runs: Object.fromEntries(shownRuns().map((run) => [RUNS[run].name, exportedRun(RUNS[run], place, whole)])),
  };
  return cut.length ? { ...line, cut: [...new Set(cut)] } : line;
}

/** Return what one run made of a line; null where it does not have it. */
function exportedRun(run, place, whole) {
  const [answer, error, tokens] = [run.answer[place], run.error[place], run.tokens[place]];
  if (answer === null && error === null) return null;
  return {
    answer: answer === null ? null : whole(answer, "answer"),
    error: error && { type: error[0], message: whole(error[1], "error"), status_code: error[2] },
    latency_ms: run.ms[place],
    attempts: run.attempts[place],
    usage: tokens && { prompt_tokens: tokens[0], completion_tokens: tokens[1] },
    scores: Object.fromEntries(Object.entries(run.scores).map(([name, scores]) => [name, scores[place]])),
  };
}

/** Return the whole id of a line: the page shows and links the first 12 characters of a hash. */
function fullId(place) {
  const [id, rest] = [LINES.id[place], LINES.rest[place]];
  return rest ? id.slice(0, 12) + rest + id.slice(12) : id;
}

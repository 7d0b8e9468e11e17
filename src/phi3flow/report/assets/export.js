// Saving the lines that are shown, in their order, as JSON Lines.

const EXPORT_TYPE = "application/x-ndjson";

/** Hand the lines shown to the browser as a file; nothing leaves the page. */
function saveShown() {
  const content = new Blob(shown.map((position) => `${JSON.stringify(exported(position))}\n`), { type: EXPORT_TYPE });
  const link = element("a");
  link.href = URL.createObjectURL(content);
  link.download = `${[...shownRuns().map((run) => RUNS[run].name), view.show].join("-").replace(/[^\w.-]+/g, "_")}.jsonl`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Return a line as it is exported: names as in results.jsonl; `cut` where a text is not whole in this file. */
function exported(position) {
  const cut = [];
  const whole = (text, name) => {
    if (missing(text)) cut.push(name);
    return full(text);
  };
  const line = {
    line_number: LINES.number[position],
    line_id: fullId(position),
    outcome: outcome(position),
    question: whole(LINES.question[position], "question"),
    chat_history: LINES.history[position].map(([role, text]) => ({ role, content: whole(text, "chat_history") })),
    context: LINES.context[position].map((text) => whole(text, "context")),
    ground_truth: LINES.truths[position].map((text) => whole(text, "ground_truth")),
    values: LINES.values[position],
    slices: Object.fromEntries(SLICES.map(({ column, values, of }) => [column, values[of[position]] ?? null])),
    runs: Object.fromEntries(shownRuns().map((run) => [RUNS[run].name, exportedRun(RUNS[run], position, whole)])),
  };
  return cut.length ? { ...line, cut: [...new Set(cut)] } : line;
}

/** Return what one run made of a line; null where it does not have it. */
function exportedRun(run, position, whole) {
  const [answer, error, tokens] = [run.answer[position], run.error[position], run.tokens[position]];
  if (answer === null && error === null) return null;
  return {
    answer: answer === null ? null : whole(answer, "answer"),
    error: error && { type: error[0], message: whole(error[1], "error"), status_code: error[2] },
    latency_ms: run.ms[position],
    attempts: run.attempts[position],
    usage: tokens && { prompt_tokens: tokens[0], completion_tokens: tokens[1] },
    scores: Object.fromEntries(Object.entries(run.scores).map(([name, scores]) => [name, scores[position]])),
    texts: Object.fromEntries(lineTexts(run, position).map(([name, text]) => [name, whole(text, "texts")])),
  };
}

/** Return the whole id of a line: the page shows and links the first 12 characters of a hash. */
function fullId(position) {
  const [id, rest] = [LINES.id[position], LINES.rest[position]];
  return rest ? id.slice(0, 12) + rest + id.slice(12) : id;
}

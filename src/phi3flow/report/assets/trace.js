// What the nodes of a line did, where the run kept that.

/** Return what each node of a run's line was given and gave, folded away; null where it was not kept. */
function buildTrace(position, run) {
  const steps = RUNS[run].traces[position];
  if (!steps) return null;
  const summary = element("summary", "", `Trace of ${RUNS[run].name}: ${steps.map(({ node }) => node).join(" → ")}`);
  return element("details", "trace", summary, ...steps.map(buildStep));
}

function buildStep({ node, ms, error, texts }) {
  const heading = element("h5", "", node, element("span", "figures", ` ${latency(ms)}`));
  const step = element("section", "step", heading, ...texts.map(([label, text]) => block(label, text, "traces.jsonl")));
  if (error) step.append(element("p", "problem", `✕ ${full(error)}`));
  return step;
}

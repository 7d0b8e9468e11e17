// A line's conversation: what was said before it, and the lines that are its other turns.

function buildHistory(position) {
  const list = element("ol", "history");
  list.setAttribute("aria-label", "Conversation so far");
  for (const [role, text] of LINES.history[position]) {
    const turn = element("li", role, element("span", "label", role === "user" ? "User" : "Assistant"));
    const said = element("div", "said");
    said.dir = "auto";
    paintFound(said, full(text));
    appendMissing(said, text);
    turn.append(said);
    list.append(turn);
  }
  return list;
}

/** Return links to the previous and the next turn of the line's conversation; null where it is the only line. */
function buildTurns(position) {
  const turns = turnsOf(position);
  if (!turns) return null;
  const at = turns.indexOf(position);
  const bar = element("nav", "turns", element("span", "", `Turn ${at + 1} of ${turns.length} of this conversation`));
  bar.setAttribute("aria-label", "Turns of this conversation");
  if (at > 0) bar.append(turnLink(turns[at - 1], "← previous turn"));
  if (at + 1 < turns.length) bar.append(turnLink(turns[at + 1], "next turn →"));
  return bar;
}

/** Return the positions of the conversation's lines, in the order of the data; null where the line is the only one. */
function turnsOf(position) {
  const conversation = LINES.conversation[position];
  if (conversation === null) return null;
  return LINES.conversation
    .flatMap((other, i) => (other === conversation ? [i] : []))
    .sort((a, b) => LINES.number[a] - LINES.number[b]);
}

/** Return a link to another turn; it keeps the search and the filter only where they show that turn. */
function turnLink(position, label) {
  const link = element("a", "", label);
  const address = shown.includes(position) ? addressOf(position) : new URLSearchParams({ line: LINES.id[position] });
  link.href = `#${address}`;
  link.title = clip(LINES.question[position]);
  return link;
}

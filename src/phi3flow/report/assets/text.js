"use strict";
// Text on the page: painted as text nodes only, so that no answer can become markup.

const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;
const JOINERS = /[\n\t\u200c\u200d]/;
const TOKEN = /[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}]|[[\p{L}\p{N}\p{M}_]--[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}]]+|[^\s]/gv;
const MOST_DIFF_CELLS = 4_000_000;

/** Return an element with the class, and with the children (elements, or texts that are painted). */
function element(tag, name = "", ...children) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  for (const child of children) {
    if (child === null) continue;
    if (typeof child === "object") made.append(child);
    else paint(made, String(child));
  }
  return made;
}

/** Append `text` to `parent`; `layers` are {tag, name, ranges: [[from, to], …]} over it, ascending. */
function paint(parent, text, layers = []) {
  const cuts = new Set([0, text.length]);
  for (const { ranges } of layers) for (const [from, to] of ranges) cuts.add(from).add(to);
  const edges = [...cuts].sort((a, b) => a - b);
  const next = layers.map(() => 0);
  for (let i = 0; i + 1 < edges.length; i++) {
    let inner = parent;
    layers.forEach(({ tag, name, ranges }, layer) => {
      while (next[layer] < ranges.length && ranges[next[layer]][1] <= edges[i]) next[layer]++;
      const range = ranges[next[layer]];
      if (!range || range[0] > edges[i]) return;
      const wrapper = document.createElement(tag);
      wrapper.className = name;
      inner.append(wrapper);
      inner = wrapper;
    });
    appendVisibly(inner, text.slice(edges[i], edges[i + 1]));
  }
}

/** Append text with invisible and direction-changing characters written out. */
function appendVisibly(parent, text) {
  if (!INVISIBLE.test(text)) {
    parent.append(text);
    return;
  }
  let plain = "";
  for (const character of text.replaceAll("\r\n", "\n")) {
    if (!INVISIBLE.test(character) || JOINERS.test(character)) {
      plain += character;
      continue;
    }
    const shown = document.createElement("span");
    shown.className = "invisible";
    shown.textContent = `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
    parent.append(plain, shown);
    plain = "";
  }
  parent.append(plain);
}

/** Return where `words` (lower case) stand in `text`, as ascending ranges without overlap. */
function findWords(text, words) {
  const lower = text.toLowerCase();
  if (lower.length !== text.length) return [];
  const found = [];
  for (const word of words) {
    for (let at = lower.indexOf(word); at >= 0; at = lower.indexOf(word, at + word.length)) {
      found.push([at, at + word.length]);
    }
  }
  return joined(found);
}

function joined(ranges) {
  const merged = [];
  for (const [from, to] of ranges.sort((a, b) => a[0] - b[0])) {
    const last = merged.at(-1);
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  return merged;
}

/** Return [ranges of a, ranges of b]: the words that only one of the two has, in order; null where too long. */
function differingWords(a, b) {
  const [left, right] = [tokens(a), tokens(b)];
  let start = 0;
  while (start < left.length && start < right.length && left[start].word === right[start].word) start++;
  let end = 0;
  while (
    end < Math.min(left.length, right.length) - start &&
    left.at(-1 - end).word === right.at(-1 - end).word
  ) end++;
  const [x, y] = [left.slice(start, left.length - end), right.slice(start, right.length - end)];
  if (x.length * y.length > MOST_DIFF_CELLS) return null;
  const [ownX, ownY] = outsideLongestCommon(x, y);
  return [spans(ownX, a), spans(ownY, b)];
}

function tokens(text) {
  return Array.from(text.matchAll(TOKEN), (match) => ({
    word: match[0], from: match.index, to: match.index + match[0].length,
  }));
}

/** Return the tokens of x and of y that are not in their longest common subsequence. */
function outsideLongestCommon(x, y) {
  const width = y.length + 1;
  const length = new Uint16Array((x.length + 1) * width);
  for (let i = x.length - 1; i >= 0; i--) {
    for (let j = y.length - 1; j >= 0; j--) {
      length[i * width + j] = x[i].word === y[j].word
        ? length[(i + 1) * width + j + 1] + 1
        : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
    }
  }
  const [ownX, ownY] = [[], []];
  let [i, j] = [0, 0];
  while (i < x.length && j < y.length) {
    if (x[i].word === y[j].word) [i, j] = [i + 1, j + 1];
    else if (length[(i + 1) * width + j] >= length[i * width + j + 1]) ownX.push(x[i++]);
    else ownY.push(y[j++]);
  }
  return [ownX.concat(x.slice(i)), ownY.concat(y.slice(j))];
}

/** Return token ranges, joined where only white space lies between them. */
function spans(found, text) {
  const ranges = [];
  for (const { from, to } of found) {
    const last = ranges.at(-1);
    if (last && !text.slice(last[1], from).trim()) last[1] = to;
    else ranges.push([from, to]);
  }
  return ranges;
}

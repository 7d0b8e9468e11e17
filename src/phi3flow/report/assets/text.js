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

// Required values: the rule of flows/eval/answer_match (holds_value): whole words and whole numbers, in any case
// and typography; 5 is not in 15, 5.5 or PX5.
const WORD = /^[[\p{L}\p{N}\p{M}_]--[\p{scx=Hani}\p{scx=Hira}\p{scx=Kana}\p{scx=Hang}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]]$/v;

/** Return the text folded for matching, and for each of its characters where it came from. */
function folded(text) {
  let out = "";
  const from = [];
  let at = 0;
  for (const character of graphemes(text)) {
    let piece = character.normalize("NFKC").toLowerCase().replace(/[\p{Cf}\p{Variation_Selector}]/gu, "");
    piece = piece.replace(/[\p{Pd}\u2212]/gu, "-").replace(/[‘’ʼ]/g, "'").replace(/[“”]/g, '"').replace(/\s+/gu, " ");
    if (piece === " " && out.endsWith(" ")) piece = "";
    out += piece;
    for (let k = 0; k < piece.length; k++) from.push(at);
    at += character.length;
  }
  return { text: out, from: [...from, text.length] };
}

/** Return what a reader takes for one character each: a letter and its marks fold together. */
function graphemes(text) {
  if (!/[^\0-\x7f]/.test(text)) return text;
  return Array.from(new Intl.Segmenter().segment(text), ({ segment }) => segment);
}

/** Return where `answer` states `value`; empty where it does not. */
function findValue(answer, value) {
  const wanted = folded(value).text.trim();
  if (!wanted) return [];
  const { text, from } = folded(answer);
  const found = [];
  for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + 1)) {
    const end = at + wanted.length;
    if (standsAlone(text.slice(0, at), wanted, text.slice(end))) found.push([from[at], from[end]]);
  }
  return joined(found);
}

/** Tell whether neither side of `wanted` goes on as the same word or number. */
function standsAlone(before, wanted, after) {
  const [first, last] = [[...wanted.slice(0, 2)][0], [...wanted.slice(-2)].at(-1)];
  const [left, right] = [[...before.slice(-2)].at(-1) ?? "", [...after.slice(0, 2)][0] ?? ""];
  if (WORD.test(first) && WORD.test(left)) return false;
  if (WORD.test(last) && WORD.test(right)) return false;
  if (/\p{Nd}/u.test(first) && /\p{Nd}[.,]$/u.test(before)) return false;
  return !(/\p{Nd}/u.test(last) && /^[.,]\p{Nd}/u.test(after));
}

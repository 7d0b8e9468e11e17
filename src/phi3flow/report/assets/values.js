"use strict";
// Where an answer states a required value: the rule of flows/eval/answer_match (holds_value), which a test holds equal.

const NO_SPACES = String.raw`\p{scx=Hani}\p{scx=Hira}\p{scx=Kana}\p{scx=Hang}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}`;
const ANY_WORD = String.raw`\p{L}\p{N}\p{M}\p{Pc}`;
const WORD = `[[${ANY_WORD}]--[${NO_SPACES}]]`;
const SIGN = String.raw`[\-+±](?=\.?\d)`;
const BETWEEN_DIGITS = String.raw`(?<=\d)[\-.,'\/:^~·×*_](?=\d)`;
const POINT = String.raw`(?<![${ANY_WORD}.])\.`;
const EXPONENT = String.raw`e[\-+]?\d{1,2}`;
const RUN_WITH_DIGIT = new RegExp(
  String.raw`(?<!${WORD})((?<![\-+±])${SIGN})?((?:${POINT}(?=\d)|(?:(?!\d)${WORD})*(?:(?<=${WORD})-)?(?=\d))` +
    String.raw`${WORD}+(?:(?:${BETWEEN_DIGITS}|-(?=\d)|(?<=\de)\+(?=\d))${WORD}+)*)`,
  "gv",
);
const PLAIN_WORD = new RegExp(String.raw`${WORD}+|\S`, "gv");
const NUMBER_AND_UNIT = new RegExp(
  String.raw`^((?:${POINT})?\d+(?:${BETWEEN_DIGITS}\d+)*(?:${EXPONENT}(?![${ANY_WORD}]))?)(\p{L}*)$`,
  "v",
);
const GROUPS_OF_COMMAS = /^(?:[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|[1-9]\d?(?:,\d{2})+,\d{3}(?:\.\d+)?)$/;
const GROUPS_OF_POINTS = /^[1-9]\d{0,2}(?:(?:\.\d{3})+,\d+|(?:\.\d{3}){2,})$/;
const OTHER_NUMBER = new RegExp(
  String.raw`^(?:[1-9]\d{0,2}(?:(?:'\d{3})+|(?:_\d{3})+)(?:[.,]\d+)?|(?:(?:0|[1-9]\d*)(?:[.,]\d+)?|\.\d+)(?:${EXPONENT})?)$`,
);
const HYPHEN = "\u2010";
const OPPOSITES = [
  ["yes", "no"], ["true", "false"], ["ja", "nein"], ["ja", "nee"], ["oui", "non"], ["sí", "no"], ["sì", "no"], ["sim", "não"],
];
const DOUBTS = ["doubt", "matter", "problem", "question", "wonder"];

const MIXED = /(?<=\p{Nd})[⁰¹²³⁴-⁹⁺⁻]+|(?<=\p{Nd})\p{L}+[²³]|(?<=\p{Nd})\p{No}|\p{No}(?=\p{Nd})/gu;
const ALIKE = { "‘": "'", "’": "'", "ʼ": "'", "“": '"', "”": '"', "⁄": "/", "∕": "/", "٫": ".", "٬": "'", "№": "#", "−": "-", ß: "ss", ς: "σ" };
const SIGNED_CURRENCY = new RegExp(String.raw`([\-+±])(?<![${ANY_WORD}].)(\p{Sc})(?=\.?\d)`, "gv");
const GROUPS_OF_SPACES = /(?<![A-Za-z0-9_.])(?<!\d[\-.,'\/:^~·×* ])(?<![A-Za-z0-9_]-)[1-9]\d{0,2}(?: \d{3})+(?!\d)(?! \d)/g;
const FRACTION = /(?<=\d) (?=\d{1,2}\/\d{1,2}(?![\d\/]))/g;

/** Return where `answer` states `value`; empty where it does not. */
function findValue(answer, value) {
  const wanted = statedWords(value).map(({ word }) => word);
  if (!wanted.length) return [];
  const stated = statedWords(answer);
  const found = [];
  for (let at = 0; at + wanted.length <= stated.length; at++) {
    if (!wanted.every((word, k) => stated[at + k].word === word)) continue;
    const words = stated.slice(at, at + wanted.length);
    found.push([Math.min(...words.map(({ from }) => from)), Math.max(...words.map(({ to }) => to))]);
  }
  return wanted.length > 1 || isAnswer(wanted[0], stated.map(({ word }) => word)) ? joined(found) : [];
}

/** Tell whether yes or no is what the answer says first of the two; true for any other word. */
function isAnswer(word, stated) {
  const opposites = OPPOSITES.filter((pair) => pair.includes(word)).flat().filter((other) => other !== word);
  if (!opposites.length) return true;
  const decided = stated.filter((other, k) => other !== "no" || !DOUBTS.includes(stated[k + 1]));
  return decided.find((other) => other === word || opposites.includes(other)) === word;
}

/** Return the words, numbers and symbols of a text in the form in which they are compared, and where each stands. */
function statedWords(text) {
  let form = folded(text);
  form = replaced(form, /(?<=\d) ?[x×·*] ?10\^(?=[\-+]?\d)/g, () => "e");
  form = replaced(form, SIGNED_CURRENCY, (match) => match[2] + match[1]);
  form = replaced(form, /[—―]/g, () => " - ");
  form.text = form.text.replace(GROUPS_OF_SPACES, (groups) => groups.replaceAll(" ", "_")).replace(FRACTION, "_");
  const words = [];
  const add = (word, start, end) => words.push({ word, from: form.from[start], to: form.from[end] });
  const addPlain = (start, end) => {
    for (const { 0: word, index } of form.text.slice(start, end).matchAll(PLAIN_WORD)) {
      add(word, start + index, start + index + word.length);
    }
  };
  let end = 0;
  for (const run of form.text.matchAll(RUN_WITH_DIGIT)) {
    addPlain(end, run.index);
    const currency = run.index > end && /\p{Sc}/u.test(form.text[run.index - 1]) ? words.splice(-1) : [];
    end = run.index + run[0].length;
    const [number, ...unit] = statedNumber(run[2], run[1] ?? "");
    add(number, run.index, end - (unit[0]?.length ?? 0));
    words.push(...currency);
    if (unit.length) add(unit[0], end - unit[0].length, end);
  }
  addPlain(end, form.text.length);
  return words;
}

/** Return a number and its unit, or a code and the word before its hyphen. */
function statedNumber(run, sign) {
  const match = run.match(NUMBER_AND_UNIT);
  if (match) return match[2] ? [numberForm(match[1], sign), match[2]] : [numberForm(match[1], sign)];
  const hyphen = run.indexOf("-");
  if (/^\p{L}+-/u.test(run)) return [run.slice(0, hyphen), HYPHEN + run.slice(hyphen + 1)];
  return [sign.replace("+", "") + run];
}

/** Return what all ways to write a number have in common; a code as it is. */
function numberForm(digits, sign) {
  const minus = sign.replace("+", "");
  let plain;
  if (GROUPS_OF_COMMAS.test(digits)) plain = digits.replaceAll(",", "");
  else if (GROUPS_OF_POINTS.test(digits)) plain = digits.replaceAll(".", "").replace(",", ".");
  else if (OTHER_NUMBER.test(digits)) plain = digits.replace(/['_]/g, "").replace(",", ".");
  else return minus + digits;
  const [mantissa, power = "0"] = plain.split("e");
  const [integer, fraction = ""] = mantissa.split(".");
  const significant = (integer + fraction).replace(/^0+/, "");
  if (!significant) return "0";
  const shortest = significant.replace(/0+$/, "");
  const exponent = Number(power) - fraction.length + significant.length - shortest.length;
  return minus + shortest + (exponent < 0 ? `e${exponent}` : "0".repeat(exponent));
}

/** Return the text folded for matching, and for each of its characters where it came from. */
function folded(text) {
  const before = new Map();
  for (const { 0: mixed, index } of text.matchAll(MIXED)) {
    if (!/\p{Nd}$/u.test(text.slice(Math.max(index - 2, 0), index))) before.set(index + mixed.length, " ");
    else before.set(index, /^\p{L}/u.test(mixed) ? " " : /^[⁰¹²³⁴-⁹⁺⁻]/.test(mixed) ? "^" : "_");
  }
  let out = "";
  const from = [];
  let at = 0;
  for (const character of graphemes(text)) {
    const piece = (before.get(at) ?? "") + foldedCharacter(character);
    out += piece;
    for (let k = 0; k < piece.length; k++) from.push(at);
    at += character.length;
  }
  return replaced({ text: out, from: [...from, text.length] }, /(?<=\d)[—―](?=\d)/g, () => "-");
}

function foldedCharacter(character) {
  const plain = [...character].map((sign) => ALIKE[sign] ?? sign).join("");
  const lower = plain.normalize("NFKC").toLowerCase().replace("i\u0307", "i").replace(/[\p{Cf}\p{Variation_Selector}]/gu, "");
  return lower.normalize("NFKC").replace(/[\p{Pd}--[—―]]/gv, "-").replace(/./gu, (sign) => ALIKE[sign] ?? sign)
    .replace(/[\p{Nd}--[0-9]]/gv, (digit) => decimal(digit));
}

/** Return a digit of any script as one of ours: Unicode has each script's ten in a row. */
function decimal(digit) {
  let code = digit.codePointAt(0);
  const last = code;
  while (/\p{Nd}/u.test(String.fromCodePoint(code - 1))) code--;
  return String((last - code) % 10);
}

/** Replace matches in a folded text; what replaces one stands where it began. */
function replaced({ text, from }, pattern, replacement) {
  let out = "";
  const places = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    const put = replacement(match);
    out += text.slice(end, match.index) + put;
    places.push(...from.slice(end, match.index), ...Array(put.length).fill(from[match.index]));
    end = match.index + match[0].length;
  }
  return { text: out + text.slice(end), from: [...places, ...from.slice(end)] };
}

/** Return what a reader takes for one character each: a letter and its marks fold together. */
function graphemes(text) {
  if (!/[^\0-\x7f]/.test(text)) return text;
  return Array.from(new Intl.Segmenter().segment(text), ({ segment }) => segment);
}

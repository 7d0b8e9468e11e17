"""How texts are cut into tokens before they are compared, and whether a text states a value."""

from __future__ import annotations

import functools
import re
import string
import unicodedata

import regex
from answer_match_numbers import BETWEEN_DIGITS, INTRICATE, NUMBER, POINT, SIGN, join_groups, number_form

_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")

_NO_SPACES = r"\p{scx=Hani}\p{scx=Hira}\p{scx=Kana}\p{scx=Hang}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = rf"[\w--[{_NO_SPACES}]]"
_UNICODE_TOKEN = regex.compile(rf"(?V1)[\p{{L}}\p{{N}}&&[{_NO_SPACES}]]\p{{M}}*|[^\s[\p{{L}}\p{{N}}&&[{_NO_SPACES}]]]+")


def _number_or(punctuation: str, word: str) -> str:
    return rf"((?<!{word})(?<![-+±]){SIGN})?({NUMBER})|{punctuation}"


def _run_with_digit(word: str) -> str:
    """Return the pattern of a number or code: words with a digit, and what joins them."""
    joint = rf"(?:{BETWEEN_DIGITS}|-(?=\d)|(?<=\de)\+(?=\d))"
    start = rf"(?:{POINT}(?=\d)|(?:(?!\d){word})*+(?:(?<={word})-)?(?=\d))"
    return rf"(?<!{word})((?<![-+±]){SIGN})?({start}{word}++(?:{joint}{word}++)*+)"


# Most texts are ASCII, for which re takes a fraction of the time. On ASCII these four categories are
# string.punctuation exactly. Emoji (So) are content.
_NUMBER_OR_PUNCTUATION = regex.compile("(?V1)" + _number_or(r"[\p{P}\p{Sc}\p{Sm}\p{Sk}]", _WORD))
_NUMBER_OR_ASCII_PUNCTUATION = re.compile(_number_or(f"[{re.escape(string.punctuation)}]", r"\w"), re.ASCII)
_RUN_WITH_DIGIT = regex.compile("(?V1)" + _run_with_digit(_WORD))
_ASCII_RUN_WITH_DIGIT = re.compile(_run_with_digit(r"\w"), re.ASCII)
_WORDS = regex.compile(rf"(?V1){_WORD}++|\S")
_ASCII_WORDS = re.compile(r"\w+|[^\w\s]", re.ASCII)
_NUMBER_AND_UNIT = re.compile(rf"({NUMBER})([^\W\d_]*)")
_HYPHEN = "\u2010"  # of a code, PX-5: no sign; no folded text has it

_OPPOSITES = [
    ("yes", "no"),
    ("true", "false"),
    ("ja", "nein"),
    ("ja", "nee"),
    ("oui", "non"),
    ("sí", "no"),
    ("sì", "no"),
    ("sim", "não"),
]
_NO_DOUBT = re.compile(r"\nno(?=\n(?:doubt|matter|problem|question|wonder)\n)")

_MIXED = regex.compile(
    r"(?<=\p{Nd})(?P<power>[⁰¹²³⁴-⁹⁺⁻]+)|(?<=\p{Nd})(?P<unit>\p{L}+[²³])|(?<=\p{Nd})(?P<after>\p{No})"
    r"|(?P<before>\p{No})(?=\p{Nd})"
)
_INVISIBLE = regex.compile(r"[\p{Cf}\p{Variation_Selector}]+")
_ALIKE = regex.compile(r"(?V1)[\p{Pd}\u2212--[—―]]|(?<=\d)[—―](?=\d)|[\p{Nd}--[0-9]]")
_TYPOGRAPHY = str.maketrans("‘’ʼ“”⁄∕٫٬", "'''\"\"//.'")
_LONG_DASH = re.compile("[—―]")
_TIMES_TEN_TO = re.compile(r"(?<=\d) ?[x×·*] ?10\^(?=[-+]?\d)")
_SIGNED_CURRENCY = regex.compile(r"([-+±])(?<!\w.)(\p{Sc})(?=\.?\d)")


@functools.lru_cache(maxsize=64)
def squad_tokens(text: str) -> tuple[str, ...]:
    """Cut as SQuAD v1.1 does: lower case, without ASCII punctuation and English articles, split on white space.

    Source: Rajpurkar et al. 2016, the official evaluation script's ``normalize_answer``.
    """
    return tuple(_ARTICLES.sub(" ", text.lower().translate(_ASCII_PUNCTUATION)).split())


@functools.lru_cache(maxsize=64)
def unicode_tokens(text: str) -> tuple[str, ...]:
    """Cut a text of any script: on ASCII the same as ``squad_tokens``, but numbers keep their sign and their value.

    NFKC and case folding; punctuation and symbols of every script are dropped, but for what stands between two digits
    and signs before them: 1.5 is not 15, -5 and 1/5 are not 5 and 15, and 1,000.0 is 1000 (``number_form``). Chinese,
    Japanese, Korean, Thai, Lao, Khmer and Burmese, whose words are not (or not only) set apart by spaces, are cut by
    character.
    """
    text = _fold(text)
    if not text.isascii():
        tokens = _UNICODE_TOKEN.findall(_NUMBER_OR_PUNCTUATION.sub(_number_alone, text))
    elif INTRICATE.search(text):
        tokens = _NUMBER_OR_ASCII_PUNCTUATION.sub(_number_alone, text).split()
    else:
        tokens = text.translate(_ASCII_PUNCTUATION).split()
    return tuple(token for token in tokens if token not in {"a", "an", "the"})


def holds_value(answer: str, value: str) -> bool:
    """Tell whether ``answer`` states ``value``: its words and numbers, whole, one after the other.

    Numbers are compared as numbers (``number_form``), with their sign, whatever unit or currency follows: 5 is in 5kg,
    $5 and 5.0, not in -5, 1/5, 1 500 or PX-5. What letters, digits and hyphens before digits join is one code: 9456 is
    not in 9456-7, but 24 is in 24-month. NFKC and case folding; dashes and quotes of all kinds are alike; white space
    does not count. Where a script sets no spaces, any place in the text will do. Of yes and no (true and false; in some
    languages more) an answer states the one that it says first; "no doubt" is no no. Nothing else of a sentence's
    sense is read. Raises ValueError for a value that says nothing.
    """
    words, opposites = _value_words(value)
    stated = _stated_words(answer)
    if not opposites:
        return words in stated
    decided = _NO_DOUBT.sub("", stated)
    at = decided.find(words)
    return at >= 0 and not any(f"\n{other}\n" in decided[: at + 1] for other in opposites)


@functools.lru_cache(maxsize=4096)
def _value_words(value: str) -> tuple[str, list[str]]:
    """Return the words of a value, and the words that say the opposite of yes or no."""
    words = _stated_words(value)
    if words == "\n":
        raise ValueError(f"values holds {value[:80]!r}, which says nothing that an answer could state")
    answer = words.strip()
    return words, [other for pair in _OPPOSITES if answer in pair for other in pair if other != answer]


@functools.lru_cache(maxsize=64)
def _stated_words(text: str) -> str:
    """Return the words, numbers and symbols of a text in the form in which they are compared, a line each."""
    text = _fold(text.replace("№", "#"))  # NFKC makes "no" of it
    if not text.isascii():
        words = _read_numbers(_LONG_DASH.sub(" - ", text), _RUN_WITH_DIGIT, _WORDS)
    elif INTRICATE.search(text):
        words = _read_numbers(text, _ASCII_RUN_WITH_DIGIT, _ASCII_WORDS)
    else:
        words = _ASCII_WORDS.findall(text)
    return "\n".join(["", *words, ""]) if words else "\n"


def _read_numbers(
    text: str, runs: re.Pattern[str] | regex.Pattern[str], plain: re.Pattern[str] | regex.Pattern[str]
) -> list[str]:
    """Return the words of a text, its numbers in one form, each before its unit and its currency."""
    text = join_groups(text)
    words: list[str] = []
    end = 0
    for run in runs.finditer(text):
        words += plain.findall(text, end, run.start())
        number, *unit = _stated_number(run[2], run[1] or "")
        is_behind_currency = run.start() > end and unicodedata.category(text[run.start() - 1]) == "Sc"
        is_amount = is_behind_currency and not number[0].isalpha()
        words.insert(len(words) - is_amount, number)
        words += unit
        end = run.end()
    return words + plain.findall(text, end)


def _stated_number(run: str, sign: str) -> list[str]:
    """Return a number and its unit, or a code and the word before its hyphen."""
    match = _NUMBER_AND_UNIT.fullmatch(run)
    if match:
        return [number_form(match[1], sign), *filter(None, [match[2]])]
    word, hyphen, code = run.partition("-")
    return [word, _HYPHEN + code] if hyphen and word.isalpha() else [sign.strip("+") + run]


def _number_alone(match: re.Match[str] | regex.Match[str]) -> str:
    return number_form(match[2], match[1] or "") if match[2] else ""


def _fold(text: str) -> str:
    """Return a text in the form in which signs and letters that mean the same are the same."""
    text = text.casefold() if text.isascii() else _fold_unicode(text)
    if "^" in text:
        text = _TIMES_TEN_TO.sub("e", text)
    return _SIGNED_CURRENCY.sub(r"\2\1", text)


def _fold_unicode(text: str) -> str:
    # NFKC makes 10² to 102, 1½ to 11/2 and 5m² to 5m2, which are other numbers, and case folding İ to i and a dot.
    # A letter and its accent are first made one, so that both ways to write it are told from such numbers alike.
    text = _MIXED.sub(_set_apart, unicodedata.normalize("NFC", text).translate(_TYPOGRAPHY))
    text = unicodedata.normalize("NFKC", text).casefold().replace("i\u0307", "i")
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).translate(_TYPOGRAPHY)
    return _ALIKE.sub(lambda match: str(unicodedata.decimal(match[0], "-")), text)


def _set_apart(match: regex.Match[str]) -> str:
    if match["before"]:
        return f"{match[0]} "
    return ("^" if match["power"] else " " if match["unit"] else "_") + match[0]

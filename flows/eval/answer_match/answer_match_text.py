"""How texts are cut into tokens before they are compared."""

from __future__ import annotations

import functools
import re
import string
import unicodedata

import regex

_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")

# On ASCII these four categories are string.punctuation exactly. Emoji (So) are content; format characters
# (zero-width joiners, direction marks, soft hyphens) and variation selectors are not.
_UNICODE_PUNCTUATION = regex.compile(r"[\p{P}\p{Sc}\p{Sm}\p{Sk}\p{Cf}\p{Variation_Selector}]+")
_NO_SPACES = r"\p{scx=Hani}\p{scx=Hira}\p{scx=Kana}\p{scx=Hang}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_UNICODE_TOKEN = regex.compile(rf"(?V1)[\p{{L}}\p{{N}}&&[{_NO_SPACES}]]\p{{M}}*|[^\s[\p{{L}}\p{{N}}&&[{_NO_SPACES}]]]+")

_DASHES = regex.compile(r"[\p{Pd}\u2212]")
_QUOTES = str.maketrans({"‘": "'", "’": "'", "ʼ": "'", "“": '"', "”": '"'})
_INVISIBLE = regex.compile(r"[\p{Cf}\p{Variation_Selector}]+")
_WORD = rf"(?V1)[\w--[{_NO_SPACES}]]"
_STARTS_WITH_WORD = regex.compile(_WORD)


@functools.lru_cache(maxsize=64)
def squad_tokens(text: str) -> tuple[str, ...]:
    """Cut as SQuAD v1.1 does: lower case, without ASCII punctuation and English articles, split on white space.

    Source: Rajpurkar et al. 2016, the official evaluation script's ``normalize_answer``.
    """
    return tuple(_ARTICLES.sub(" ", text.lower().translate(_ASCII_PUNCTUATION)).split())


@functools.lru_cache(maxsize=64)
def unicode_tokens(text: str) -> tuple[str, ...]:
    """Cut a text of any script: on ASCII the same as ``squad_tokens``.

    NFKC and case folding; punctuation and symbols of every script are dropped; Chinese, Japanese, Korean, Thai,
    Lao, Khmer and Burmese, whose words are not (or not only) set apart by spaces, are cut by character.
    """
    tokens = _UNICODE_TOKEN.findall(_UNICODE_PUNCTUATION.sub("", _fold(text)))
    return tuple(token for token in tokens if token not in {"a", "an", "the"})


def holds_value(answer: str, value: str) -> bool:
    """Tell whether ``answer`` states ``value``: as whole words and whole numbers, in any case and typography.

    5 is not in 15, in 5.5 or in PX5; 24 is in "24-month". NFKC and case folding; dashes, quotes and white space
    of all kinds are alike. Where a script sets no spaces, any place in the text will do.
    """
    return _value_pattern(value).search(_fold_typography(answer)) is not None


@functools.lru_cache(maxsize=4096)
def _value_pattern(value: str) -> regex.Pattern[str]:
    text = _fold_typography(value).strip()
    if not text:
        raise ValueError(f"values holds {value!r}, which says nothing that an answer could state")
    left = rf"(?<!{_WORD})" if _STARTS_WITH_WORD.match(text) else ""
    right = rf"(?!{_WORD})" if _STARTS_WITH_WORD.match(text[-1]) else ""
    if text[0].isdigit():
        left += r"(?<!\d[.,])"
    if text[-1].isdigit():
        right += r"(?![.,]\d)"
    return regex.compile(left + regex.escape(text, special_only=True) + right)


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _fold_typography(text: str) -> str:
    return " ".join(_DASHES.sub("-", _INVISIBLE.sub("", _fold(text))).translate(_QUOTES).split())

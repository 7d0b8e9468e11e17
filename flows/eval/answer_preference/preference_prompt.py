"""The prompt that asks for a preference, and how its answer is read.

Source: Zheng et al. 2023, Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena (arXiv 2306.05685), figure 5, with a
sentence on the context and the reference answer where a line has them.
"""

from __future__ import annotations

import hashlib
import re

_SYSTEM = (
    "Please act as an impartial judge and evaluate the quality of the responses provided by two AI assistants to the "
    "user question displayed below. You should choose the assistant that follows the user's instructions and answers "
    "the user's question better. Your evaluation should consider factors such as the helpfulness, relevance, accuracy, "
    "depth, creativity, and level of detail of their responses. Where a context or a reference answer is given, what "
    "agrees with it is right. Begin your evaluation by comparing the two responses and provide a short explanation. "
    "Avoid any position biases and ensure that the order in which the responses were presented does not influence your "
    "decision. Do not allow the length of the responses to influence your evaluation. Do not favor certain names of "
    "the assistants. Be as objective as possible. After providing your explanation, output your final verdict by "
    'strictly following this format: "[[A]]" if assistant A is better, "[[B]]" if assistant B is better, and "[[C]]" '
    "for a tie."
)
_SECTIONS = (
    "[User Question]\n{question}",
    "[The Start of the Context]\n{context}\n[The End of the Context]",
    "[The Start of the Reference Answer]\n{ground_truth}\n[The End of the Reference Answer]",
    "[The Start of Assistant A's Answer]\n{first}\n[The End of Assistant A's Answer]",
    "[The Start of Assistant B's Answer]\n{second}\n[The End of Assistant B's Answer]",
)
_CHOICE = re.compile(r"\[\[([ABC])\]\]")
_PREFERENCES = {"A": "first", "B": "second", "C": "tie"}
_LONGEST_QUOTE = 120

PROMPT_SHA256 = hashlib.sha256("\n\n".join((_SYSTEM, *_SECTIONS)).encode()).hexdigest()


def preference_messages(
    question: str, first: str, second: str, *, context: str, ground_truth: str
) -> list[dict[str, str]]:
    """Return the messages; a blank context or ground truth has no section."""
    texts = {
        "question": question,
        "context": context,
        "ground_truth": ground_truth,
        "first": first,
        "second": second,
    }
    optional = [name for name in ("context", "ground_truth") if not texts[name].strip()]
    sections = [section for section in _SECTIONS if not any(f"{{{name}}}" in section for name in optional)]
    content = "\n\n".join(section.format(**texts) for section in sections)
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": content}]


def read_preference(text: str) -> str:
    """Return first, second or tie. Raises ValueError unless the text has one verdict, or the same several times."""
    choices = set(_CHOICE.findall(text))
    if len(choices) != 1:
        quote = repr(text) if len(text) <= _LONGEST_QUOTE else f"…{text[-_LONGEST_QUOTE:]!r}"
        answer = f"the verdicts {', '.join(sorted(choices))}" if choices else "no verdict [[A]], [[B]] or [[C]]"
        raise ValueError(f"the judge gave {answer}: {quote}")
    return _PREFERENCES[choices.pop()]

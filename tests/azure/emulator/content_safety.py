"""What Azure AI Content Safety makes of prompts and answers: what the world blocks is hateful, all else is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.azure.emulator.chat_requests import ChatError
from tests.azure.emulator.world import World

_HARMS = ("hate", "self_harm", "sexual", "violence")


@dataclass(frozen=True)
class Filtered:
    """An answer that was cut off before what is harmful in it."""

    text: str
    results: dict[str, Any]


class ContentSafety:
    """The filter before and behind a model."""

    def __init__(self, world: World) -> None:
        self._world = world

    def check_prompt(self, messages: list[dict[str, str]]) -> None:
        """Raise ChatError 400 for a prompt that is harmful."""
        if any(self._first(message["content"]) is not None for message in messages):
            results = {**_results(), "jailbreak": {"filtered": False, "detected": False}}
            raise ChatError(
                400,
                "content_filter",
                "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
                "Please modify your prompt and retry.",
                body={"innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": results}},
            )

    def filter_answer(self, text: str) -> Filtered | None:
        """Return what is left of a harmful answer, None for one that may pass."""
        place = self._first(text)
        return None if place is None else Filtered(text[:place].rstrip(), _results())

    def _first(self, text: str) -> int | None:
        places = [text.lower().find(word.lower()) for word in self._world.blocked_words]
        return min((place for place in places if place >= 0), default=None)


def _results() -> dict[str, Any]:
    harmless = {harm: {"filtered": False, "severity": "safe"} for harm in _HARMS}
    return {**harmless, "hate": {"filtered": True, "severity": "high"}}

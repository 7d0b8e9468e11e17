"""Tell whether an answer refuses."""

from content_safety_refusals import is_refusal
from promptflow.core import tool


@tool
async def detect_refusal(answer: str) -> int:
    """Return 1 where the answer begins with a refusal (``is_refusal``), else 0.

    It awaits nothing; it is async because Prompt flow starts a thread for each call of a tool that is not.
    """
    return int(is_refusal(answer))

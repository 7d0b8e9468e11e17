"""An endpoint that comes up: its creation is bounded, its first question asked, and its end too if it fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from phi3flow.azure.arm import USER_AGENT
from phi3flow.azure.polling import Waits, poll
from phi3flow.errors import AzureError, DeploymentError, Phi3flowError
from phi3flow.text import duration, shorten

CREATION_BOUND_S = 5400.0
DELETION_BOUND_S = 900.0
NOTED_EVERY_S = 300.0
SMOKE_TIMEOUT_S = 120.0
SMOKE_ATTEMPTS = 5
SMOKE_WAITS = Waits(first_s=1.0, longest_s=8.0, growth=2.0)
"""Between questions to a deployment that was just made."""
_BRIEFLY_AWAY = frozenset({404, 408, 424, 429, 500, 502, 503, 504})
"""What an endpoint may answer in the seconds after a change, until its routes are known everywhere."""


@dataclass(frozen=True)
class _Smoke:
    """What is wrong with an endpoint's answer, None where nothing is, and whether it may pass by itself."""

    problem: str | None
    may_pass: bool


def bounded(subject: str, on_note: Callable[[str], None]) -> Callable[[float], None]:
    """Return what is told how long a creation takes: it says so every few minutes, and ends it at last."""
    noted_s = 0.0

    def wait(passed_s: float) -> None:
        nonlocal noted_s
        if passed_s >= CREATION_BOUND_S:
            raise AzureError(f"{subject}: it was still being created after {duration(passed_s)}")
        if passed_s >= noted_s + NOTED_EVERY_S:
            noted_s = passed_s
            on_note(f"{subject}: still being created after {duration(passed_s)} …")

    return wait


def give_up(passed_s: float) -> None:
    """Raise AzureError once Azure has let something wait to be deleted for ``DELETION_BOUND_S``."""
    if passed_s >= DELETION_BOUND_S:
        raise AzureError(f"Azure has not done it within {duration(passed_s)}")


def reason_of(error: Exception) -> str:
    """Return what an error says, without the full stop; of one that is not ours its type too."""
    text = str(error).strip().rstrip(".")
    return text if isinstance(error, Phi3flowError) else f"{type(error).__name__}: {shorten(text, 300)}"


class EndpointDeployer(ABC):
    """Makes one endpoint of one model; ``on_note`` is told what is being done.

    Nothing that it made bills unseen: whatever fails after the endpoint was begun takes it back, and where it cannot be
    taken back, or is left by Ctrl-C, the last words say how to end it. ``what`` names the endpoint, ``how_to_end`` is a
    sentence.
    """

    def __init__(self, what: str, how_to_end: str, on_note: Callable[[str], None]) -> None:
        self._what, self._how_to_end, self._on_note = what, how_to_end, on_note
        self._wait = bounded(what, on_note)
        self.exists: bool | None = None
        """Whether there is an endpoint now, None before that was looked at."""

    @abstractmethod
    def _look(self) -> Mapping[str, Any] | None:
        """Return the endpoint, None where there is none."""

    @abstractmethod
    def _has_failed(self, existing: Mapping[str, Any]) -> bool:
        """Whether it could not be made, and has to make way."""

    @abstractmethod
    def _keep(self, existing: Mapping[str, Any]) -> str:
        """Change of an endpoint what is asked for otherwise, and return its base URL."""

    @abstractmethod
    def _make(self) -> str:
        """Make it, and return its base URL."""

    @abstractmethod
    def _problem(self, url: str) -> str | None:
        """Ask it a question, and return what is wrong, None where nothing is."""

    @abstractmethod
    def _delete(self) -> None: ...

    @abstractmethod
    def _explain(self, error: Exception) -> str:
        """Return what an error says, and what to do about it."""

    def deploy(self) -> str:
        """Make the endpoint unless it is there, ask it, and return its base URL.

        Raises DeploymentError where it does not answer: a new one is taken back then.
        """
        try:
            existing = self._look()
            self.exists = existing is not None
            if existing is not None and self._has_failed(existing):
                self._delete()
                existing = None
            if existing is None:
                return self._bring_up()
            url = self._keep(existing)
            self._ask(url)
            return url
        except KeyboardInterrupt:
            if self.exists:
                self._on_note(f"Azure goes on with the {self._what}. {self._how_to_end}")
            raise

    def _bring_up(self) -> str:
        self.exists = True
        try:
            url = self._make()
            self._ask(url)
        except Exception as error:
            raise DeploymentError(self._take_back(self._explain(error))) from error
        return url

    def _ask(self, url: str) -> None:
        problem = self._problem(url)
        if problem:
            raise DeploymentError(f"{self._what}: it does not answer: {problem}")

    def _take_back(self, why: str) -> str:
        """Delete the endpoint, and return why."""
        why = why.removeprefix(f"{self._what}: ")
        try:
            self._delete()
            self.exists = False
            undone = "Nothing of it is left."
        except Exception as error:
            undone = f"It could not be deleted again: {reason_of(error)}. {self._how_to_end}"
        return f"{self._what}: {why}. {undone}"


def ask_once_up(
    url: str,
    question: Mapping[str, Any],
    key: str,
    headers: Mapping[str, str] | None = None,
    *,
    answer_of: Callable[[Any], Any],
) -> str | None:
    """Post a question, again where the endpoint may not be up yet; return what is wrong, None where nothing is.

    ``answer_of`` takes the text out of the answer's JSON; it may raise LookupError, TypeError or AttributeError.
    """
    import requests

    dressed = {"Authorization": f"Bearer {key}", "User-Agent": USER_AGENT, **(headers or {})}

    def ask() -> tuple[_Smoke, None]:
        try:
            answer = requests.post(url, json=question, headers=dressed, timeout=SMOKE_TIMEOUT_S)
        except requests.RequestException as error:
            return _Smoke(type(error).__name__, may_pass=True), None
        return _Smoke(_problem(answer, answer_of), may_pass=answer.status_code in _BRIEFLY_AWAY), None

    smoke = poll(
        ask,
        until=lambda smoke: smoke.problem is None or not smoke.may_pass,
        waits=SMOKE_WAITS,
        most_looks=SMOKE_ATTEMPTS,
    )
    return smoke.problem


def ask_chat(base_url: str, key: str, model: str | None = None, *, most_tokens: int | None = 8) -> str | None:
    """Ask an OpenAI-compatible endpoint a question; return what is wrong with the answer, None where nothing is.

    A model that thinks before it answers takes no ``most_tokens``.
    """
    optional = {name: value for name, value in (("model", model), ("max_tokens", most_tokens)) if value}
    return ask_once_up(
        f"{base_url}/chat/completions",
        {"messages": [{"role": "user", "content": "Say OK."}], **optional},
        key,
        answer_of=lambda answer: answer["choices"][0]["message"]["content"],
    )


def _problem(answer: Any, answer_of: Callable[[Any], Any]) -> str | None:
    if answer.status_code != 200:
        return f"HTTP {answer.status_code}: {shorten(answer.text, 300)}"
    try:
        text = answer_of(answer.json())
    except (ValueError, LookupError, TypeError, AttributeError):
        text = None
    return None if isinstance(text, str) else f"no text in the answer: {shorten(answer.text, 300)}"

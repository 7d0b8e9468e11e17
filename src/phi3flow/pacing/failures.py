"""What an exception from anybody's flow says about the endpoint: its status, and whether to try again.

For our own flow's EndpointError and for what requests, httpx, aiohttp and openai raise, without importing them.
"""

from __future__ import annotations

import contextlib
import email.utils
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from http import HTTPStatus
from typing import Any

from phi3flow.records.lines import LineError
from phi3flow.text import cut

RETRYABLE_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_RETRYABLE_MODEL_STATUS = frozenset({"429", "503"})
_CONNECTION_ERRORS = frozenset(
    {
        "APIConnectionError",
        "ChunkedEncodingError",
        "ClientConnectionError",
        "ConnectionError",
        "Timeout",
        "TimeoutError",
        "TransportError",
    }
)
_LONGEST_MESSAGE = 2000
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True)
class Failure:
    """A failed attempt: the record of it, whether another try may help, and the wait that the server asked for.

    ``timed_out``: its own time was up, which the endpoint may know nothing of.
    """

    error: LineError
    retryable: bool
    retry_after_s: float | None = None
    timed_out: bool = False

    @property
    def status_code(self) -> int | None:
        """The HTTP status, where there was one."""
        return self.error.status_code

    @property
    def message(self) -> str:
        """Why there is no answer, in the exception's words."""
        return self.error.message


def describe_failure(error: BaseException, redact: Callable[[str], str] = str) -> Failure:
    """Read an exception and its causes: the first that carries a status or says ``retryable`` decides.

    It never raises, whatever the exception does when it is asked. ``redact`` sees the whole message, before it is cut.
    """
    status, retryable, retry_after_s = None, False, None
    for cause in _causes(error):
        status = _status(cause)
        headers = _headers(cause)
        retry_after_s = _seconds(_attribute(cause, "retry_after_s"))
        if retry_after_s is None:
            retry_after_s = requested_wait_s(status, headers)
        declared = _attribute(cause, "retryable")
        retryable = bool(declared) if isinstance(declared, bool | int) else _retryable(cause, status, headers)
        if status is not None or declared is not None or retryable:
            break
    return Failure(
        error=LineError(type=type(error).__name__, message=_message(error, redact), status_code=status),
        retryable=retryable,
        retry_after_s=retry_after_s,
        timed_out=isinstance(error, TimeoutError),
    )


def error_text(error: BaseException) -> str:
    """Return what an exception says, whatever it does when it is asked."""
    try:
        text = str(error).strip()
        return text or ("no answer within the time limit" if isinstance(error, TimeoutError) else repr(error))
    except Exception as unreadable:
        return f"its message cannot be read: {type(unreadable).__name__}"


def is_endpoint_failure(error: LineError) -> bool:
    """Whether the endpoint caused a line's failure (a status of RETRYABLE_STATUS, 424, any other 5xx, no connection, no
    answer in time), so that the same line may well be answered when it is tried again.
    """
    if error.status_code is None:
        return error.type in _CONNECTION_ERRORS or error.type.endswith(("Timeout", "TimeoutError"))
    return error.status_code in RETRYABLE_STATUS or error.status_code == 424 or error.status_code >= 500


def parse_retry_after(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3: seconds or an HTTP date).

    None where it is neither. A date without a zone is in UTC, as every HTTP date is.
    """
    if value is None:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value, re.ASCII):
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time())
    except (OverflowError, TypeError, ValueError):
        return None


def requested_wait_s(status: int | None, headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a service asks to be left alone for, None where it does not say.

    retry-after-ms is more exact than Retry-After, and goes first, as in openai's client. A 429 with neither says when
    its limits of requests and of tokens are whole again: the one of which nothing is left counts, else the later.
    ``headers`` are asked in lower case.
    """
    milliseconds = headers.get("retry-after-ms", "")
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", milliseconds, re.ASCII):
        return float(milliseconds) / 1000
    asked_s = parse_retry_after(headers.get("retry-after"))
    if asked_s is not None or status != HTTPStatus.TOO_MANY_REQUESTS:
        return asked_s
    waits_s = {limit: parse_duration(headers.get(f"x-ratelimit-reset-{limit}")) for limit in ("requests", "tokens")}
    known = {limit: wait_s for limit, wait_s in waits_s.items() if wait_s is not None}
    used_up = [known[limit] for limit in known if headers.get(f"x-ratelimit-remaining-{limit}", "").strip() == "0"]
    return max(used_up or known.values(), default=None)


def parse_duration(value: str | None) -> float | None:
    """Return the seconds of ``6ms``, ``1m30s`` or, as Azure writes it, ``26``.

    None where it is no duration; more than a day is the time of a clock.
    """
    text = (value or "").strip()
    if not re.fullmatch(r"\d+(\.\d+)?|(\d+(\.\d+)?(ms|[dhms]))+", text, re.ASCII):
        return None
    units_s = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    duration_s = sum(float(number) * units_s[unit] for number, unit in re.findall(r"([\d.]+)(ms|[dhms]|)", text))
    return duration_s if duration_s <= units_s["d"] else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        hidden = _attribute(error, "_ex")  # promptflow-tools' WrappedOpenAIError keeps openai's error there
        error = error.__cause__ or (hidden if isinstance(hidden, BaseException) else None)


def _status(error: BaseException) -> int | None:
    response = _attribute(error, "response")
    for value in (
        _attribute(error, "status_code"),
        _attribute(response, "status_code"),
        _attribute(error, "status"),
    ):
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1000:
            return int(value)
    return None


def _headers(error: BaseException) -> dict[str, str]:
    for holder in (_attribute(error, "response"), error):
        headers: Any = _attribute(holder, "headers")
        with contextlib.suppress(Exception):
            if isinstance(headers, Mapping):
                return {str(name).lower(): str(value) for name, value in headers.items()}
    return {}


def _attribute(holder: object, name: str) -> Any:
    """Return an attribute, None where there is none or asking for it raises."""
    try:
        return getattr(holder, name, None)
    except Exception:
        return None


def _seconds(value: object) -> float | None:
    with contextlib.suppress(OverflowError):
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
            return float(value)
    return None


def _retryable(error: BaseException, status: int | None, headers: Mapping[str, str]) -> bool:
    if status == 424:
        return headers.get("ms-azureml-model-error-statuscode") in _RETRYABLE_MODEL_STATUS
    if status is not None and status >= 400:
        return status in RETRYABLE_STATUS
    return any(base.__name__ in _CONNECTION_ERRORS for base in type(error).__mro__)


def _message(error: BaseException, redact: Callable[[str], str]) -> str:
    text = error_text(error)
    text = _ADDRESS.sub("", redact(text))  # of an object: says nothing, and is another one each time
    return cut(text, _LONGEST_MESSAGE).encode("utf-8", "replace").decode()  # halves of surrogate pairs

"""azure-ai-ml, imported late: it takes seconds, logs at length, and draws progress bars of its own."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from phi3flow.azure.arm import IN_PROGRESS_CODES, USER_AGENT, Arm
from phi3flow.azure.settings import AzureSettings
from phi3flow.errors import AzureError, MissingExtraError, Phi3flowError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


T = TypeVar("T")
_STDERR: ContextVar[TextIO | None] = ContextVar("_STDERR", default=None)
"""Where a person reads, while the SDK is kept from writing there."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_WAITS_S = (1.0, 2.0, 4.0, 8.0)
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_IN_THE_WAY = IN_PROGRESS_CODES | {"BlobAlreadyExists"}
"""Codes of what our own first attempt left, and the next one finds and uses."""


class Sdk:
    """The SDK's clients of the settings' workspace and of the model registry."""

    def __init__(self, arm: Arm, settings: AzureSettings) -> None:
        self._arm, self._settings = arm, settings

    @cached_property
    def workspace(self) -> MLClient:
        """The workspace's client."""
        return self._client(
            subscription_id=self._settings.subscription_id,
            resource_group_name=self._settings.resource_group,
            workspace_name=self._settings.workspace,
        )

    @cached_property
    def registry(self) -> MLClient:
        """The client of the registry that models and components come from."""
        return self._client(registry_name=self._settings.registry)

    def _client(self, **owner: str) -> MLClient:
        try:
            with refusals(f"workspace or registry {next(reversed(owner.values()))}"):
                from azure.ai.ml import MLClient

                manners: dict[str, Any] = {"show_progress": False, "enable_telemetry": False, "user_agent": USER_AGENT}
                return MLClient(self._arm.credential, **owner, **manners, raw_response_hook=_say_wait)
        except ImportError as error:
            raise MissingExtraError("azure", error) from error


def persistently(action: str, call: Callable[[], T]) -> T:
    """Call the SDK, and again where what failed will pass: it retries no POST, and no upload whose answer was lost.

    ``call`` must do no harm when it is repeated. Raises AzureError as ``refusals`` does.
    """
    for wait_s in _WAITS_S:
        try:
            with refusals(action):
                return call()
        except AzureError as error:
            if not _will_pass(error):
                raise
        time.sleep(wait_s)
    with refusals(action):
        return call()


def _will_pass(error: AzureError) -> bool:
    """Whether a throttle, a fault of the service or a broken connection is among what caused an error."""
    from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, ServiceRequestError | ServiceResponseError):
            return True
        if isinstance(cause, HttpResponseError):
            code = getattr(cause, "error_code", None) or getattr(cause.error, "code", None)
            return cause.status_code in _PASSING or str(code) in _IN_THE_WAY
        cause = cause.__cause__ or cause.__context__
    return False


@contextlib.contextmanager
def refusals(action: str) -> Iterator[None]:
    """Turn what the SDK raises inside the block into AzureError about ``action``; what it prints goes nowhere.

    It raises whatever comes: RuntimeError, AttributeError, messages in colour over several lines.
    """
    from azure.core.exceptions import AzureError as SdkError
    from azure.core.exceptions import HttpResponseError

    if not isinstance(sys.stderr, io.StringIO):
        _STDERR.set(sys.stderr)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), _quiet_logs():
            yield
    except (Phi3flowError, ImportError):
        raise
    except HttpResponseError as error:
        message = error.error.message if error.error and error.error.message else error.message
        code = error.error.code if error.error and error.error.code else ""
        raise AzureError(f"{action}: {_first_line(message)}", status=error.status_code, code=str(code)) from error
    except SdkError as error:
        raise AzureError(f"{action}: {_first_line(str(error))}") from error
    except Exception as error:
        text = _first_line(getattr(error, "message", None) or str(error))
        raise AzureError(f"{action}: azure-ai-ml failed with {type(error).__name__}: {text}") from error


def _say_wait(response: Any) -> None:
    """Say what the SDK does not, to where ``refusals`` keeps it from saying anything."""
    from phi3flow.azure.patience import say_wait

    disabled = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    try:
        with contextlib.redirect_stderr(_STDERR.get() or sys.__stderr__):
            say_wait(response)
    finally:
        logging.disable(disabled)


@contextlib.contextmanager
def _quiet_logs() -> Iterator[None]:
    """Let only errors be logged: the SDK warns of every experimental class, with handlers of its own."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _first_line(text: str) -> str:
    lines = [line.strip() for line in _COLOUR.sub("", text).strip().splitlines() if line.strip()]
    return lines[0][:400] if lines else "no reason given"

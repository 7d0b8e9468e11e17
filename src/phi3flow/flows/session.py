"""An open flow: its lines executed by promptflow's own executor, in this process."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from phi3flow.errors import ConfigError, FlowError, Phi3flowError
from phi3flow.flows.connections import ConnectionSource, PromptflowConnection
from phi3flow.flows.definition import Flow
from phi3flow.flows.includes import whole_folder
from phi3flow.flows.observed import ObservedLine, PrintedStream
from phi3flow.flows.tracebacks import describe_traceback
from phi3flow.flows.watched import FolderWatch, watch_files
from phi3flow.proxies import loopback_exempted
from phi3flow.records.images import output_path
from phi3flow.records.lines import Traceback
from phi3flow.temporary import temporary_folder

_QUIET = {
    "PF_DISABLE_TRACING": "true",
    "PF_SKIP_SERIALIZATION_CHECK": "true",
}  # outputs are serialised by who keeps them

_OUTPUT = "output"  # under which a flex flow's aggregation is kept what the entry returned
_ABOUT_INPUTS = ("InputParseError", "InputTypeError")

_REFERENCE = re.compile(r"\$\{(?P<connection>[^.{}]+)\.(?P<key>[^.{}]+)\}")

SINGLE_ATTEMPTS: Mapping[str, str] = MappingProxyType({"PHI3_MAX_RETRIES": "0"})
"""What a flow runs with where who executes it tries a line again: its own client does not."""


@dataclass(frozen=True)
class FlowLine:
    """What one line gave: the flow's outputs, and the values that its aggregation will want.

    ``usage`` has prompt_tokens and completion_tokens where openai's client heard of any.
    """

    outputs: dict[str, Any]
    aggregation_inputs: dict[str, Any]
    usage: dict[str, Any] | None = None


class FlowSession:
    """An open flow: promptflow's executor, one for the whole run. Made by ``open_flow``."""

    def __init__(
        self,
        flow: Flow,
        executor: Any,
        used_connections: dict[str, PromptflowConnection],
        watch: FolderWatch,
        folder: Path,
    ) -> None:
        self.flow = flow
        self._folder = folder
        self.used_connections = used_connections
        self._executor = executor
        self._watch = watch

    @property
    def has_aggregation(self) -> bool:
        """Whether something sees all lines at once, as an evaluation flow's metrics do."""
        return bool(self._executor.has_aggregation_node)

    async def exec_line(
        self,
        inputs: Mapping[str, Any],
        *,
        line_number: int,
        timeout_s: float | None = None,
        observed: ObservedLine | None = None,
    ) -> FlowLine:
        """Execute one line. Raises the tool's own exception where a node fails, not promptflow's wrapper.

        ``observed`` sees it; without, what the flow prints goes to stderr. Raises TimeoutError after ``timeout_s``:
        asynchronous tools are cancelled, a synchronous one's thread is left.
        """
        from phi3flow.flows import promptflow_core

        observed = observed or ObservedLine(keeps_prints=False)
        try:
            with observed.watched():
                result = await promptflow_core.exec_line(
                    self._executor, inputs, line_number=line_number, timeout_s=timeout_s
                )
        except Exception as error:
            raise _root_error(error)  # noqa: B904  # it keeps its own cause
        finally:
            self._watch.look_around()
        wanted = dict(result.aggregation_inputs)
        if self.flow.is_flex and self.has_aggregation:
            wanted = {_OUTPUT: promptflow_core.without_line_number(result.output)}
        output = promptflow_core.as_dict(result.output) if self.flow.is_flex else result.output
        return FlowLine(
            outputs=promptflow_core.without_line_number(output),
            aggregation_inputs=wanted,
            usage=observed.usage,
        )

    def traceback(self, error: BaseException, observed: ObservedLine, *, line_number: int) -> Traceback | None:
        """Return where a line failed, with what it raised last; None where that was in none of the flow's code."""
        return describe_traceback(error, line_number=line_number, node=observed.failed_node, folder=self._folder)

    def with_image_files(self, outputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Return outputs with the paths of images in their place, as ``pf`` writes them, and the images by path."""
        from phi3flow.flows import promptflow_core

        images: dict[str, bytes] = {}

        def keep(content: bytes, mime_type: str) -> str:
            path = output_path(content, mime_type)
            images[path] = bytes(content)
            return path

        try:
            return promptflow_core.with_image_files(self._executor, outputs, keep), images
        except Exception:  # no JSON either, as whoever writes it down will say
            return outputs, {}

    def with_image_texts(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return values with images as base64, from which promptflow's aggregation makes images again."""
        from phi3flow.flows import promptflow_core

        return promptflow_core.with_image_texts(self._executor, values)

    def exec_aggregation(
        self, inputs: Sequence[Mapping[str, Any]], lines: Sequence[FlowLine], observed: ObservedLine
    ) -> tuple[dict[str, Any], Exception | None]:
        """Execute the aggregation over all lines, ``inputs`` in their order, and return what it logged, as it is.

        Where it failed, return what was logged until then, and what it raised, not promptflow's wrapper. ``observed``
        sees it.
        """
        from phi3flow.flows import promptflow_core

        collected: Any = _by_name([line.aggregation_inputs for line in lines])
        if self.flow.is_flex:
            collected = [promptflow_core.as_collected(line.aggregation_inputs[_OUTPUT]) for line in lines]
        with observed.watched():
            logged, error = promptflow_core.exec_aggregation(
                self._executor, _by_name(inputs), collected, name=self.flow.name
            )
        return logged, _root_error(error) if error else None


@contextlib.contextmanager
def open_flow(
    flow: Flow, *, connections: ConnectionSource, environment: Mapping[str, str] | None = None
) -> Iterator[FlowSession]:
    """Load the flow into promptflow's executor; on exit leave no trace of it in the process.

    While it is open the working directory is the flow's folder, as under ``pf``, or a copy that holds its includes, the
    flow's environment variables and, before them, ``environment`` are set, and what the flow prints goes to stderr.
    Afterwards the flow's modules are dropped, so that the next flow's own ``utils.py`` is not mistaken for this one's.
    One flow can be open at once.
    A variable ``${connection.key}`` gets that value of the connection, as under ``pf``. Raises FlowError where
    promptflow refuses the flow, ConfigError for a variable whose connection has no such value.
    """
    used: dict[str, PromptflowConnection] = {}

    def resolve(name: str) -> PromptflowConnection:
        used[name] = connections(name)
        return used[name]

    with contextlib.ExitStack() as stack:
        variables = {**flow.environment, **(environment or {})}
        variables = {name: _of_connection(name, value, resolve) for name, value in variables.items()}
        stack.enter_context(_environment({"PF_DISABLE_TRACING": "true", **loopback_exempted(), **variables}))
        loading = stack.enter_context(contextlib.ExitStack())
        temporary = loading.enter_context(temporary_folder())  # before what the flow opens is watched
        folder = stack.enter_context(whole_folder(flow.folder, flow.includes))
        stack.enter_context(_own_modules(folder))
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(_own_streams())
        watch = stack.enter_context(watch_files(flow))
        executor = _create_executor(flow, folder, temporary, resolve, used)
        loading.close()
        yield FlowSession(flow, executor, used, watch, folder)


def _of_connection(variable: str, value: str, connections: ConnectionSource) -> str:
    """Return an environment variable's value, where it is ``${connection.key}`` the connection's."""
    match = _REFERENCE.fullmatch(value.strip())
    if not match:
        return value
    values = connections(match["connection"])["value"]
    if match["key"] not in values:
        raise ConfigError(f"environment variable {variable}: {value}: the connection has {', '.join(values) or 'none'}")
    return str(values[match["key"]])


def _create_executor(
    flow: Flow, folder: Path, temporary: Path, connections: ConnectionSource, used: dict[str, PromptflowConnection]
) -> Any:
    with _no_warnings():
        from phi3flow.flows.promptflow_core import create_executor, inline_connections

        file = (folder if flow.is_prompty else temporary) / flow.file  # a prompty's references are beside it
        if not flow.is_prompty:
            file.write_bytes(flow.text.encode())
        try:
            executor = create_executor(flow, file, folder, connections)
            used.update(inline_connections(executor))
        except Exception as error:
            cause = _root_error(error)
            if isinstance(cause, Phi3flowError):
                raise cause from None
            kind = "" if type(cause).__module__.startswith("promptflow") else f"{type(cause).__name__}: "
            raise FlowError(f"{flow.folder / flow.file}: does not load: {kind}{cause}") from error
    return executor


def _by_name(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Keep out the deprecations that promptflow-tools logs on the root logger when it is imported."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _root_error(error: Exception) -> Exception:
    """Unwrap promptflow's exceptions down to the one that the tool raised; one that names an input is kept."""
    while (
        type(error).__module__.startswith("promptflow")
        and type(error).__name__ not in _ABOUT_INPUTS
        and isinstance(error.__cause__, Exception)
    ):
        error = error.__cause__
    return error


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _own_modules(folder: Path) -> Iterator[None]:
    path_before, modules_before = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = path_before
        for name in set(sys.modules) - modules_before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and "site-packages" not in file and Path(file).is_relative_to(folder):
                del sys.modules[name]


@contextlib.contextmanager
def _own_streams() -> Iterator[None]:
    """Send what is printed to stderr, or to the line that prints it, and restore both streams."""
    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = PrintedStream("stdout", stderr), PrintedStream("stderr", stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = stdout, stderr

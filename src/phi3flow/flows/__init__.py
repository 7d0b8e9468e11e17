"""Flow folders: what they declare, which files they are, and how promptflow's own executor runs them.

This module alone imports promptflow's executor, and only inside ``open_flow``: it costs seconds.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from phi3flow.errors import ConfigError, FlowError, Phi3flowError

DAG_FILE = "flow.dag.yaml"
_SKIPPED_FOLDERS = {"__pycache__", ".promptflow", ".runs", ".git", ".venv"}
_VARIANT = re.compile(r"^\$\{([^.{}]+)\.([^{}]+)\}$")

ConnectionSource = Callable[[str], Mapping[str, Any]]
"""Gives a connection, by name, in promptflow's dict form: type, value, module, secret_keys."""


@dataclass(frozen=True)
class FlowInput:
    """One input of a flow: promptflow's type name, and its default where it has one."""

    type: str
    default: Any = None
    has_default: bool = False
    is_chat_input: bool = False
    is_chat_history: bool = False


@dataclass(frozen=True)
class Flow:
    """A DAG flow with one variant chosen: ``dag`` holds no variants any more."""

    folder: Path
    name: str
    dag: dict[str, Any] = field(repr=False)
    inputs: dict[str, FlowInput]
    outputs: list[str]
    chat_output: str | None
    variant: str | None
    fingerprint: str

    @property
    def has_aggregation(self) -> bool:
        """Whether a node sees all lines at once, as an evaluation flow's metrics do."""
        return any(node.get("aggregation") for node in self.dag["nodes"])

    def with_connections(self, overrides: Mapping[str, str]) -> Flow:
        """Return the flow with ``{"node.input": connection name}`` set, as ``pf run --connections`` does."""
        dag = copy.deepcopy(self.dag)
        nodes = {node["name"]: node for node in dag["nodes"]}
        for key, connection in overrides.items():
            node_name, _, input_name = key.partition(".")
            if node_name not in nodes or not input_name:
                raise ConfigError(
                    f"--connections {key}={connection}: write NODE.INPUT=NAME; the flow {self.name} has the nodes "
                    f"{', '.join(nodes)}"
                )
            node = nodes[node_name]
            inputs = node.setdefault("inputs", {})
            if input_name == "connection" and ("connection" in node or node.get("type") == "llm"):
                node["connection"] = connection
            elif input_name in inputs:
                inputs[input_name] = connection
            else:
                raise ConfigError(
                    f"--connections {key}={connection}: node {node_name} has no input {input_name!r}; "
                    f"its inputs are {', '.join(inputs) or 'none'}"
                )
        return Flow(**{**self.__dict__, "dag": dag})


@dataclass(frozen=True)
class FlowLine:
    """What one line gave: the flow's outputs, and the values that its aggregation nodes will want."""

    outputs: dict[str, Any]
    aggregation_inputs: dict[str, Any]


def load_flow(path: Path, *, variant: str | None = None) -> Flow:
    """Read a flow folder (or its flow.dag.yaml) and choose a variant, without importing promptflow.

    ``variant`` is ``${node.variant}``, ``node.variant`` or the variant's name where only one node has it.
    Raises FlowError where the folder holds no flow that parses, ConfigError for an unknown variant.
    """
    file = path if path.is_file() else path / DAG_FILE
    dag = _read_dag(file)
    folder = file.parent.resolve()
    chosen = _find_variant(dag, variant, file) if variant else None
    declared = dag.get("inputs") or {}
    inputs = {
        name: FlowInput(
            type=str(body.get("type", "string")),
            default=body.get("default"),
            has_default="default" in body,
            is_chat_input=bool(body.get("is_chat_input")),
            is_chat_history=bool(body.get("is_chat_history")) or name == "chat_history",
        )
        for name, body in ((name, body or {}) for name, body in declared.items())
    }
    outputs = dag.get("outputs") or {}
    return Flow(
        folder=folder,
        name=folder.name,
        dag=_apply_variant(dag, chosen, file),
        inputs=inputs,
        outputs=list(outputs),
        chat_output=next((name for name, body in outputs.items() if (body or {}).get("is_chat_output")), None),
        variant=_reference(chosen) if chosen else None,
        fingerprint=fingerprint(folder),
    )


def flow_files(folder: Path) -> list[Path]:
    """Return the files that make up a flow, relative and sorted: not what git ignores, caches, or .env files."""
    tracked = _git_files(folder)
    names = tracked if tracked is not None and Path(DAG_FILE) in tracked else _walk(folder)
    return sorted(
        name
        for name in names
        if not _SKIPPED_FOLDERS.intersection(name.parts)
        and not name.name.startswith(".env")
        and (folder / name).is_file()
    )


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 over the names and contents of the flow's files, as hex."""
    digest = hashlib.sha256()
    for name in flow_files(folder):
        content = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        digest.update(f"{name.as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


class FlowSession:
    """An open flow: promptflow's FlowExecutor, one for the whole run. Made by ``open_flow``."""

    def __init__(self, flow: Flow, executor: Any, used_connections: dict[str, Mapping[str, Any]]) -> None:
        self.flow = flow
        self.used_connections = used_connections
        self._executor = executor

    async def exec_line(self, inputs: Mapping[str, Any], *, line_number: int) -> FlowLine:
        """Execute one line. Raises the tool's own exception where a node fails, not promptflow's wrapper."""
        try:
            result = await self._executor.exec_line_async(inputs, index=line_number, run_id=self.flow.name)
        except Exception as error:
            raise _root_error(error)  # noqa: B904  # it keeps its own cause
        outputs = {name: value for name, value in result.output.items() if name != "line_number"}
        return FlowLine(outputs=outputs, aggregation_inputs=dict(result.aggregation_inputs))

    def exec_aggregation(
        self, inputs: Mapping[str, list[Any]], aggregation_inputs: Mapping[str, list[Any]]
    ) -> dict[str, float]:
        """Execute the aggregation nodes over all lines (lists in one order) and return what they log as metrics.

        Raises FlowError that names the flow and the cause.
        """
        try:
            result = self._executor.exec_aggregation(inputs, aggregation_inputs, run_id=self.flow.name)
        except Exception as error:
            cause = _root_error(error)
            raise FlowError(f"{self.flow.folder}: the aggregation failed: {type(cause).__name__}: {cause}") from error
        return dict(result.metrics)


@contextlib.contextmanager
def open_flow(
    flow: Flow, *, connections: ConnectionSource, environment: Mapping[str, str] | None = None
) -> Iterator[FlowSession]:
    """Load the flow into promptflow's FlowExecutor; on exit leave no trace of it in the process.

    While it is open the working directory is the flow's folder, as under ``pf``, ``environment`` is set, and what
    the flow prints goes to stderr. Afterwards the flow's modules are dropped, so that the next flow's own
    ``utils.py`` is not mistaken for this one's. One flow can be open at a time.
    Raises FlowError where promptflow refuses the flow.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_environment({"PF_DISABLE_TRACING": "true", **(environment or {})}))
        stack.enter_context(_own_modules(flow.folder))
        stack.enter_context(contextlib.chdir(flow.folder))
        stack.enter_context(_own_streams())
        yield _create_session(flow, connections)


def _create_session(flow: Flow, connections: ConnectionSource) -> FlowSession:
    used: dict[str, Mapping[str, Any]] = {}
    with _no_warnings(), tempfile.TemporaryDirectory() as temporary:
        from promptflow._sdk.entities._connection import _Connection
        from promptflow._utils import logger_utils
        from promptflow.core._connection_provider._connection_provider import ConnectionProvider
        from promptflow.executor import FlowExecutor, _async_nodes_scheduler

        for logger in (logger_utils.logger, logger_utils.flow_logger, logger_utils.bulk_logger):
            logger.setLevel(logging.CRITICAL + 1)  # a record a node, and failures, which are ours to tell
        # After a line is cancelled, promptflow watches the loop from a thread and then calls os._exit(0).
        _async_nodes_scheduler.monitor_coroutine_after_cancellation = lambda loop: None

        class _Provider(ConnectionProvider):  # type: ignore[misc]
            def get(self, name: Any, **_: Any) -> Any:
                if not isinstance(name, str):  # an llm node's connection is asked for again, by itself
                    return name
                used[name] = connections(name)
                return _Connection._from_execution_connection_dict(name=name, data=dict(used[name]))

            def list(self, **_: Any) -> Any:
                return []

        file = Path(temporary) / DAG_FILE
        file.write_text(yaml.safe_dump(flow.dag, allow_unicode=True, sort_keys=False), encoding="utf-8")
        try:
            executor = FlowExecutor.create(file, _Provider(), flow.folder, raise_ex=True)
        except Exception as error:
            cause = _root_error(error)
            if isinstance(cause, Phi3flowError):
                raise cause from None
            raise FlowError(f"{flow.folder / DAG_FILE}: does not load: {cause}") from error
    return FlowSession(flow, executor, used)


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Keep out the deprecations that promptflow-tools logs on the root logger when it is imported."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _root_error(error: Exception) -> Exception:
    """Unwrap promptflow's exceptions down to the one that the tool raised."""
    while type(error).__module__.startswith("promptflow") and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _read_dag(file: Path) -> dict[str, Any]:
    if not file.is_file():
        flex = file.with_name("flow.flex.yaml")
        found = "it holds a flex flow, which is not run yet" if flex.is_file() else "there is no such file"
        raise FlowError(f"{file}: {found}; a flow is a folder with {DAG_FILE}")
    try:
        dag = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FlowError(f"{file}: is not YAML: {error}") from error
    if not isinstance(dag, dict) or not isinstance(dag.get("nodes"), list) or not dag["nodes"]:
        raise FlowError(f"{file}: is not a flow: it has no list of nodes")
    for section in ("inputs", "outputs"):
        if not isinstance(dag.get(section) or {}, dict):
            raise FlowError(f"{file}: {section} must map names to definitions, not {dag[section]!r}")
    for node in dag["nodes"]:
        if not isinstance(node, dict) or not isinstance(node.get("name"), str):
            raise FlowError(f"{file}: a node has no name: {node!r}")
    return dag


def _find_variant(dag: dict[str, Any], variant: str, file: Path) -> tuple[str, str]:
    available = [
        (node, name) for node, body in (dag.get("node_variants") or {}).items() for name in body.get("variants") or {}
    ]
    match = _VARIANT.match(variant)
    wanted = f"{match.group(1)}.{match.group(2)}" if match else variant
    found = [(node, name) for node, name in available if wanted in (name, f"{node}.{name}")]
    if len(found) == 1:
        return found[0]
    names = ", ".join(_reference(pair) for pair in available) or "none"
    problem = "several nodes have it" if found else "there is none of that name"
    raise ConfigError(f"{file}: variant {variant!r}: {problem}; the variants are {names}")


def _reference(variant: tuple[str, str]) -> str:
    node, name = variant
    return f"${{{node}.{name}}}"


def _apply_variant(dag: dict[str, Any], chosen: tuple[str, str] | None, file: Path) -> dict[str, Any]:
    """Put each node's chosen or default variant in its place, as promptflow's own submitter does."""
    dag = copy.deepcopy(dag)
    variants = dag.pop("node_variants", None) or {}
    nodes = []
    for node in dag["nodes"]:
        name = node["name"]
        if not node.get("use_variants"):
            nodes.append(node)
            continue
        body = variants.get(name) or {}
        wanted = chosen[1] if chosen and chosen[0] == name else body.get("default_variant_id")
        try:
            nodes.append({"name": name, **copy.deepcopy(body["variants"][wanted]["node"])})
        except (KeyError, TypeError) as error:
            raise FlowError(f"{file}: node {name} uses variants, but variant {wanted!r} is not defined") from error
    dag["nodes"] = nodes
    return dag


def _git_files(folder: Path) -> set[Path] | None:
    command = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "."]
    try:
        listing = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return {Path(name) for name in listing.decode(errors="surrogateescape").split("\0") if name}


def _walk(folder: Path) -> set[Path]:
    found: set[Path] = set()
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS]
        found.update((Path(root) / name).relative_to(folder) for name in files)
    return found


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
    """Send prints to stderr, and restore both streams: promptflow's log capture, entered by many lines at once,
    does not put them back."""
    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout = stderr
    try:
        yield
    finally:
        sys.stdout, sys.stderr = stdout, stderr

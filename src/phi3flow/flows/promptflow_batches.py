"""What promptflow does for each line, and a batch once or not at all; its nodes as they are executed under many lines.

What is changed, and why, is in docs/decisions/0008-batch-runs.md. What a flow computes is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from phi3flow.flows.model_calls import note_calls_of_openai
from phi3flow.flows.observed import observed_node
from phi3flow.flows.threads import ToolThreads, as_line_failure

TOOL_THREADS = ToolThreads()
"""The threads of all lines' synchronous tools."""


@functools.cache
def prepare_for_batches() -> None:
    """Take out what promptflow does for each line and a batch does once, or not at all."""
    from promptflow._utils import logger_utils
    from promptflow.executor import _async_nodes_scheduler, _dag_manager, flow_executor
    from promptflow.tracing import _start_trace

    # A record a node, failures, which are ours to tell, and advice at each use of a connection's attribute.
    advice = logging.getLogger("promptflow.core._connection")
    for logger in (logger_utils.logger, logger_utils.flow_logger, logger_utils.bulk_logger, advice):
        logger.setLevel(logging.CRITICAL + 1)
    # After a line is cancelled, promptflow watches the loop from a thread and then calls os._exit(0).
    _async_nodes_scheduler.monitor_coroutine_after_cancellation = lambda loop: None
    _async_nodes_scheduler.ThreadPoolExecutor = _NoThreads
    _async_nodes_scheduler.AsyncNodesScheduler._sync_function_to_async_task = staticmethod(_invoke_sync_tool)
    _dag_manager.inspect = SimpleNamespace(signature=functools.cache(inspect.signature), Parameter=inspect.Parameter)
    context = _async_nodes_scheduler.FlowExecutionContext
    context.invoke_tool = _invoke_tool(context.invoke_tool)
    context.invoke_tool_async = _invoke_async_tool(context.invoke_tool_async)
    if "__load__" not in vars(sys.modules.get("openai", sys)):  # else as it is loaded
        note_calls_of_openai()
    flow_executor.RunTracker = _line_tracker()
    flow_executor.ThreadPoolExecutorWithContext = lambda: TOOL_THREADS
    for module in (flow_executor, _start_trace):
        module.inject_openai_api = lambda: None  # done as openai is loaded


def _line_tracker() -> Any:
    """Return promptflow's RunTracker without its copies and checks of a record that nobody will write down.

    What a node prints is seen elsewhere: promptflow's own capture mixes up sys.stdout under many lines.
    """
    from promptflow._core.run_tracker import RunTracker
    from promptflow.contracts.run_mode import RunMode

    class _LineTracker(RunTracker):  # type: ignore[misc]
        def __init__(self, storage: Any, run_mode: Any = RunMode.Test, _: Any = None) -> None:
            super().__init__(storage, run_mode, _NoCapture())

        @staticmethod
        def _skip_serialization_check() -> bool:
            return True

        def _ensure_inputs_is_json_serializable(self, inputs: Any, node_name: str) -> Any:
            return inputs

        def _ensure_serializable_value(self, val: Any, warning_msg: str | None = None) -> Any:
            return val

    return _LineTracker


@functools.cache
def template_environment(**options: Any) -> Any:
    """A sandbox that compiles a prompt once; promptflow makes a sandbox and compiles the prompt for each line."""
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(**options)
    environment.from_string = functools.lru_cache(maxsize=256)(environment.from_string)  # type: ignore
    return environment


class _NoCapture(contextlib.nullcontext[None]):
    """What promptflow captures a node's prints with, without its doing so."""

    def set_node_context(self, *_: object) -> None:
        pass

    def clear_node_context(self, *_: object) -> None:
        pass

    def get_logs(self, _: object) -> None:
        pass


class _NoThreads:
    """What promptflow makes for each line in place of a thread pool, now that no call goes there."""

    def __init__(self, **_: Any) -> None:
        pass

    def shutdown(self) -> None:
        pass


async def _invoke_sync_tool(_: _NoThreads, context: Any, node: Any, function: Any, arguments: Any) -> Any:
    """Run a synchronous tool in one of the threads that all lines share; a prompt is rendered at once."""
    if node.type == "prompt":
        return context.invoke_tool(node, function, arguments)
    return await in_thread(functools.partial(context.invoke_tool, node, function, arguments))


def _invoke_tool(invoke: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(invoke)
    def observed(context: Any, node: Any, function: Any, kwargs: Any) -> Any:
        with observed_node(node.name, kwargs) as run:
            run.output = invoke(context, node, function, kwargs)
            return run.output

    return observed


def _invoke_async_tool(invoke: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(invoke)
    async def invoke_or_fail(context: Any, node: Any, function: Any, kwargs: Any) -> Any:
        with as_line_failure(), observed_node(node.name, kwargs) as run:
            run.output = await invoke(context, node, function, kwargs)
            return run.output

    return invoke_or_fail


async def in_thread(function: Callable[[], Any]) -> Any:
    """Call a function in one of the threads that all lines share."""
    return await asyncio.get_running_loop().run_in_executor(TOOL_THREADS, function)

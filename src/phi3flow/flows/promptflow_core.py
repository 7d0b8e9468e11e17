"""promptflow's executor, made fit for many lines in one process.

What is changed, and why, is in docs/decisions/0008-batch-runs.md. What a flow computes is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from phi3flow.errors import ConfigError
from phi3flow.flows.connections import ConnectionSource, PromptflowConnection
from phi3flow.flows.definition import Flow
from phi3flow.flows.light_imports import import_core_only
from phi3flow.flows.observed import observed_node
from phi3flow.flows.promptflow_batches import TOOL_THREADS, in_thread, prepare_for_batches, template_environment
from phi3flow.flows.prompty import missing_variables
from phi3flow.flows.yielded import YieldingTimeout, join_in_time, join_yielded, set_deadline, text_of

_entry_error: ContextVar[Exception | None] = ContextVar("entry_error", default=None)


def create_executor(flow: Flow, file: Path, folder: Path, connections: ConnectionSource) -> Any:
    """Return promptflow's executor for ``flow``, whose definition is in ``file``, to run in ``folder``."""
    import_core_only()
    prepare_for_batches()
    from promptflow.core._connection_provider._connection_provider import ConnectionProvider
    from promptflow.executor import FlowExecutor
    from promptflow.storage._run_storage import DummyRunStorage

    provider = _provider(connections)
    ConnectionProvider._instance = provider  # a flex flow's model configuration asks for the process's provider
    if any(node.get("type") in ("prompt", "llm") for node in flow.definition.get("nodes", ())):
        from promptflow.tools import common

        common.SandboxedEnvironment = template_environment
    storage = DummyRunStorage()  # what a line left behind is the runner's to keep
    with contextlib.nullcontext() if _uses_builtin_tools(flow) else _without_builtin_tools():
        executor = FlowExecutor.create(file, provider, folder, storage=storage, raise_ex=True, init_kwargs=flow.init)
    if flow.is_prompty:
        _prepare_prompty(executor, provider, flow)
    if flow.is_flex:
        _prepare_flex(executor, flow)
    else:  # promptflow's own loses a generator's error, and leaves the generator in the text's place
        executor._stringify_generator_output_async = lambda outputs: join_in_time(outputs, TOOL_THREADS)
    return executor


def inline_connections(executor: Any) -> dict[str, PromptflowConnection]:
    """Return the address and key that stand in a prompty itself, in a connection's form."""
    prompty = getattr(executor, "prompty", None)
    if prompty is None:
        return {}
    configuration = prompty._model.configuration
    values = {name: str(value) for name, value in configuration.items() if value and name != "connection"}
    if "api_key" not in values:
        return {}
    kind = str(values.pop("type", "openai"))
    return {prompty._name: {"name": prompty._name, "type": kind, "value": values, "secret_keys": ["api_key"]}}


async def exec_line(executor: Any, inputs: Mapping[str, Any], *, line_number: int, timeout_s: float | None) -> Any:
    """Execute one line and return promptflow's LineResult. Raises what the tool raised, within promptflow's wrappers.

    Raises TimeoutError after ``timeout_s``: asynchronous tools are cancelled, a synchronous one's thread is left.
    """
    from promptflow.executor._errors import LineExecutionTimeoutError

    if not hasattr(executor, "_func_async"):
        set_deadline(timeout_s)
        try:
            return await executor.exec_line_async(inputs, index=line_number, run_id="line", line_timeout_sec=timeout_s)
        except (LineExecutionTimeoutError, YieldingTimeout) as error:
            raise TimeoutError(f"no answer within {timeout_s:g} s") from error
    _entry_error.set(None)
    try:
        async with asyncio.timeout(timeout_s) as limit:
            result = await executor.exec_line_async(inputs, index=line_number, run_id="line")
    except TimeoutError as error:
        if limit.expired():
            raise TimeoutError(f"no answer within {timeout_s:g} s") from error
        raise
    if (entry_error := _entry_error.get()) is not None:
        raise entry_error
    return result


def exec_aggregation(
    executor: Any, inputs: Mapping[str, Any], collected: Any, *, name: str
) -> tuple[dict[str, Any], Exception | None]:
    """Execute the aggregation and return what it logged, and what it raised, within promptflow's wrappers."""
    from promptflow._core.metric_logger import add_metric_logger, remove_metric_logger

    logged: dict[str, Any] = {}

    def log(key: str, value: Any) -> None:
        logged[key] = value

    add_metric_logger(log)
    try:
        result = executor.exec_aggregation(inputs, collected, run_id=name)
    except Exception as error:
        return logged, error
    finally:
        remove_metric_logger(log)
    return {**logged, **result.metrics}, getattr(executor, "aggregation_error", None)


def with_image_files(executor: Any, outputs: dict[str, Any], keep: Callable[[bytes, str], str]) -> dict[str, Any]:
    """Return outputs with each image as the executor's format refers to it; ``keep`` gives an image's path."""
    processor = executor._multimedia_processor

    def refer(image: Any) -> Any:
        if image.source_url:
            return processor._generate_image_url_reference(image)
        return processor._generate_image_file_reference(image, keep(image, image._mime_type))

    processor.get_file_reference_encoder = lambda *_, **__: refer
    return dict(processor.persist_multimedia_data(outputs, Path()))


def with_image_texts(executor: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Return values with images as base64."""
    return dict(executor._multimedia_processor.convert_multimedia_data_to_base64_dict(values))


def as_dict(output: Any) -> dict[str, Any]:
    """Return what a flex flow returned as outputs by name: a dict, a dataclass's fields, else ``{"output": value}``."""
    from promptflow._utils.dataclass_serializer import convert_eager_flow_output_to_dict

    return dict(convert_eager_flow_output_to_dict(output))


def without_line_number(output: Any) -> Any:
    """Return what an executor gave for a line without the number that it adds; a dataclass's fields in its place."""
    from promptflow._utils.dataclass_serializer import convert_dataclass_to_dict

    value = convert_dataclass_to_dict(output)
    return {name: item for name, item in value.items() if name != "line_number"} if isinstance(value, dict) else value


def as_collected(output: Any) -> Any:
    """Return what a flex flow's entry returned as pf gives it to ``__aggregate__``: a dict's values are attributes."""
    from promptflow._utils.utils import AttrDict

    return AttrDict(output) if isinstance(output, dict) else output


def _provider(connections: ConnectionSource) -> Any:
    from promptflow.core._connection_provider._connection_provider import ConnectionProvider
    from promptflow.core._connection_provider._dict_connection_provider import DictConnectionProvider

    class _Provider(ConnectionProvider):  # type: ignore[misc]
        def get(self, name: Any, **_: Any) -> Any:
            if not isinstance(name, str):  # an llm node's connection is asked for again, by itself
                return name
            return DictConnectionProvider({name: dict(connections(name))}).get(name)

        def list(self, **_: Any) -> Any:
            return []

    return _Provider()


def _uses_builtin_tools(flow: Flow) -> bool:
    """Whether a node is none of the flow's own Python: a prompt, a model, or a tool of a package."""
    nodes = flow.definition.get("nodes", ())
    return any(node.get("type") != "python" or (node.get("source") or {}).get("type") == "package" for node in nodes)


@contextlib.contextmanager
def _without_builtin_tools() -> Iterator[None]:
    """Keep promptflow's resolver of tools from importing those of promptflow-tools, and openai with them."""
    from promptflow.executor._tool_resolver import ToolResolver

    name, begin = "promptflow.tools", ToolResolver.__init__

    def begin_without(self: Any, *args: Any, **kwargs: Any) -> None:
        imported = sys.modules.get(name)
        sys.modules[name] = None  # type: ignore[assignment]
        try:
            begin(self, *args, **kwargs)
        finally:
            del sys.modules[name]
            if imported:
                sys.modules[name] = imported

    ToolResolver.__init__ = begin_without
    try:
        yield
    finally:
        ToolResolver.__init__ = begin


def _prepare_prompty(executor: Any, provider: Any, flow: Flow) -> None:
    """Give a prompty its connection, which promptflow looks for in its own store only, and take its sample away.

    promptflow answers the sample where a line has no inputs, and where only the sample says which there are. Raises
    ConfigError for an environment variable that is not set, and for a connection of another kind.
    """
    prompty = executor.prompty
    configuration = dict(prompty._model.configuration or {})
    for variable in missing_variables(configuration):
        raise ConfigError(
            f"{flow.path}: model.configuration: the environment variable {variable} is not set: export it, or name it "
            "in a run.yml's environment_variables"
        )
    name = configuration.get("connection")
    if isinstance(name, str) and name:
        configuration["connection"] = connection = provider.get(name)
        if type(connection).__name__ not in ("OpenAIConnection", "AzureOpenAIConnection"):
            raise ConfigError(
                f"{flow.path}: the connection {name} is a {type(connection).__name__}: a prompty takes an "
                "OpenAIConnection or an AzureOpenAIConnection"
            )
    prompty._model.configuration = configuration
    prompty._get_input_signature()
    prompty._sample = None
    executor._inputs = dict.fromkeys(prompty._get_input_signature())


def _prepare_flex(executor: Any, flow: Flow) -> None:
    """Have a flex flow's entry keep its error, which promptflow would turn into text, and run in our threads.

    What it yields is joined here: promptflow loses the error of an asynchronous generator, and waits for ever. The
    error of its aggregation, of which promptflow would only log a warning, is kept too. promptflow also wraps
    sys.stdout anew a line, around the wrapper of whichever line began before: not done. Where the YAML declares no
    inputs they have the types of the signature, which ``pf`` writes into the YAML of a run; a sample is no data, also
    where a line maps nothing.
    """
    is_async = executor._is_async
    call = executor._func_async if is_async else executor._func
    name = str(flow.definition.get("entry") or flow.file)

    async def entry(**inputs: Any) -> Any:
        try:
            with observed_node(name, inputs) as run:
                if is_async:
                    output = call(**inputs)  # an asynchronous generator is not to be awaited
                    output = await output if inspect.isawaitable(output) else output
                else:
                    output = await in_thread(functools.partial(call, **inputs))
                run.output = await _joined(output)
                return run.output
        except Exception as error:
            _entry_error.set(error)
            raise

    executor._func_async = entry
    if not hasattr(executor, "prompty"):
        executor._inputs_sign = executor._inputs_sign or {
            name: own
            for name, own in executor._inputs.items()
            if own.default != ""  # it makes that of None
        }
    executor._apply_sample_inputs = lambda inputs: inputs
    if executor.has_aggregation_node:
        executor._aggr_func = _keeping_error(executor, executor._aggr_func)
    executor._exec_line_context = executor._update_operation_context


async def _joined(output: Any) -> Any:
    """Return what an entry returned with generators, on top or as a value by name, as the text of what they yield."""
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        output = as_dict(output)
    if isinstance(output, dict):
        return await join_yielded(output, TOOL_THREADS)
    return await text_of(output, TOOL_THREADS)


def _keeping_error(executor: Any, aggregate: Any) -> Any:
    @functools.wraps(aggregate)
    def call(**lines: Any) -> Any:
        executor.aggregation_error = None
        try:
            return aggregate(**lines)
        except Exception as error:
            executor.aggregation_error = error
            raise

    return call

"""promptflow's executor, imported light: without its client half, and openai only where a flow asks for it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from phi3flow.flows.model_calls import note_calls_of_openai


def import_core_only() -> None:
    """Import promptflow as where only promptflow-core is installed: its client half costs a second and 60 MB.

    Some modules would load that half, or openai, which costs as much as the rest of the executor and which many flows
    never ask for. Each is put off until something is asked of it that the executor and the built-in tools do not need;
    then it is loaded as ever (``from promptflow import PFClient`` works).
    """
    if "promptflow" in sys.modules:
        return
    _put_off("promptflow", {})
    _put_off(
        "promptflow._internal",
        {
            "ToolProvider": "promptflow._core.tool",
            "enable_cache": "promptflow._core.cache_manager",
            "register_apis": "promptflow._core.tools_manager",
            "tool": "promptflow._core.tool",
        },
    )
    _put_off("promptflow._cli._utils", {"get_workspace_triad_from_local": __name__})
    _put_off(
        "promptflow.core",
        {
            "AzureOpenAIModelConfiguration": "promptflow.core._model_configuration",
            "ModelConfiguration": "promptflow.core._model_configuration",
            "OpenAIModelConfiguration": "promptflow.core._model_configuration",
            "ToolProvider": "promptflow._core.tool",
            "log_metric": "promptflow._core.metric_logger",
            "tool": "promptflow._core.tool",
        },
    )
    if "openai" not in sys.modules:
        _put_off("openai", {}, then=_trace_openai)
        _import_without("promptflow.core._errors", "openai", "OpenAIError")  # annotates a parameter with it
        # It asks whether it was given one in place of a file.
        _import_without("promptflow.executor.flow_executor", "promptflow.core", "Prompty")


def _import_without(name: str, put_off: str, unneeded: str) -> None:
    """Import a module with a stand-in for what it takes from one that is put off, but does not need as it is used."""
    names = sys.modules[put_off].__dict__
    names[unneeded] = type(unneeded, (), {})
    importlib.import_module(name)
    del names[unneeded]


def _trace_openai() -> None:
    """Have the client of openai, now loaded, send promptflow's headers, and tell of its calls."""
    from promptflow.tracing._integrations._openai_injector import inject_openai_api

    inject_openai_api()
    note_calls_of_openai()


def get_workspace_triad_from_local() -> Any:
    """Do what promptflow's function of this name does: promptflow-tools imports it, to list deployments in Azure."""
    module = sys.modules["promptflow._cli._utils"]
    module.__dict__["__load__"]()
    return module.get_workspace_triad_from_local()


def _put_off(name: str, elsewhere: Mapping[str, str], then: Callable[[], None] | None = None) -> None:
    """Put a module in place that runs its own code only when asked for a name not in ``elsewhere``: name, module.

    ``then`` is called once it has run.
    """
    *parents, last = name.split(".")
    locations = [str(Path(path, *parents[1:])) for path in sys.modules[parents[0]].__path__] if parents else None
    spec = PathFinder.find_spec(name, locations)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module, loader, lock = importlib.util.module_from_spec(spec), spec.loader, threading.RLock()
    is_loading = False

    def load() -> None:
        nonlocal is_loading
        is_loading = True
        try:
            loader.exec_module(module)
        finally:
            is_loading = False
        if module.__dict__["__getattr__"] is find:  # else the module's own
            del module.__dict__["__getattr__"]
        if then:
            then()

    def find(attribute: str) -> Any:
        if attribute in elsewhere:
            return getattr(importlib.import_module(elsewhere[attribute]), attribute)
        with lock:  # a tool in another thread may ask at the same time
            if attribute == "__path__" or is_loading:  # the import statement asks whether it is a package
                raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
            if module.__dict__.get("__getattr__") is find:
                load()
        return getattr(module, attribute)

    module.__dict__.update(__getattr__=find, __load__=load)
    sys.modules[name] = module
    if parents and ".".join(parents) in sys.modules:
        sys.modules[".".join(parents)].__dict__[last] = module

"""The engines by name. Here alone one is picked, and only then are its modules and libraries imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from phi3flow.engines.engine import Engine


def _local(name: str) -> Engine:
    from phi3flow.engines.processes import ProcessEngine
    from phi3flow.runner.run import local_processes

    return ProcessEngine(name, local_processes)


def _ray(name: str) -> Engine:
    from phi3flow.engines.processes import ProcessEngine
    from phi3flow.workers.ray_processes import ray_processes

    return ProcessEngine(name, ray_processes)


def _azureml(name: str) -> Engine:
    from phi3flow.engines.cloud.azureml import FlowJobs
    from phi3flow.engines.cloud.engine import CloudEngine

    return CloudEngine(name, FlowJobs)


def _foundry(name: str) -> Engine:
    from phi3flow.engines.cloud.engine import CloudEngine
    from phi3flow.engines.cloud.foundry import CloudFlowRuns

    return CloudEngine(name, CloudFlowRuns)


ENGINES: Mapping[str, Callable[[str], Engine]] = {
    "local": _local,
    "ray": _ray,
    "azureml": _azureml,
    "foundry": _foundry,
}
DEFAULT = "local"


def pick_engine(name: str) -> Engine:
    """Return the engine of a name in ``ENGINES``."""
    return ENGINES[name](name)

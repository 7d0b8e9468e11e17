"""The chat flow of the project, asked one question through promptflow's executor, and its client alone."""

from __future__ import annotations

import asyncio
import importlib
import sys
from types import ModuleType
from typing import Any

from phi3flow.flows import load_flow, open_flow
from tests.support.paths import FLOWS
from tests.support.servers.fault_endpoint import FaultEndpoint

FLOW = FLOWS / "chat_phi3"
KEY = "key-of-the-test-0123456789"


def load_client() -> tuple[ModuleType, ModuleType]:
    """Load phi3_endpoint and phi3_http afresh, and leave neither behind for a flow that is loaded later."""
    sys.path.insert(0, str(FLOW))
    try:
        _forget_client()
        return importlib.import_module("phi3_endpoint"), importlib.import_module("phi3_http")
    finally:
        _forget_client()
        sys.path.remove(str(FLOW))


def _forget_client() -> None:
    for name in ("phi3_endpoint", "phi3_http"):
        sys.modules.pop(name, None)


def ask(
    endpoint: FaultEndpoint,
    question: str = "Who founded Microsoft?",
    *,
    variant: str | None = None,
    retries: int | None = None,
    configs: dict[str, str] | None = None,
    key: str = KEY,
    **inputs: Any,
) -> str:
    """Send one question through the flow and return its answer; raise what its tool raises."""

    def connection(name: str) -> dict[str, Any]:
        if name == "phi3_openai":
            value, secret = {"base_url": f"{endpoint.base_url}/v1", "api_key": key}, "api_key"
            return {"type": "OpenAIConnection", "value": value, "secret_keys": [secret]}
        value = {"endpoint": endpoint.url, "key": key, **(configs or {})}
        return {"type": "CustomConnection", "value": value, "secret_keys": ["key"]}

    environment = {} if retries is None else {"PHI3_MAX_RETRIES": str(retries)}
    with open_flow(load_flow(FLOW, variant=variant), connections=connection, environment=environment) as session:
        line = asyncio.run(session.exec_line({"question": question, **inputs}, line_number=0))
    return str(line.outputs["answer"])

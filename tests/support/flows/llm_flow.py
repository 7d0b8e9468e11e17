"""flows/chat_phi3, its LLM node set up as promptflow's tool wants it for a type of connection."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.flows.chat_flow import FLOW
from tests.support.flows.foreign_flows import write_lines

ROUTES = {
    "open_ai": ("/v1", "/v1/chat/completions"),
    "azure_open_ai": ("/openai", "/openai/deployments/phi3/chat/completions"),
    "serverless": ("", "/v1/chat/completions"),
}
"""By type: what follows the server's address in the URL that ``connect`` is given, and the path that is then asked."""


def write_llm_flow(project: Path, type_: str) -> None:
    """Write the folder ``flow``, whose variant phi3_openai asks through the connection ``model``, and lines.jsonl."""
    shutil.copytree(FLOW, project / "flow")
    dag = project / "flow" / "flow.dag.yaml"
    text = dag.read_text(encoding="utf-8").replace("connection: phi3_openai", "connection: model")
    if type_ == "azure_open_ai":
        text = text.replace("model: phi3\n", "deployment_name: phi3\n")
        text = text.replace("provider: OpenAI", "provider: AzureOpenAI").replace("tools.openai", "tools.aoai")
    dag.write_text(text, encoding="utf-8")
    write_lines(project / "lines.jsonl", [{"question": "Who?"}])

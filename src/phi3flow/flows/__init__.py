"""Flows: what a folder declares (``definition``), how rows become inputs (``column_mapping``), how promptflow's own
executor runs it (``session``), and an evaluation flow's way over one line (``evaluation``).

A flow is executed as its folder says, never imported and never reimplemented.
"""

from phi3flow.flows.connections import TOOLS_FILE, ConnectionSource, PromptflowConnection, connection_names
from phi3flow.flows.definition import Flow, load_flow
from phi3flow.flows.fingerprint import fingerprint
from phi3flow.flows.flow_files import flow_files, ignored_files
from phi3flow.flows.folder_files import DAG_FILE
from phi3flow.flows.inputs import FlowInput
from phi3flow.flows.session import SINGLE_ATTEMPTS, FlowLine, FlowSession, open_flow

__all__ = [
    "DAG_FILE",
    "SINGLE_ATTEMPTS",
    "TOOLS_FILE",
    "ConnectionSource",
    "Flow",
    "FlowInput",
    "FlowLine",
    "FlowSession",
    "PromptflowConnection",
    "connection_names",
    "fingerprint",
    "flow_files",
    "ignored_files",
    "load_flow",
    "open_flow",
]

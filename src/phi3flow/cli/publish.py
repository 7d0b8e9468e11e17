"""Publish a flow to an AI Foundry project, as an endpoint or as a container.

This verb is not built yet. Until then: `pf flow serve --source flows/chat_phi3` serves the flow on this machine,
and in an AI Foundry project the folder flows/chat_phi3 can be uploaded as it is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("flow", type=Path, help="the flow's folder")
    parser.add_argument("--to", choices=("foundry", "endpoint", "container"), required=True, help="where it goes")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Say that there is nothing to run yet, and what to do meanwhile."""
    raise ConfigError(
        f"publish --to {args.to} does not exist yet. Meanwhile `pf flow serve --source {args.flow}` serves the flow, "
        "and an AI Foundry project takes the folder as an upload"
    )

"""An input of a flow, as flow.dag.yaml, flow.flex.yaml or the entry's signature declares it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FlowInput:
    """One input of a flow: promptflow's type name, and its default where it has one."""

    type: str
    default: Any = None
    has_default: bool = False
    is_chat_input: bool = False
    is_chat_history: bool = False

    @classmethod
    def declared(cls, name: str, body: Mapping[str, Any]) -> FlowInput:
        """Read an entry of the YAML's ``inputs``."""
        return cls(
            type=str(body.get("type", "string")),
            default=body.get("default"),
            has_default="default" in body,
            is_chat_input=bool(body.get("is_chat_input")),
            is_chat_history=bool(body.get("is_chat_history")) or name == "chat_history",
        )

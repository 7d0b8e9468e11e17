"""An input of a flow, as flow.dag.yaml, flow.flex.yaml or the entry's signature declares it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NUMBERS = frozenset({"int", "double", "bool"})


@dataclass(frozen=True)
class FlowInput:
    """One input of a flow: promptflow's type name, and its default where it has one.

    ``is_computed``: the default is an expression that only Python knows. ``is_read``: something in the flow takes it.
    """

    type: str
    default: Any = None
    has_default: bool = False
    is_chat_input: bool = False
    is_chat_history: bool = False
    is_computed: bool = False
    is_read: bool = True

    @classmethod
    def declared(cls, name: str, body: Mapping[str, Any], *, is_read: bool = True) -> FlowInput:
        """Read an entry of the YAML's ``inputs``; a default that is null is none, as under promptflow."""
        return cls(
            type=str(body.get("type", "string")),
            default=body.get("default"),
            has_default=body.get("default") is not None,
            is_chat_input=bool(body.get("is_chat_input")),
            is_chat_history=bool(body.get("is_chat_history")) or name == "chat_history",
            is_read=is_read,
        )

    @property
    def is_content(self) -> bool:
        """Whether data may be meant for it: it is neither a number, which sets something, nor the chat's history."""
        return not (self.is_chat_history or self.type in _NUMBERS or isinstance(self.default, int | float))

    @property
    def is_sample(self) -> bool:
        """Whether its default is there to try the flow with: a text, a list or an object, and not an empty one."""
        is_empty = not self.default or (isinstance(self.default, str) and self.default.isspace())
        return self.is_content and (self.is_computed or not is_empty)

"""What a wrong world is: something wrong in Azure, a command, and what must be said then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.azure.emulator.azure import AzureEmulator

Change = Callable[[AzureEmulator], None]


@dataclass(frozen=True)
class WrongWorld:
    """What is wrong, the verbs that go well before, the command, its exit code and what its message must hold.

    ``files`` are laid into the project before the command. ``leaves`` are the deployments that there are afterwards. A
    ``slow`` one is not among the tests of every change.
    """

    what: str
    command: tuple[str, ...]
    exit_code: int
    says: tuple[str, ...]
    before: tuple[str, ...] = ()
    settings: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    change: Change = lambda _: None
    leaves: tuple[str, ...] | None = None
    slow: bool = False

    @property
    def name(self) -> str:
        """A name for the test."""
        return self.what.replace(" ", "-")


def set_world(**values: Any) -> Change:
    """Return what sets fields of the world."""

    def change(azure: AzureEmulator) -> None:
        for name, value in values.items():
            setattr(azure.world, name, value)

    return change

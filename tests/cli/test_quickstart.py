"""``phi3flow quickstart`` without a terminal: what it says while it works."""

from __future__ import annotations

import pytest

from phi3flow.cli.quickstart import StageDisplay
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.quickstart import StageProgress


def test_a_long_stage_is_heard_of_every_half_minute(capsys: pytest.CaptureFixture[str]) -> None:
    with StageDisplay(Terminal()) as display:
        display.show(StageProgress("data"))
        display.show(StageProgress("data", text="240 train", ended=True, elapsed_s=0.4))
        for second in range(100):
            display.show(StageProgress("base model", second / 100, f"step {second}", elapsed_s=float(second)))
        display.show(StageProgress("base model", text="models/base", ended=True, elapsed_s=100.0))
        display.show(StageProgress("fine-tune", 0.3, "step 30", elapsed_s=31.0))
    assert capsys.readouterr().err.splitlines() == [
        "data: 0.4 s: 240 train",
        "base model: 30 s: step 30",
        "base model: 60 s: step 60",
        "base model: 90 s: step 90",
        "base model: 100.0 s: models/base",
        "fine-tune: 31 s: step 30",
    ]

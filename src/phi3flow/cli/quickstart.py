"""Do the whole job on this machine: make data, train a small base model, fine-tune it, serve both, run the chat flow
over the held-out test lines, score the answers, compare the two models, and write a report.

No account and no download is needed. A second call does only what has changed; after Ctrl-C the next call goes on.
The fine-tune is followed in MLflow: MLFLOW_TRACKING_URI, else mlflow.db in the working directory.

Examples:
  phi3flow quickstart
  phi3flow quickstart --seed 1 --out /tmp/quickstart --runs-dir /tmp/quickstart/runs
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from phi3flow.cli.arguments import add_runs_dir
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.project.paths import QUICKSTART

if TYPE_CHECKING:
    from rich.console import Group
    from rich.progress import TaskID

    from phi3flow.quickstart import QuickstartResult, StageProgress

_NOTED_EVERY_S = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument(
        "--out",
        type=Path,
        default=QUICKSTART,
        metavar="DIR",
        help="data, models, report (default: .quickstart)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of data and training (default: 0)")
    add_runs_dir(parser)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.quickstart import Quickstart

    with StageDisplay(terminal) as display:
        job = Quickstart(out=args.out, runs_dir=args.runs_dir, seed=args.seed, on_progress=display.show)
        result = job.run()
    terminal.result(result.model_dump(mode="json"), _summary(result))
    return 0


class StageDisplay:
    """All stages at once on a terminal; elsewhere a line a finished stage, and one every 30 s of a long one."""

    def __init__(self, terminal: Terminal) -> None:
        from rich.progress import BarColumn, SpinnerColumn, TextColumn

        from phi3flow.quickstart import STAGES

        self._terminal = terminal
        self._noted_s = 0.0
        self._progress = terminal.progress(
            SpinnerColumn(finished_text="[green]✓[/green]"),
            TextColumn("{task.description:<11}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[seconds]:>8}"),
            TextColumn("{task.fields[text]}", markup=False),
        )
        self._tasks: dict[str, TaskID] = {
            name: self._progress.add_task(name, total=1.0, start=False, seconds="", text="") for name in STAGES
        }

    def __enter__(self) -> StageDisplay:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, progress: StageProgress) -> None:
        """Show one report of a stage."""
        task = self._tasks[progress.stage]
        self._progress.start_task(task)
        seconds = "unchanged" if progress.reused else f"{progress.elapsed_s:.1f} s"
        if not progress.ended:
            self._progress.update(task, completed=progress.share or 0.0, text=progress.text)
            self._note_progress(progress)
            return
        self._progress.update(task, completed=1.0, seconds=seconds, text=progress.text)
        if self._progress.disable:
            self._noted_s = 0.0
            self._terminal.note(f"{progress.stage}: {seconds}: {progress.text}")

    def _note_progress(self, progress: StageProgress) -> None:
        if self._progress.disable and progress.elapsed_s >= self._noted_s + _NOTED_EVERY_S:
            self._noted_s = progress.elapsed_s
            self._terminal.note(f"{progress.stage}: {progress.elapsed_s:.0f} s: {progress.text}")


def _summary(result: QuickstartResult) -> Group:
    from rich.console import Group

    from phi3flow.cli.terminal.comparison_tables import render_comparison

    return Group(render_comparison(result.comparison), _next_steps(result))


def _next_steps(result: QuickstartResult) -> str:
    return f"""
The report: {result.report.resolve().as_uri()}

Next, in this folder (first: . .venv/bin/activate):
  export PHI3_KEY=$(openssl rand -hex 16) PHI3_ENDPOINT=http://127.0.0.1:8800/score
  phi3flow deploy --backend local {result.model} --name support --port 8800
  phi3flow chat
Edit flows/chat_phi3/, then:
  phi3flow batch-run flows/chat_phi3 --variant concise --variant few_shot --data {result.data} --limit 50
"""

"""batch-run --engine azureml or foundry: ask, submit, follow, import."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from phi3flow.cli.terminal.job_line import JobLine
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.errors import ConfigError

if TYPE_CHECKING:
    from phi3flow.cloud_runs.place import FlowRuns
    from phi3flow.runner import RunPlan
    from phi3flow.runs.folder import RunFolder

_NOT_THERE: dict[str, dict[str, Any]] = {
    "azureml": {},
    "foundry": {"--workers": 1, "--max-failures": None, "--max-retries": None},
}
"""Flags that an engine cannot follow, besides those below, with the values that mean that they were not given."""
_NOWHERE: dict[str, Any] = {
    "--rpm": None,
    "--tpm": None,
    "--fail-fast": None,
    "--init": [],
    "--tokenizer": None,
    "--price-in": None,
    "--price-out": None,
    "--cache": False,
    "--baseline": None,
    "--stop-when-decided": None,
    "--history": "given",
}


def run_in_cloud(plans: list[RunPlan], args: argparse.Namespace, terminal: Terminal) -> list[RunFolder]:
    """Run the plans at the same time, and return the runs of those that the user agreed to pay for."""
    from phi3flow.cloud_runs.cloud_run import CloudRun

    check_flags(args)
    place = _place(args.engine)
    with ExitStack() as held:
        runs = []
        for plan in plans:
            run = held.enter_context(CloudRun(plan, place, fresh=args.fresh))
            ask = partial(_confirm, plan.name, terminal, yes=args.yes)
            runs += [run] if run.begin(ask) else []
        try:
            with JobLine(terminal) as display:
                return [run.complete(display.show) for run in runs]
        except KeyboardInterrupt:
            terminal.note("The jobs go on in Azure; the same command follows them again.")
            raise


def _confirm(run: str | None, terminal: Terminal, cost: str, *, yes: bool) -> bool:
    return terminal.confirm(f"Run {run} on {cost}?", yes=yes)


def check_flags(args: argparse.Namespace) -> None:
    """Raise ConfigError for a flag that the engine cannot follow."""
    for flag, absent in {**_NOWHERE, **_NOT_THERE[args.engine]}.items():
        if getattr(args, flag[2:].replace("-", "_")) != absent:
            raise ConfigError(
                f"{flag} does not go with --engine {args.engine}, which paces and tries lines in its own way"
            )


def _place(engine: str) -> FlowRuns:
    if engine == "azureml":
        from phi3flow.cloud_runs.azureml import FlowJobs

        return FlowJobs()
    from phi3flow.cloud_runs.foundry import CloudFlowRuns

    return CloudFlowRuns()

"""fine-tune --backend azureml: ask, submit, follow."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from phi3flow.cli.fine_tune import given_hyperparameters
from phi3flow.cli.terminal.job_line import JobLine
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.errors import ConfigError

if TYPE_CHECKING:
    from phi3flow.azure.workspace.jobs import JobProgress
    from phi3flow.backends.azureml import AzureMLBackend, PlannedJob


def run_in_cloud(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb in Azure Machine Learning."""
    from phi3flow.backends.azureml import AzureMLBackend

    if args.resume:
        raise ConfigError("--resume is for --backend local; a job in Azure is followed again by the same command")
    backend = AzureMLBackend(model=args.model)
    job = args.attach
    if job is None:
        planned = _plan(args, backend)
        job = planned.name
        if planned.status is None and not _submit(backend, planned, args, terminal):
            return 1
        if args.detach:
            status = planned.status or "NotStarted"
            follow = f"phi3flow fine-tune --backend azureml --attach {job}"
            terminal.result(_data(job, status, {}), f"{job}: {status}; `{follow}` follows it")
            return 0
    try:
        with JobLine(terminal) as display:
            end = backend.follow(job, on_progress=display.show)
    except KeyboardInterrupt:
        terminal.note(f"The job goes on in Azure; to follow it: phi3flow fine-tune --backend azureml --attach {job}")
        raise
    terminal.result(_data(job, end.status, end.metrics), _summary(end))
    return 0


def _plan(args: argparse.Namespace, backend: AzureMLBackend) -> PlannedJob:
    from phi3flow.backends.azureml import CatalogFineTune, ScriptFineTune

    given: dict[str, Any] = {
        "train": args.train,
        "validation": args.validation,
        "hyperparameters": given_hyperparameters(args),
        "gpus": args.gpus,
        "nodes": args.nodes,
        "seed": args.seed,
    }
    if args.recipe == "catalog":
        return backend.plan_fine_tune(CatalogFineTune(**given, deepspeed_stage=args.deepspeed_stage))
    if args.deepspeed_stage:
        raise ConfigError(
            f"--deepspeed-stage {args.deepspeed_stage}: the script trains an adapter with the whole weights on every "
            "GPU; leave it out, or take --recipe catalog"
        )
    return backend.plan_fine_tune(ScriptFineTune(**given))


def _submit(backend: AzureMLBackend, planned: PlannedJob, args: argparse.Namespace, terminal: Terminal) -> bool:
    """Say what the job costs, ask, and submit it; return whether it was."""
    from phi3flow.azure.prices import describe_cost

    settings = backend.settings
    for warning in backend.check_fine_tune():
        terminal.note(str(warning))
    if not args.yes:
        cost = describe_cost(settings.fine_tune_size, settings.location, args.nodes)
        if not terminal.confirm(f"Fine-tune {settings.model} on {cost}?", yes=False):
            return False
    backend.submit(planned)
    terminal.note(f"submitted {planned.name}")
    return True


def _data(job: str, status: str, metrics: Mapping[str, float]) -> dict[str, Any]:
    from phi3flow.backends.azureml import output_of

    return {"backend": "azureml", "job": job, "status": status, "output": output_of(job), "metrics": metrics}


def _summary(end: JobProgress) -> str:
    metrics = [f"{name}: {value:.4g}" for name, value in sorted(end.metrics.items())]
    return "\n".join([f"{end.name}: {end.status}", *metrics])

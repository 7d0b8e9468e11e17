"""End a cloud job: a fine-tune, or a flow that runs on a cluster, so that it costs no more.

Without JOB the latest that was submitted from here and has not ended. Waits until the job has ended; one that has ended
already is left as it is. A job on this machine ends with Ctrl-C where it runs.

Examples:
  phi3flow cancel --backend azureml
  phi3flow cancel Phi-4-mini-instruct-1a2b3c4d --backend azureml --yes
"""

from __future__ import annotations

import argparse

from phi3flow.cli.arguments import add_backend
from phi3flow.cli.terminal.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("job", metavar="JOB", nargs="?", help="the job (default: the latest that has not ended)")
    add_backend(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.backends.choice import open_backend

    backend = open_backend(args.backend)
    name = backend.running_job(args.job)
    if not terminal.confirm(f"Cancel job {name}?", yes=args.yes):
        return 1
    job = backend.cancel(name)
    data = {"backend": job.backend, "job": job.name, "status": job.status}
    terminal.result(data, f"{job.name}: {job.status}")
    return 0

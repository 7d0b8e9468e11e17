"""Fine-tune a model on chats, follow it in MLflow, and keep the checkpoint that validates best.

On this machine (--backend local): without --model, the tiny base model is fine-tuned, which is trained first where it
is not kept yet; with --model, a folder of Phi-3 weights gets a LoRA adapter: bfloat16 where the GPU has it, 4-bit where
bitsandbytes is installed. Loss is on the assistant's words only. What is unchanged is not trained again.

In Azure Machine Learning (--backend azureml): a job on the cluster of phi3flow.toml fine-tunes a model of the registry
with the catalog's component. The files are uploaded once. The job goes on whatever happens here: the same command
follows it again, and one that has completed is not submitted again. With --recipe script the job runs what
--backend local runs here, for models that the component does not take: an adapter, merged into the weights at the end.

Examples:
  phi3flow fine-tune --backend local
  phi3flow fine-tune --backend local --learning-rate 0.002 --epochs 4 --output models/support
  phi3flow fine-tune --backend local --resume
  phi3flow fine-tune --backend local --model ~/models/Phi-3-mini-4k-instruct --output models/phi3-support --merge
  phi3flow fine-tune --backend azureml --epochs 3 --lr-scheduler-type cosine --yes
  phi3flow fine-tune --backend azureml --model Phi-4-mini-instruct --nodes 2 --deepspeed-stage 3 --detach
  phi3flow fine-tune --backend azureml --recipe script --model Phi-3.5-mini-instruct --gpus 2 --yes
  phi3flow fine-tune --backend azureml --attach Phi-3-mini-4k-instruct-1a2b3c4d

Files are chat JSON Lines, as prepare-data writes them. An interrupted training on this machine keeps its last
checkpoint; the same command with --resume goes on from it and gives the same weights as an uninterrupted one.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from phi3flow.cli.arguments import positive_int
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.project.paths import FINE_TUNED_MODEL, TRAIN_FILE, VALIDATION_FILE

if TYPE_CHECKING:
    from rich.progress import TaskID

    from phi3flow.backends.local.jobs import JobResult
    from phi3flow.training import FineTuneConfig, TrainingProgress

HYPERPARAMETERS = ("learning_rate", "lr_scheduler_type", "epochs", "batch_size", "max_seq_length")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("--backend", choices=("local", "azureml"), default="local", help="where (default: local)")
    parser.add_argument("--train", type=Path, metavar="FILE", default=TRAIN_FILE, help="default: %(default)s")
    parser.add_argument("--validation", type=Path, metavar="FILE", default=VALIDATION_FILE, help="default: %(default)s")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="local: a folder of Phi-3 weights or an MLflow model of them (default: the tiny base model); azureml: a "
        "model of the registry",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", default=FINE_TUNED_MODEL, help="default: %(default)s")
    recipe = parser.add_argument_group("hyperparameters", "defaults: for the tiny base; in brackets with --model")
    recipe.add_argument("--learning-rate", type=float, metavar="RATE", help="0.003 [0.0002]")
    recipe.add_argument("--lr-scheduler-type", metavar="TYPE", help="cosine; linear, constant, … as in transformers")
    recipe.add_argument("--epochs", type=positive_int, metavar="N", help="10 [3]")
    recipe.add_argument("--batch-size", type=positive_int, metavar="N", help="examples a step and GPU: 16 [4]")
    recipe.add_argument(
        "--max-seq-length", type=positive_int, metavar="N", help="tokens an example is cut to: 512 [2048]"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of base, data order and adapter (default: 0)")
    parser.add_argument("--resume", action="store_true", help="local: go on from the last checkpoint")
    parser.add_argument("--merge", action="store_true", help="local: leave whole weights, with the adapter in them")
    cloud = parser.add_argument_group("azureml")
    cloud.add_argument(
        "--recipe",
        choices=("catalog", "script"),
        default="catalog",
        help="the catalog's component, or the training of --backend local (default: catalog)",
    )
    cloud.add_argument("--gpus", type=positive_int, default=1, metavar="N", help="GPUs of a node to use (default: 1)")
    cloud.add_argument("--nodes", type=positive_int, default=1, metavar="N", help="nodes (default: 1)")
    cloud.add_argument(
        "--deepspeed-stage", type=int, choices=(2, 3), help="catalog: shard over the GPUs: 3 the weights too"
    )
    cloud.add_argument("--detach", action="store_true", help="submit the job, and do not wait for it")
    cloud.add_argument("--attach", metavar="JOB", help="follow a job that was submitted")
    cloud.add_argument("--yes", action="store_true", help="submit without asking: a job costs money")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    if args.backend == "azureml":
        from phi3flow.cli.cloud_fine_tune import run_in_cloud

        return run_in_cloud(args, terminal)
    from phi3flow.backends.local.endpoints import LocalBackend
    from phi3flow.training.processes import is_first

    with _Display(terminal) as display:
        result = LocalBackend().fine_tune(_config(args), on_progress=display.show)
    if is_first():
        terminal.result(result.model_dump(), _summary(result))
    return 0


def _config(args: argparse.Namespace) -> FineTuneConfig:
    from phi3flow.training import fine_tune_config

    return fine_tune_config(
        train=args.train,
        validation=args.validation,
        model=Path(args.model) if args.model else None,
        base={"seed": args.seed},
        output=args.output,
        hyperparameters=given_hyperparameters(args),
        seed=args.seed,
        merge=args.merge,
        resume=args.resume,
    )


def given_hyperparameters(args: argparse.Namespace) -> dict[str, float | int | str]:
    """Return those that were asked for, by name."""
    given = {name: getattr(args, name) for name in HYPERPARAMETERS}
    return {name: value for name, value in given.items() if value is not None}


class _Display:
    """A bar with loss, learning rate and time left on a terminal; elsewhere a plain line for each validation."""

    def __init__(self, terminal: Terminal) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn

        self._terminal = terminal
        self._bar = terminal.progress(
            "{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[numbers]}", "{task.fields[left]}"
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Display:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, progress: TrainingProgress) -> None:
        """Show one report."""
        if self._bar.disable:
            if progress.validation_loss is not None:
                self._terminal.note(
                    f"{progress.phase}: step {progress.step} of {progress.total_steps}, "
                    f"validation loss {progress.validation_loss:.4f}, {_left(progress)}"
                )
            return
        if progress.phase not in self._tasks:
            self._tasks[progress.phase] = self._bar.add_task(
                progress.phase, total=progress.total_steps, numbers="", left=""
            )
        task = self._tasks[progress.phase]
        self._bar.update(task, completed=progress.step, left=_left(progress))
        if progress.loss is not None and progress.learning_rate is not None:
            self._bar.update(task, numbers=f"loss {progress.loss:.3f}  learning rate {progress.learning_rate:.1e}")


def _left(progress: TrainingProgress) -> str:
    return "" if progress.remaining_s is None else f"{progress.remaining_s:.0f} s left"


def _summary(result: JobResult) -> str:
    before, after = result.metrics["before"], result.metrics["after"]
    lines = [f"{name.replace('_', ' ')}: {before[name]:.3f} before, {after[name]:.3f} after" for name in after]
    return "\n".join([f"{result.job}: {result.output}", *lines])

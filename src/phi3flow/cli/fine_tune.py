"""Fine-tune a model on chats, follow it in MLflow, and keep the checkpoint that validates best.

On this machine (--backend local): without --model, the tiny base model is fine-tuned, which is trained first where it
is not kept yet; with --model, a folder of Phi-3 weights gets a LoRA adapter: bfloat16 where the GPU has it, 4-bit where
bitsandbytes is installed. Loss is on the assistant's words only, and not on messages of "weight": 0. Examples with no
answer within --max-seq-length are counted first, and refused where they are more than 5 %. What is unchanged is not
trained again.

In Azure Machine Learning (--backend azureml): a job on the cluster of phi3flow.toml fine-tunes a model of the registry
with the catalog's component. The files are uploaded once. The job goes on whatever happens here: the same command
follows it again, and one that has completed is not submitted again. With --recipe script the job runs what
--backend local runs here, for models that the component does not take: an adapter, merged into the weights at the end.

As a service (--backend serverless): a job of the AI Foundry project of phi3flow.toml, on Azure's own machines, for the
Phi-4 models that are offered so. It registers the model, whose name ends in --suffix and a hash.

In Azure OpenAI (--backend azure-openai): a job of the resource at AZURE_OPENAI_ENDPOINT, by AZURE_OPENAI_API_KEY or
your login, for the models that it still fine-tunes for you. Tokens are counted and examples over --max-seq-length
(4096) named before anything is uploaded; files are uploaded once.

Examples:
  phi3flow fine-tune --backend local
  phi3flow fine-tune --backend local --learning-rate 0.002 --epochs 4 --output models/support
  phi3flow fine-tune --backend local --resume
  phi3flow fine-tune --backend local --model ~/models/Phi-3-mini-4k-instruct --output models/phi3-support --merge
  phi3flow fine-tune --backend azureml --epochs 3 --lr-scheduler-type cosine --yes
  phi3flow fine-tune --backend azureml --model Phi-3-mini-4k-instruct:15 --nodes 2 --deepspeed-stage 3 --detach
  phi3flow fine-tune --backend azureml --recipe script --model Phi-3.5-mini-instruct --gpus 2 --yes
  phi3flow fine-tune --backend azureml --attach Phi-4-mini-instruct-1a2b3c4d
  phi3flow fine-tune --backend serverless --suffix support --epochs 3 --validation-split 0.1
  phi3flow fine-tune --backend azure-openai --model Ministral-3B --suffix support --epochs 2
  phi3flow fine-tune --train chats.jsonl --validation-split 0.1

Files are chat JSON Lines, as prepare-data writes them. --validation-split takes whole conversations, the same for the
same content and --seed, and parts none that share a question. An interrupted training on this machine keeps its last
checkpoint; the same command with --resume goes on from it and gives the same weights as an uninterrupted one.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from phi3flow.cli.arguments import add_backend, positive_float, positive_int, share
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.errors import ConfigError
from phi3flow.project.paths import FINE_TUNED_MODEL, SPLITS, TRAIN_FILE, VALIDATION_FILE
from phi3flow.text import plural

if TYPE_CHECKING:
    from phi3flow.backends.backend import AnyBackend, FineTuneRequest
    from phi3flow.project.state import JobState

HYPERPARAMETERS = (
    "learning_rate",
    "learning_rate_multiplier",
    "lr_scheduler_type",
    "epochs",
    "batch_size",
    "max_seq_length",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    add_backend(parser)
    parser.add_argument(
        "--train", type=Path, metavar="FILE", default=TRAIN_FILE, help="chats to learn (default: %(default)s)"
    )
    validation = parser.add_mutually_exclusive_group()
    validation.add_argument(
        "--validation",
        type=Path,
        metavar="FILE",
        default=VALIDATION_FILE,
        help="chats to measure it by (default: %(default)s)",
    )
    validation.add_argument(
        "--validation-split",
        type=share,
        metavar="SHARE",
        help="measure it by a share of --train, 0.1 of its conversations for example, and learn the others",
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="local: a folder of Phi-3 weights or an MLflow model of them (default: the tiny base model); azureml: a "
        "model of the registry, NAME or NAME:VERSION (default: phi3flow.toml's)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help=f"local: where the model goes (default: {FINE_TUNED_MODEL})"
    )
    _add_hyperparameters(parser)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of split, base, order, adapter (default: 0)")
    parser.add_argument("--resume", action="store_true", help="local: go on from the last checkpoint")
    parser.add_argument("--merge", action="store_true", help="local: leave whole weights, with the adapter in them")
    _add_cloud(parser)


def _add_hyperparameters(parser: argparse.ArgumentParser) -> None:
    recipe = parser.add_argument_group("hyperparameters", "defaults: for the tiny base; in brackets with --model")
    recipe.add_argument("--learning-rate", type=float, metavar="RATE", help="0.003 [0.0002]")
    recipe.add_argument(
        "--learning-rate-multiplier", type=positive_float, metavar="X", help="azure-openai: of the service's own rate"
    )
    recipe.add_argument("--lr-scheduler-type", metavar="TYPE", help="cosine; linear, constant, … as in transformers")
    recipe.add_argument("--epochs", type=positive_int, metavar="N", help="10 [3]")
    recipe.add_argument("--batch-size", type=positive_int, metavar="N", help="examples a step and GPU: 16 [4]")
    recipe.add_argument(
        "--max-seq-length", type=positive_int, metavar="N", help="tokens an example is cut to: 512 [2048]"
    )


def _add_cloud(parser: argparse.ArgumentParser) -> None:
    cloud = parser.add_argument_group("in Azure")
    cloud.add_argument(
        "--suffix", metavar="TEXT", help="serverless, azure-openai: what the fine-tuned model's name ends in"
    )
    cloud.add_argument(
        "--recipe",
        choices=("catalog", "script"),
        help="azureml: the catalog's component, or the training of --backend local (default: catalog)",
    )
    cloud.add_argument("--gpus", type=positive_int, default=1, metavar="N", help="azureml: GPUs of a node (default: 1)")
    cloud.add_argument("--nodes", type=positive_int, default=1, metavar="N", help="azureml: nodes (default: 1)")
    cloud.add_argument(
        "--deepspeed-stage", type=int, choices=(2, 3), help="azureml, catalog: shard over the GPUs: 3 the weights too"
    )
    cloud.add_argument(
        "--training-type",
        metavar="TYPE",
        help="azure-openai: Standard, in the resource's region; GlobalStandard or developerTier, in any; dataZone "
        "(default: GlobalStandard)",
    )
    cloud.add_argument("--detach", action="store_true", help="submit the job, and do not wait for it")
    cloud.add_argument("--attach", metavar="JOB", help="follow a job that was submitted")
    cloud.add_argument("--yes", action="store_true", help="submit without asking: a job costs money")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.backends.choice import open_backend

    backend = open_backend(args.backend)
    if args.detach and backend.jobs_run_in is None:
        raise ConfigError(f"--detach does not go with --backend {backend.name}: its jobs end with this process")
    name = args.attach
    if name is None:
        job = _submit(backend, args, terminal)
        if job is None:
            return 1
        if args.detach:
            terminal.result(_data(job), f"{job.name}: {job.status}; `{_attach(backend, job.name)}` follows it")
            return 0
        name = job.name
    _follow(backend, name, terminal)
    return 0


def _submit(backend: AnyBackend, args: argparse.Namespace, terminal: Terminal) -> JobState | None:
    """Say what the job costs, ask, and submit it; None where the question was answered with no."""
    train, validation = _files(args, terminal)
    planned = backend.plan(_request(args, train=train, validation=validation))
    for warning in planned.warnings:
        terminal.note(warning)
    question = f"Fine-tune {planned.model} on {planned.cost()}?" if planned.cost and not args.yes else ""
    if question and not terminal.confirm(question, yes=False):
        return None
    try:
        job = backend.submit(planned)
    except KeyboardInterrupt:
        if backend.jobs_run_in:
            terminal.note(
                f"The job may go on in {backend.jobs_run_in}: the same command follows it there, or submits it, and "
                f"phi3flow cancel --backend {backend.name} ends it"
            )
        raise
    if backend.jobs_run_in and planned.status is None:
        terminal.note(f"submitted {job.name}: it takes minutes until it runs, then what the training takes")
    return job


def _files(args: argparse.Namespace, terminal: Terminal) -> tuple[Path, Path]:
    """Return what to learn and what to measure it by."""
    if args.validation_split is None:
        return args.train, args.validation
    from phi3flow.datasets.validation_split import split_validation

    split = split_validation(args.train, share=args.validation_split, seed=args.seed, folder=SPLITS)
    counts = f"{plural(split.train_count, 'conversation')} to learn, {split.validation_count:,} to measure it by"
    terminal.note(f"{args.train}: {counts}, which are {split.validation}")
    return split.train, split.validation


def _request(args: argparse.Namespace, *, train: Path, validation: Path) -> FineTuneRequest:
    from phi3flow.backends.backend import FineTuneRequest

    hyperparameters = {name: getattr(args, name) for name in HYPERPARAMETERS}
    return FineTuneRequest(
        train=train,
        validation=validation,
        model=args.model,
        output=args.output,
        hyperparameters={name: value for name, value in hyperparameters.items() if value is not None},
        seed=args.seed,
        resume=args.resume,
        merge=args.merge,
        recipe=args.recipe,
        gpus=args.gpus,
        nodes=args.nodes,
        deepspeed_stage=args.deepspeed_stage,
        suffix=args.suffix,
        training_type=args.training_type,
    )


def _follow(backend: AnyBackend, job: str, terminal: Terminal) -> None:
    """Show where a job stands until it has ended, and print its result; of several processes the first one does."""
    from phi3flow.cli.terminal.fine_tune_display import FineTuneDisplay
    from phi3flow.training.processes import is_first

    try:
        with FineTuneDisplay(terminal) as display:
            result = backend.follow(job, on_progress=display.show)
    except KeyboardInterrupt:
        if backend.jobs_run_in:
            terminal.note(f"The job goes on in {backend.jobs_run_in}; to follow it: {_attach(backend, job)}")
        raise
    if is_first():
        terminal.result(result.model_dump(), result.summary)


def _attach(backend: AnyBackend, job: str) -> str:
    return f"phi3flow fine-tune --backend {backend.name} --attach {job}"


def _data(job: JobState) -> dict[str, object]:
    """Return what --json prints of a job that is left to itself."""
    return {"backend": job.backend, "job": job.name, "status": job.status, "output": job.output, "metrics": {}}

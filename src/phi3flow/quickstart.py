"""The whole job on one machine: data, fine-tune, serve, batch-run, score, compare, report.

Each stage knows its inputs by hash, so that a second call does only what has changed, and a call after an
interruption goes on where the last one stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from phi3flow.errors import ConfigError
from phi3flow.project.paths import ANSWER_MATCH, CHAT_FLOW, STATE_FILE
from phi3flow.records.comparisons import Comparison
from phi3flow.records.record import SCHEMA_VERSION, Record
from phi3flow.records.runs import Manifest
from phi3flow.storage.files import held_alone, write_file
from phi3flow.storage.jsonl import file_sha256

if TYPE_CHECKING:
    from phi3flow.flows import Flow, PromptflowConnection
    from phi3flow.runner import RunProgress
    from phi3flow.runs.folder import RunFolder
    from phi3flow.training import BaseConfig, TrainingProgress

KEY_VARIABLE = "PHI3_KEY"

StageName = Literal["data", "base model", "fine-tune", "serve", "batch-run", "score", "compare", "report"]
STAGES: tuple[StageName, ...] = ("data", "base model", "fine-tune", "serve", "batch-run", "score", "compare", "report")


@dataclass(frozen=True)
class StageProgress:
    """What a stage says of itself: how far it is (0 to 1, None unknown), a few words, and whether it is over."""

    stage: StageName
    share: float | None = None
    text: str = ""
    ended: bool = False
    reused: bool = False
    elapsed_s: float = 0.0


class QuickstartResult(Record):
    """What a quickstart leaves: two runs, their comparison, and where to look."""

    baseline: str
    candidate: str
    comparison: Comparison
    report: Path
    model: Path
    data: Path = Field(description="the held-out lines, whose facts the model learned with this seed")
    seconds: dict[str, float] = Field(description="wall time of each stage of this call")


class _StageKeys(Record):
    """``made.json`` of the quickstart's folder: which inputs each stage's result was made from."""

    keys: dict[str, str] = Field(default_factory=dict)


OnProgress = Callable[[StageProgress], None]


class Quickstart:
    """One call of the quickstart: ``run`` takes the stages in order and reports each one's progress."""

    def __init__(
        self,
        *,
        out: Path,
        runs_dir: Path,
        seed: int,
        on_progress: OnProgress,
        base: dict[str, Any] | None = None,
        hyperparameters: dict[str, Any] | None = None,
    ) -> None:
        """``base`` and ``hyperparameters`` change BaseConfig's and FineTuneConfig's defaults, as tests do."""
        for folder in (CHAT_FLOW, ANSWER_MATCH):
            if not (folder / "flow.dag.yaml").is_file():
                raise ConfigError(f"{folder}: there is no such flow here; run quickstart in a clone of the project")
        self._out = out
        self._runs_dir = runs_dir
        self._seed = seed
        self._on_progress = on_progress
        self._base = base or {}
        self._hyperparameters = hyperparameters or {}
        self._seconds: dict[str, float] = {}
        self._stage_keys = _read_keys(out)

    def run(self) -> QuickstartResult:
        """Take all stages. An interruption stops the servers that were started and is raised again.

        Raises ConfigError while another quickstart is at work in this folder, whose endpoints have the same names.
        """
        with held_alone(
            STATE_FILE.with_name("quickstart.lock"),
            refusal="another quickstart is at work in this folder: wait until it is done, or stop it",
            remedy="run quickstart in a clone that can be written",
        ):
            return self._run()

    def _run(self) -> QuickstartResult:
        data = self._prepare_data()
        base = self._train_base()
        model = self._fine_tune(base)
        with contextlib.ExitStack() as servers:
            baseline, candidate = self._batch_run({"base": base.folder, "fine-tuned": model}, data, servers)
        self._score([baseline, candidate])
        comparison = self._compare(baseline, candidate)
        report = self._report(baseline, candidate, comparison, model)
        return QuickstartResult(
            baseline=baseline.name,
            candidate=candidate.name,
            comparison=comparison,
            report=report,
            model=model,
            data=data,
            seconds=self._seconds,
        )

    def _prepare_data(self) -> Path:
        from phi3flow.datasets.preparation import Output
        from phi3flow.sample_data import GENERATOR_VERSION, write_sample

        folder = self._out / "data"
        with self._stage("data") as stage:
            files = [folder / name for name in ("train.jsonl", "validation.jsonl", "test.jsonl", "test_lines.jsonl")]
            key = _digest("data", str(self._seed), GENERATOR_VERSION)
            stage.reused = self._is_made("data", key, files)
            if not stage.reused:
                write_sample(Output(folder=folder, overwrite="data" in self._stage_keys.keys), seed=self._seed)
                self._note_made("data", key, files)
            stage.text = ", ".join(f"{_count_lines(file)} {file.stem}" for file in files[:3])
        return files[3]

    def _train_base(self) -> BaseConfig:
        from phi3flow.training import BaseConfig, read_record, train_base

        config = BaseConfig.model_validate({**self._base, "seed": self._seed, "cache": self._out / "models"})
        with self._stage("base model") as stage:
            stage.reused = read_record(config.folder) is not None
            stage.text = str(train_base(config, on_progress=stage.advance_training))
        return config

    def _fine_tune(self, base: BaseConfig) -> Path:
        from phi3flow.backends.local.jobs import run_job
        from phi3flow.training import FineTuneConfig, read_record

        data, output = self._out / "data", self._out / "model"
        fields = {
            "train": data / "train.jsonl",
            "validation": data / "validation.jsonl",
            "base": base,
            "output": output,
            "hyperparameters": self._hyperparameters,
            "seed": self._seed,
        }
        with self._stage("fine-tune") as stage:
            config = FineTuneConfig.model_validate(fields)
            key = _digest(config.model_dump_json(), file_sha256(config.train), file_sha256(config.validation))
            resume = self._stage_keys.keys.get("fine-tune") == key and config.checkpoints.is_dir()
            self._set_key("fine-tune", key)
            before = read_record(output)
            job = config.model_copy(update={"resume": resume})
            run_job(job, on_progress=stage.advance_training)
            stage.reused = read_record(output) == before
            stage.text = str(output)
        return output

    def _batch_run(
        self, models: dict[str, Path], lines: Path, servers: contextlib.ExitStack
    ) -> tuple[RunFolder, RunFolder]:
        from phi3flow.flows import load_flow

        flow = load_flow(CHAT_FLOW)
        keys = {
            label: _digest(_hash_folder(model), flow.fingerprint, file_sha256(lines), str(SCHEMA_VERSION))
            for label, model in models.items()
        }
        todo = {label: model for label, model in models.items() if not self._is_run(f"quickstart-{label}", keys[label])}
        with self._stage("serve") as stage:
            stage.reused = not todo
            urls = {label: self._serve(label, model, servers) for label, model in todo.items()}
            stage.text = ", ".join(urls.values()) or "no line left to answer"
        with self._stage("batch-run") as stage:
            stage.reused = not todo
            for label, url in urls.items():
                self._run_flow(flow, f"quickstart-{label}", keys[label], lines, url, stage)
            stage.text = f"{_count_lines(lines)} lines each through {CHAT_FLOW}"
        return self._open_run("quickstart-base"), self._open_run("quickstart-fine-tuned")

    def _serve(self, label: str, model: Path, servers: contextlib.ExitStack) -> str:
        from phi3flow.backends.backend import DeploymentRequest, Part, PlannedDeletion
        from phi3flow.backends.local.backend import LocalBackend

        os.environ.setdefault(KEY_VARIABLE, secrets.token_urlsafe(24))
        backend = LocalBackend()
        name = f"quickstart-{label}"
        ending = PlannedDeletion((Part("endpoint", name),))
        if name in {server.endpoint for server in backend.status()}:
            backend.undeploy(ending)
        planned = backend.plan_deployment(DeploymentRequest(model=str(model), name=name, key_env=KEY_VARIABLE))
        backend.deploy(planned, on_note=lambda _: None)
        servers.callback(backend.undeploy, ending)
        return backend.connection(name).url

    def _run_flow(self, flow: Flow, name: str, key: str, lines: Path, url: str, stage: _Stage) -> None:
        from pydantic import SecretStr

        from phi3flow.connections.connection import CUSTOM, Connection
        from phi3flow.runner import RunPlan, run_flow

        key_secret = SecretStr(os.environ[KEY_VARIABLE])
        connection = Connection("phi3_endpoint", CUSTOM, configs={"endpoint": url}, secrets={"key": key_secret})
        fresh = self._stage_keys.keys.get(name) != key
        self._set_key(name, key)
        run_flow(
            RunPlan(flow, lines, self._runs_dir, column_mapping={"temperature": 0.0}, name=name),
            connections=lambda _: connection.to_promptflow(),
            fresh=fresh,
            on_start=stage.start_run,
            on_progress=stage.show_run,
        )

    def _score(self, runs: list[RunFolder]) -> None:
        from phi3flow.flows import fingerprint

        with self._stage("score") as stage:
            key = fingerprint(ANSWER_MATCH)
            stale = [
                run
                for run in runs
                if not self._is_made(f"score {run.name}", _digest(key, _hash_results(run)), [_metrics_file(run)])
            ]
            stage.reused = not stale
            for run in stale:
                _score_run(run)
                self._note_made(f"score {run.name}", _digest(key, _hash_results(run)), [_metrics_file(run)])
            stage.text = f"{len(runs)} runs by {ANSWER_MATCH}"

    def _compare(self, baseline: RunFolder, candidate: RunFolder) -> Comparison:
        from phi3flow.comparison.compare import compare_runs

        with self._stage("compare") as stage:
            comparison = compare_runs(baseline, candidate)
            stage.text = f"{comparison.n_paired} lines in pairs"
        return comparison

    def _report(self, baseline: RunFolder, candidate: RunFolder, comparison: Comparison, model: Path) -> Path:
        from phi3flow.records.training import TrainingRecord
        from phi3flow.report import write_report

        with self._stage("report") as stage:
            training = TrainingRecord.model_validate_json((model / "training.json").read_bytes())
            output = self._out / "report.html"
            write_report([baseline, candidate], comparison=comparison, training=[training], output=output)
            stage.text = str(output)
        return output

    @contextlib.contextmanager
    def _stage(self, name: StageName) -> Iterator[_Stage]:
        stage = _Stage(name, self._on_progress)
        stage.tell()
        yield stage
        self._seconds[name] = stage.tell(ended=True)

    def _is_made(self, name: str, key: str, outputs: list[Path]) -> bool:
        return all(path.exists() for path in outputs) and self._stage_keys.keys.get(name) == _seal(key, outputs)

    def _note_made(self, name: str, key: str, outputs: list[Path]) -> None:
        self._set_key(name, _seal(key, outputs))

    def _set_key(self, name: str, key: str) -> None:
        self._stage_keys = _StageKeys(keys={**self._stage_keys.keys, name: key})
        self._out.mkdir(parents=True, exist_ok=True)
        write_file(_keys_file(self._out), self._stage_keys.model_dump_json(indent=2).encode())

    def _is_run(self, name: str, key: str) -> bool:
        if self._stage_keys.keys.get(name) != key or not (self._runs_dir / name / "manifest.json").is_file():
            return False
        manifest = self._open_run(name).manifest
        return manifest.status == "Completed" and manifest.counts.completed == manifest.counts.total

    def _open_run(self, name: str) -> RunFolder:
        from phi3flow.runs.folder import RunFolder

        return RunFolder(self._runs_dir / name)


class _Stage:
    """A stage's words to the outside."""

    def __init__(self, name: StageName, on_progress: OnProgress) -> None:
        self.name = name
        self.text = ""
        self.reused = False
        self._on_progress = on_progress
        self._run_name = ""
        self._started = time.monotonic()

    def tell(self, *, share: float | None = None, ended: bool = False) -> float:
        """Report the stage, and return its seconds until now."""
        elapsed_s = round(time.monotonic() - self._started, 2)
        self._on_progress(StageProgress(self.name, share, self.text, ended, self.reused, elapsed_s))
        return elapsed_s

    def advance_training(self, progress: TrainingProgress) -> None:
        loss = progress.loss if progress.loss is not None else progress.validation_loss
        left = "" if progress.remaining_s is None else f", {progress.remaining_s:.0f} s left"
        loss_text = "" if loss is None else f", loss {loss:.3f}"
        self.text = f"{progress.phase}: step {progress.step}/{progress.total_steps}{loss_text}{left}"
        self.tell(share=progress.step / progress.total_steps)

    def start_run(self, manifest: Manifest) -> None:
        self._run_name = manifest.name

    def show_run(self, progress: RunProgress) -> None:
        attempted = progress.completed + progress.failed
        self.text = f"{self._run_name}: {attempted}/{progress.total} lines"
        self.tell(share=attempted / progress.total)


def _score_run(run: RunFolder) -> None:
    from phi3flow.flows import load_flow
    from phi3flow.scoring import score_run

    score_run(run, flow=load_flow(ANSWER_MATCH), connections=_no_connection)


def _no_connection(name: str) -> PromptflowConnection:
    raise ConfigError(f"{ANSWER_MATCH} needs no connection, but asks for {name!r}")


def _read_keys(out: Path) -> _StageKeys:
    file = _keys_file(out)
    return _StageKeys.model_validate_json(file.read_bytes()) if file.is_file() else _StageKeys()


def _keys_file(out: Path) -> Path:
    return out / "made.json"


def _metrics_file(run: RunFolder) -> Path:
    from phi3flow.flows import load_flow

    return run.path / "scores" / run.evaluation_of(load_flow(ANSWER_MATCH)) / "metrics.json"


def _hash_results(run: RunFolder) -> str:
    return file_sha256(run.path / "results.jsonl")


def _hash_folder(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return _digest(*(f"{path.relative_to(folder).as_posix()} {file_sha256(path)}" for path in files))


def _seal(key: str, outputs: list[Path]) -> str:
    """Bind a stage's inputs to what it wrote, so that an edited output is made again."""
    return _digest(key, *(_hash_folder(path) if path.is_dir() else file_sha256(path) for path in outputs))


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _count_lines(file: Path) -> int:
    return file.read_bytes().count(b"\n")

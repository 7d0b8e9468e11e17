"""Run folders: ``.runs/<name>/`` with a manifest, append-only results, and scores beside them.

Reading tolerates a run that is still being written or was killed; writing is ``RunWriter``'s.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from phi3flow.errors import ConfigError, DatasetError
from phi3flow.flows import Flow
from phi3flow.project.paths import RUNS
from phi3flow.records.lines import TRACEBACKS_FILE, LineResult, Traceback
from phi3flow.records.record import Record
from phi3flow.records.runs import Manifest
from phi3flow.records.scores import LineScore, Ruler, RunMetrics
from phi3flow.records.traces import TRACES_FILE, LineTrace
from phi3flow.records.validation import first_problem
from phi3flow.runs.results_file import RESULTS_FILE, find_first_failure, read_last_results
from phi3flow.storage.data_files import read_data, unchanged_data
from phi3flow.storage.exact_json import decode_exactly
from phi3flow.storage.files import held_alone, write_files
from phi3flow.storage.jsonl import file_sha256, read_lines
from phi3flow.text import shorten

_LOG = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)
T = TypeVar("T", Traceback, LineTrace)
_UNBEGUN = re.compile(r"\.lock|\.manifest\.json\.[0-9a-f]{8}")
_SHORT = 8  # of a fingerprint's digits, as in a run's name

AGGREGATION_INPUTS_FILE = "aggregation_inputs.jsonl"
"""What the nodes of each line gave for the flow's aggregation."""


class RunFolder:
    """A run on disk, for reading. Raises ConfigError where ``path`` holds no run."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._link = path if path.is_symlink() else None
        if not (self.path / "manifest.json").is_file():
            raise ConfigError(f"{path}: is not a run folder: it has no manifest.json")

    @property
    def name(self) -> str:
        """The run's name, which is its folder's."""
        return self.path.name

    @property
    def manifest(self) -> Manifest:
        """The manifest as it stands on disk now."""
        return read_record(Manifest, self.path / "manifest.json")

    def results(self) -> list[LineResult]:
        """Return each line's last result, by line_number. Lines that were never attempted are absent."""
        manifest = self.manifest
        try:
            last = read_last_results(self.path / RESULTS_FILE, manifest)
        except DatasetError:
            if self.manifest == manifest:
                raise
            return self.results()  # the run has gone on, or ended, while it was read
        return [last[number] for number in sorted(last)]

    def first_failure(self) -> LineResult | None:
        """Return the result of the first line that failed; None where none did."""
        return find_first_failure(self.path / RESULTS_FILE)

    def aggregation_inputs(self) -> dict[int, dict[str, Any] | None]:
        """Return by line_number what the flow's aggregation wants of a line, None where no file can hold that."""
        path = self.path / AGGREGATION_INPUTS_FILE
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        rows = [row for line in lines if line.endswith(b"\n") and (row := _aggregation_row(line))]
        return {row["line_number"]: decode_exactly(row["aggregation_inputs"]) for row in rows}

    def tracebacks(self, evaluation: str | None = None) -> dict[int, Traceback]:
        """Return by line_number where lines failed last, in the run or in scoring, as far as that can be read."""
        folder = self.path / "scores" / evaluation if evaluation else self.path
        return _by_line(folder / TRACEBACKS_FILE, Traceback)

    def traces(self) -> dict[int, LineTrace]:
        """Return by line_number what the nodes of traced lines gave, as far as that can be read."""
        return _by_line(self.path / TRACES_FILE, LineTrace)

    def logged_metrics(self) -> dict[str, Any]:
        """Return what the run's own aggregation logged: metrics.json without what the run was scored."""
        path, evaluations = self.path / "metrics.json", self.evaluations()
        metrics = json.loads(path.read_bytes()) if path.is_file() else {}
        return {name: value for name, value in metrics.items() if not _is_of_evaluation(name, evaluations)}

    def data_rows(self) -> list[dict[str, Any]]:
        """Return each line's row of the data, by line_number. Raises DatasetError where it is gone or changed."""
        manifest = self.manifest
        path = Path(manifest.data)
        if not path.exists():
            raise DatasetError(f"{path}: the data of run {self.name} is not there any more")
        with unchanged_data(path) as sha256:
            if sha256 != manifest.data_sha256:
                raise DatasetError(
                    f"{path}: has changed since run {self.name} was made; put it back, or make the run again"
                )
            rows = [row for _, row in read_data(path)]
        return rows if manifest.repeats == 1 else rows[: manifest.lines] * manifest.repeats

    def evaluations(self) -> list[str]:
        """Return the names of the evaluation flows that scored this run."""
        return sorted(path.parent.name for path in self.path.glob("scores/*/metrics.json"))

    def evaluation_of(self, flow: Flow) -> str:
        """Return the name that the scores of an evaluation flow have, or would have, in this run.

        It is the name of the flow's folder. A flow is known by its fingerprint, wherever its folder lies, and stays
        itself where its files are edited; another one, whose folder has the same name, is NAME-FINGERPRINT.
        """
        rulers = self._rulers()
        held = rulers.get(flow.name)
        if held is None or held.flow == str(flow.path):
            return flow.name
        same = (name for name, ruler in rulers.items() if ruler and _is_of(ruler, flow))
        return next(same, f"{flow.name}-{flow.fingerprint[:_SHORT]}")

    def scores(self, evaluation: str) -> list[LineScore]:
        """Return one evaluation's scores by line_number.

        Raises ConfigError as ``metrics`` does, DatasetError for a line that is no score.
        """
        self.metrics(evaluation)
        path = self._scores_folder(evaluation) / "scores.jsonl"
        return [_read_score(path, number, line) for number, line in read_lines(path)]

    def scores_sha256(self, evaluation: str) -> str | None:
        """Return the SHA-256 of one evaluation's scores; None where the run is not scored by it."""
        path = self.path / "scores" / evaluation / "scores.jsonl"
        return file_sha256(path) if path.is_file() else None

    def metrics(self, evaluation: str) -> RunMetrics:
        """Return one evaluation's estimates.

        Raises ConfigError where the run is not scored by it, or its scores and estimates are not of one scoring.
        """
        folder = self._scores_folder(evaluation)
        metrics = read_record(RunMetrics, folder / "metrics.json")
        if metrics.sha256 not in (None, _sha256(folder / "scores.jsonl", metrics)):
            raise ConfigError(
                f"{folder}: scores.jsonl and metrics.json are not of one scoring, or have changed since: "
                f"phi3flow score {self.name}"
            )
        return metrics

    def write_scores(self, evaluation: str, scores: Iterable[LineScore], metrics: RunMetrics) -> None:
        """Replace one evaluation's scores and estimates, both or none.

        What another ruler measured, such as the flow before it was edited, is kept in the folder ``before``.
        """
        folder = self.path / "scores" / evaluation
        for name in self._outdated(evaluation, metrics.evaluation):
            self._keep_aside(name, folder / "before")
        lines = [score.model_dump_json().encode() + b"\n" for score in scores]
        scores_sha256 = hashlib.sha256(b"".join(lines)).hexdigest()
        metrics = metrics.model_copy(update={"sha256": _of_both(scores_sha256, metrics)})
        content = metrics.model_dump_json(indent=2).encode() + b"\n"
        write_files({folder / "scores.jsonl": lines, folder / "metrics.json": [content]})

    def delete(self) -> None:
        """Remove the folder.

        Raises ConfigError while another process writes or scores it, where it is no run, and where a link leads to it.
        """
        if self._link:
            raise ConfigError(f"{self._link}: is a link to {self.path}: remove the link, or delete that")
        refuse_other_folder(self.path)
        with lock(self.path), lock_scores(self.path):
            shutil.rmtree(self.path)

    def _rulers(self) -> dict[str, Ruler | None]:
        """Return what measured each evaluation's scores; None where version 1 did, or where they cannot be read."""
        rulers: dict[str, Ruler | None] = {}
        for evaluation in self.evaluations():
            with contextlib.suppress(ConfigError):
                rulers[evaluation] = self.metrics(evaluation).evaluation
            rulers.setdefault(evaluation, None)
        return rulers

    def _outdated(self, evaluation: str, ruler: Ruler | None) -> list[str]:
        """Return the evaluations that the scores of ``ruler`` take the place of."""
        if ruler is None:
            return []
        return [name for name, old in self._rulers().items() if _is_replaced(old, ruler, same_name=name == evaluation)]

    def _keep_aside(self, evaluation: str, folder: Path) -> None:
        """Move an evaluation's scores into ``folder``, in the place of those that are there."""
        folder.mkdir(parents=True, exist_ok=True)
        scores = self.path / "scores" / evaluation
        for name in ("scores.jsonl", "metrics.json"):
            if (scores / name).is_file():
                shutil.copyfile(scores / name, folder / name)
        if scores != folder.parent:
            shutil.rmtree(scores)

    def _scores_folder(self, evaluation: str) -> Path:
        folder = self.path / "scores" / evaluation
        if not (folder / "metrics.json").is_file():
            raise ConfigError(
                f"run {self.name} is not scored by {evaluation} "
                f"(it has: {', '.join(self.evaluations()) or 'no scores'}): phi3flow score {self.name}"
            )
        return folder


def _sha256(scores: Path, metrics: RunMetrics) -> str:
    return _of_both(file_sha256(scores) if scores.is_file() else "", metrics)


def _of_both(scores_sha256: str, metrics: RunMetrics) -> str:
    estimates = [*metrics.metrics.values(), *metrics.answered_only.values()]
    numbers = [(e.mean, e.low, e.high, e.se, e.n, e.n_failed, e.n_unscored) for e in estimates]
    return hashlib.sha256(f"{scores_sha256} {json.dumps(numbers)}".encode()).hexdigest()


def _is_of(ruler: Ruler, flow: Flow) -> bool:
    return ruler.flow_fingerprint == flow.fingerprint and Path(ruler.flow).name == flow.path.name


def _is_replaced(old: Ruler | None, new: Ruler, *, same_name: bool) -> bool:
    """Whether scores by ``new`` take the place of those by ``old``: under their name, or as the same folder's."""
    if same_name:
        return old is None or old.model_copy(update={"flow": new.flow}) != new
    return old is not None and old.flow == new.flow and old.flow_fingerprint != new.flow_fingerprint


def find_run(reference: str, runs_dir: Path = RUNS) -> RunFolder:
    """Resolve a RUN: a name under ``runs_dir``, a path, ``@latest`` or ``@previous`` (by start)."""
    if reference in ("@latest", "@previous"):
        runs = list_runs(runs_dir)
        back = 1 if reference == "@latest" else 2
        if len(runs) < back:
            raise ConfigError(f"{reference}: there are {len(runs)} runs in {runs_dir}")
        return runs[-back]
    for path in (runs_dir / reference, Path(reference)):
        if (path / "manifest.json").is_file():
            return RunFolder(path)
    names = ", ".join(run.name for run in list_runs(runs_dir)[-10:]) or "none"
    raise ConfigError(f"there is no run {reference!r} in {runs_dir}; the latest are: {names}")


def refuse_other_folder(path: Path) -> None:
    """Refuse to write into, clear or remove a folder that is no run. Raises ConfigError.

    What is not there, or empty but for what a run that was never begun left there, may become one.
    """
    if path.is_symlink():
        raise ConfigError(f"{path}: is a link to {path.resolve()}: a run's folder is no link")
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path}: is a file; choose another name for the run, or another --runs-dir")
    if not path.is_dir():
        return
    if (path / "manifest.json").is_file():
        try:
            read_record(Manifest, path / "manifest.json")
        except ConfigError as error:
            raise ConfigError(f"{error}; put it back, choose another --name, or move the folder away") from error
        return
    files = sorted(file.name for file in path.iterdir() if not _UNBEGUN.fullmatch(file.name))
    if "results.jsonl" in files:
        raise ConfigError(f"{path}: the manifest.json of this run is gone: put it back, or move the folder away")
    if files:
        listed = ", ".join(files[:3]) + ("…" if len(files) > 3 else "")
        raise ConfigError(f"{path}: is not a run, it holds {listed}; choose another name for the run, or --runs-dir")


def list_runs(runs_dir: Path = RUNS) -> list[RunFolder]:
    """Return the runs of a folder, the one that was started first, first; warn of one that cannot be read."""
    started = dict[RunFolder, datetime]()
    for path in sorted(runs_dir.glob("*/manifest.json")):
        try:
            run = RunFolder(path.parent)
            started[run] = run.manifest.started_at
        except (ConfigError, OSError) as error:
            _LOG.warning("warning: %s; the run is left out", error)
    return sorted(started, key=lambda run: (started[run], run.name))


def lock(path: Path) -> AbstractContextManager[None]:
    return held_alone(
        path / ".lock",
        refusal=f"run {path.name} is being written by another process ({path / '.lock'})",
        remedy="choose another --runs-dir",
    )


def lock_scores(path: Path) -> AbstractContextManager[None]:
    """Hold a run for one scoring; the run itself may go on meanwhile."""
    file = path / "scores" / ".lock"
    return held_alone(
        file,
        refusal=f"run {path.name} is being scored by another process ({file}): wait until it has ended",
        remedy="make room, or choose another --runs-dir",
    )


def read_record(record: type[R], path: Path) -> R:
    try:
        return record.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = first_problem(error)
        raise ConfigError(
            f"{path}: {problem.key}: {problem.message}: it was written by another version, or damaged"
        ) from error


def _aggregation_row(line: bytes) -> dict[str, Any] | None:
    """Return a line of the file, None of one that is damaged: what it had is as if it was not kept."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and {"line_number", "aggregation_inputs"} <= row.keys() else None


def _read_score(path: Path, number: int, line: bytes) -> LineScore:
    try:
        return LineScore.model_validate_json(line)
    except ValidationError as error:
        reason, value = first_problem(error).message, shorten(line.decode(errors="replace"))
        raise DatasetError(f"{path}:{number}: no score ({reason}): {value}") from error


def dump_line(record: dict[str, Any]) -> bytes:
    """Serialise one line of JSON Lines; what JSON does not know is written as its text."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "replace")


def _is_of_evaluation(metric: str, evaluations: list[str]) -> bool:
    """Whether a full name is of one of the evaluations, or of a flow of the same name that was edited since."""
    return any(re.match(rf"{re.escape(evaluation)}(-[0-9a-f]{{8}})?\.", metric) for evaluation in evaluations)


def _by_line(path: Path, kind: type[T]) -> dict[int, T]:
    """Return the last record of each line in a file, empty where there is none."""
    records = dict[int, T]()
    with contextlib.suppress(FileNotFoundError), path.open("rb") as lines:
        for line in lines:
            with contextlib.suppress(ValidationError):
                record = kind.model_validate_json(line)
                records[record.line_number] = record
    return records

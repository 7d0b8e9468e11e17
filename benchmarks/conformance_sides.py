"""Both sides of a conformance case: the real ``pf`` and ``phi3flow batch-run`` over the same rows, and what came out.

Each lane has a HOME with promptflow's store of connections, which both sides read, and a scripted model; the two sides
of a case run in it one after the other, each in a copy of the checkout of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from conformance_cases import Case
from scripted_model import ScriptedModel
from tools import BIN, PEERS, QUIET

from phi3flow.records.yaml_text import dump_yaml
from phi3flow.runs.folder import RunFolder

LONGEST_S = 60
TOO_LONG = f"takes more than {LONGEST_S} s"
CAUSED_BY = " from "
KEY = "key-of-the-conformance-run"
_RAISED = re.compile(r"Execution failure in '[^']*': \((\w+)\) (.*)", re.DOTALL)
_ANSWER = re.compile(r"answer|prediction|output|response|completion")
_AGGREGATION_FAILED = "Failed to execute aggregation function with error: "
_LOGGED = re.compile(r"^(?:\S+ )*\S*\bError\S*: |^\[.*\]\[(?:WARNING|ERROR)\] - |^pf\S*: ", re.MULTILINE)


@dataclass
class Outcome:
    """What one side gave: outputs or the failure's type and message by line, metrics; ``refusal`` in place of a run.

    A failure of pf's has the types of all that caused it, with ``CAUSED_BY`` between.
    """

    refusal: str | None = None
    outputs: dict[int, Any] = field(default_factory=dict)
    failures: dict[int, tuple[str, str]] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    aggregation_error: str | None = None
    requests: list[str] = field(default_factory=list)
    log: str = ""

    @property
    def reasons(self) -> list[str]:
        """Why it did not run, or lines did not."""
        aggregation = [self.aggregation_error] if self.aggregation_error else []
        lines = [f"{kind}: {message}" for kind, message in self.failures.values()]
        return ([self.refusal] if self.refusal else []) + lines + aggregation


class Lane:
    """A place where cases run one after the other, as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.copies = {side: folder.parent / side for side in ("theirs", "ours")}
        self.model = ScriptedModel()
        self._number = 0

    def __enter__(self) -> Lane:
        self.model.__enter__()
        (self.folder / ".promptflow").mkdir(parents=True)
        (self.folder / ".promptflow" / "pf.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
        self.environment = self._environment()
        command = [sys.executable, str(PEERS / "run_pf.py")]
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._pf = subprocess.Popen(command, env=self.environment, cwd=self.folder, text=True, **streams)
        for name, content in self._connections().items():
            file = self.folder / f"{name}.yml"
            file.write_text(dump_yaml({"name": name, **content}), encoding="utf-8")
            code, log = self._run_pf(["connection", "create", "--file", str(file)])
            if code:
                self.__exit__()
                raise RuntimeError(f"pf connection create {name} (it needs a keyring, or keyrings.alt): {log}")
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._pf.stdin is not None
        self._pf.stdin.close()
        self._pf.wait()
        self.model.__exit__()

    def run(self, case: Case) -> tuple[Outcome, Outcome]:
        """Return what pf gave for a case, and what phi3flow did."""
        self._number += 1
        name = f"case{self._number}"
        theirs = self._theirs(case, name)
        if theirs.refusal != TOO_LONG:
            return theirs, self._ours(case, name)
        return theirs, Outcome(refusal=TOO_LONG)

    def score(self, case: Case) -> dict[str, Any]:
        """Return the means and texts that ``phi3flow score`` gives for the rows of an evaluation flow.

        One of its inputs is the answer: by its name, else the first.
        """
        if not case.mapping:
            return {}
        answer = next(filter(_ANSWER.search, case.mapping), next(iter(case.mapping)))
        flow = self.copies["ours"] / case.flow
        data = str(self.copies["ours"] / case.data / f"{case.stem}.jsonl")
        command = ["score", "--data", data, "--flow", str(flow), "--runs-dir", str(self.folder / "scored"), "--json"]
        command += ["--column-mapping", f"{answer}=${{run.outputs.{answer}}}"]
        done = self._run_phi3flow(command)
        try:
            found = json.loads(done.stdout)
        except ValueError:
            return {"refused": _last(done.stderr)}
        means = {name.partition(".")[2]: estimate["mean"] for name, estimate in found["metrics"].items()}
        return {**means, **{name.partition(".")[2]: text for name, text in found.get("texts", {}).items()}}

    def _theirs(self, case: Case, name: str) -> Outcome:
        self.model.take_requests()
        code, log = self._run_pf(["run", "create", *self._arguments(case, "theirs"), "--name", name])
        requests = self.model.take_requests()
        run = self.folder / ".promptflow" / ".runs" / name
        if code == -9:
            return Outcome(refusal=TOO_LONG, log=log)
        outcome = self._read_pf(run, log)
        outcome.requests, outcome.log = self._neutral(requests), log
        return outcome

    def _ours(self, case: Case, name: str) -> Outcome:
        flow, *flags = self._arguments(case, "ours")
        runs = self.folder / "runs"
        flags += ["--name", name, "--runs-dir", str(runs), "--timeout-s", "50", "--max-retries", "0", "--json"]
        done = self._run_phi3flow(["batch-run", flow, *flags])
        requests = self.model.take_requests()
        outcome = self._read_phi3flow(runs / name, done)
        outcome.requests, outcome.log = self._neutral(requests), done.stderr
        return outcome

    def _arguments(self, case: Case, side: str) -> list[str]:
        """Return flow and data as the side's command takes them, having written the rows into its copy."""
        copy = self.copies[side]
        flow, data = copy / case.flow, copy / case.data / f"{case.stem}.jsonl"
        if case.run_file:
            run_file = str(copy / case.run_file)
            return ["--file", run_file] if side == "theirs" else [str(flow), "--run", run_file]
        data.write_text("".join(json.dumps(row) + "\n" for row in case.rows), encoding="utf-8")
        arguments = ["--flow", str(flow)] if side == "theirs" else [str(flow)]
        if case.init:
            content = {"flow": str(flow), "data": str(data), "init": case.init, "column_mapping": case.mapping}
            run_file = copy / case.data / f"{case.stem}.yml"
            run_file.write_text(dump_yaml(content), encoding="utf-8")
            return ["--file", str(run_file)] if side == "theirs" else [str(flow), "--run", str(run_file)]
        variant = ["--variant", case.variant] if case.variant else []
        pairs = [f"{name}={column}" for name, column in case.mapping.items()]
        mapping = ["--column-mapping", *pairs] if pairs else []
        return [*arguments, "--data", str(data), *variant, *mapping]

    def _read_pf(self, run: Path, log: str) -> Outcome:
        artifacts = sorted(run.glob("flow_artifacts/*.jsonl"))
        infos = [json.loads(line)["run_info"] for file in artifacts for line in _lines(file)]
        outputs = {
            row.pop("line_number"): row for row in map(json.loads, _lines(run / "flow_outputs" / "output.jsonl"))
        }
        failures = {info["index"]: _pf_failure(info["error"]) for info in infos if info["status"] == "Failed"}
        if not outputs and not failures:
            return Outcome(refusal=_pf_refusal(log))
        nodes = [json.loads(line) for file in run.glob("node_artifacts/*/*.jsonl") for line in _lines(file)]
        failed = [info for info in (node["run_info"] for node in nodes) if info["status"] == "Failed"]
        aggregation = next((": ".join(_pf_failure(info["error"])) for info in failed if info["index"] is None), None)
        logged = "\n".join(_lines(run / "logs.txt"))
        if _AGGREGATION_FAILED in logged:  # a flex flow's, of which pf only warns
            aggregation = logged.partition(_AGGREGATION_FAILED)[2].partition("\n")[0]
        return Outcome(
            outputs=self._neutral(_with_pictures(outputs, run)),
            failures=self._neutral(failures),
            metrics=_read_metrics(run / "metrics.json"),
            aggregation_error=aggregation,
        )

    def _read_phi3flow(self, run: Path, done: subprocess.CompletedProcess[str]) -> Outcome:
        if not (run / "manifest.json").is_file():
            return Outcome(refusal=_last(done.stderr) or f"exit code {done.returncode}")
        folder = RunFolder(run)
        results = list(folder.results())
        if not results:
            return Outcome(refusal=_last(done.stderr))
        error = folder.manifest.aggregation and folder.manifest.aggregation.error
        failed = {result.line_number: result.error for result in results if result.error}
        outputs = {line.line_number: line.outputs for line in results if line.status == "Completed"}
        return Outcome(
            outputs=self._neutral(_with_pictures(outputs, run)),
            failures=self._neutral({number: (error.type, error.message) for number, error in failed.items()}),
            metrics=folder.logged_metrics() if folder.manifest.aggregation else {},
            aggregation_error=f"{error.type}: {error.message}" if error else None,
        )

    def _neutral(self, value: Any) -> Any:
        """Return a value without what is each side's own, the copy's folder, and without the secrets that ours cuts."""
        if isinstance(value, str):
            value = value.replace(KEY, "***")
            for copy in self.copies.values():
                value = value.replace(str(copy), "CHECKOUT")
            return value
        if isinstance(value, Mapping):
            return {key: self._neutral(item) for key, item in value.items()}
        return type(value)(map(self._neutral, value)) if isinstance(value, list | tuple) else value

    def _run_pf(self, arguments: list[str]) -> tuple[int, str]:
        log = self.folder / "pf.log"
        command = {"arguments": arguments, "folder": str(self.folder), "log": str(log), "timeout_s": LONGEST_S}
        assert self._pf.stdin is not None
        assert self._pf.stdout is not None
        self._pf.stdin.write(json.dumps(command) + "\n")
        self._pf.stdin.flush()
        return int(self._pf.stdout.readline()), log.read_text(encoding="utf-8", errors="replace")

    def _run_phi3flow(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "phi3flow.cli.main", *arguments]
        limits = {"timeout": LONGEST_S + 30, "check": False}
        try:
            return subprocess.run(
                command, env=self.environment, cwd=self.folder, capture_output=True, text=True, **limits
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, -9, "", TOO_LONG)

    def _environment(self) -> dict[str, str]:
        """Return the variables of both sides; a flow that takes its account from them gets the scripted model."""
        kept = {
            name: os.environ[name]
            for name in ("PATH", "LANG", "TMPDIR", "PYTHONPATH", "TIKTOKEN_CACHE_DIR")
            if name in os.environ
        }
        nowhere = {"HTTP_PROXY": QUIET["HTTPS_PROXY"], "NO_PROXY": "127.0.0.1,localhost"}
        model = {
            "AZURE_OPENAI_API_KEY": KEY,
            "AZURE_OPENAI_API_BASE": self.model.url,
            "AZURE_OPENAI_ENDPOINT": self.model.url,
            "MOCK_AZURE_API_KEY": KEY,
            "MOCK_AZURE_ENDPOINT": self.model.url,
            "MOCK_AZURE_API_VERSION": "2024-02-01",
            "MOCK_AZURE_DEVELOPMENT": "gpt-4",
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": f"{self.model.url}/v1",
        }
        path = f"{BIN}{os.pathsep}{kept.pop('PATH', '')}"
        workers = {"PF_BATCH_METHOD": "spawn", "PF_WORKER_COUNT": "4"}
        home = {"HOME": str(self.folder), "PATH": path}
        return {**kept, **QUIET, **nowhere, **model, **workers, **home}

    def _connections(self) -> dict[str, dict[str, Any]]:
        """Return the connections that the flows name, by name, as their files have them."""
        open_ai = {"type": "open_ai", "api_key": KEY, "base_url": f"{self.model.url}/v1"}
        azure = {"type": "azure_open_ai", "api_key": KEY, "api_base": self.model.url, "api_version": "2024-02-01"}
        configs = {"api_base": self.model.url, "api_url": self.model.url, "api_type": "azure", "key2": "value"}
        custom = {"type": "custom", "configs": configs, "secrets": {"api_key": KEY, "key1": KEY}}
        names = {
            "azure_open_ai_connection": azure,
            "aoai_gpt4v_connection": azure,
            "azure_openai": azure,
            "aoai_assistant_connection": azure,
            "aoai connection": azure,
            "open_ai_connection": azure,  # as the examples' own files have it
            "your_open_ai_connection": open_ai,
            "serp_connection": {"type": "serp", "api_key": KEY},
            "custom_connection": custom,
            "custom_connection_2": custom,
            "custom_connection_3": custom,
            "mock_custom_connection": custom,
            "basic_custom_connection": custom,
            "my_custom_connection": custom,
            "normal_custom_connection": custom,
            "custom_strong_type_connection": custom,
            "my_llm_connection": custom,
        }
        return names


def _read_metrics(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads("\n".join(_lines(file)) or "{}"))
    except ValueError:  # pf stopped within it, at a value that JSON has not
        return {"metrics.json": "torn"}


def _with_pictures(value: Any, run: Path, name: str = "") -> Any:
    """Return outputs with the digest of a picture's file in the place of the name that the run gave it."""
    if isinstance(value, Mapping):
        return {key: _with_pictures(item, run, str(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_pictures(item, run) for item in value]
    if name.endswith("path") and isinstance(value, str):
        files = [file for file in (run / "flow_outputs" / value, run / value) if file.is_file()]
        return hashlib.sha256(files[0].read_bytes()).hexdigest() if files else value
    return value


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def _pf_failure(error: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return the types of what was raised, promptflow's own and its causes, and the message of what the tool raised."""
    if error is None:
        return "", ""
    cause = error.get("debugInfo") or {"type": error.get("code", ""), "message": error.get("message", "")}
    types, message = [], cause["message"]
    while cause:
        types.append(cause["type"].rpartition(".")[2])
        if raised := _RAISED.match(cause["message"]):
            types.append(raised.group(1))
            message = raised.group(2)
        cause = cause.get("innerException")
    return CAUSED_BY.join(types), message


def _pf_refusal(log: str) -> str:
    """Return why pf made no run: the last error that it printed."""
    if match := re.search(r'"error": \{\s+"message": ("(?:[^"\\]|\\.)*")', log):
        return str(json.loads(match.group(1)))
    return _last(log)


def _last(text: str) -> str:
    """Return the last message of a log."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if _LOGGED.match(line)), lines[-1] if lines else "")

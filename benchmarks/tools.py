"""The tools that batch_run.py measures: how each is set up, and the command that asks all questions with it.

A peer has an environment of its own in .bench/, made on first use: a virtual environment from benchmarks/peers/*.txt,
promptfoo with npm from benchmarks/peers/package.json. Every command runs in an empty folder, which is its HOME too,
with few environment variables, telemetry and look-ups elsewhere switched off.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "benchmarks" / "peers"
BENCH = ROOT / ".bench"
BIN = Path(sys.executable).parent
FLOOR = "aiohttp-loop"
OURS = "phi3flow"
SYSTEM_PROMPT = "You are an AI assistant that helps people find information."
QUIET = {
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
    "DO_NOT_TRACK": "true",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_OFFLINE": "1",
    "HTTPS_PROXY": "http://127.0.0.1:9",  # refuses pf's version check and promptfoo's note that telemetry is off
    "NO_COLOR": "1",
    "PF_DISABLE_TRACING": "true",
    "PF_TRACING_SKIP_LOCAL_SETUP": "true",
    "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
    "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
}
LM_EVAL_TASK = """\
task: questions
dataset_path: json
dataset_kwargs: {data_files: {test: QUESTIONS}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{ground_truth}}"
generation_kwargs: {until: ["<|end|>"], max_gen_toks: 128, do_sample: true, temperature: 0.7}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""


class AbsentError(Exception):
    """A peer could not be set up; the message says why."""


@dataclass(frozen=True)
class Job:
    """The questions, where to ask them, and the empty folder to do it in."""

    folder: Path
    questions: Path
    url: str
    in_flight: int

    @property
    def environment(self) -> dict[str, str]:
        """The variables a command gets."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
        endpoint = {"PHI3_ENDPOINT": f"{self.url}/score", "PHI3_KEY": "key", "OPENAI_API_KEY": "key"}
        return {**kept, **QUIET, **endpoint, "HOME": str(self.folder)}


@dataclass(frozen=True, eq=False)
class Tool:
    """One row of the table: ``command`` writes what the tool needs into the job's folder, and returns its command."""

    name: str
    command: Callable[[Job], list[str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    peer: str | None = None


def all_tools(in_flight: int, workers: list[int]) -> list[Tool]:
    """Return the tools in the table's order; ``workers`` makes a row of phi3flow each."""
    return [
        Tool(FLOOR, _aiohttp),
        *([_phi3flow(count) for count in workers] or [_phi3flow(None)]),
        Tool("pf-run", _pf),
        Tool("pf-run-16", _pf, {"PF_WORKER_COUNT": "16"}),
        Tool("azure-ai-evaluation", _azure, {"PF_WORKER_COUNT": str(in_flight)}, "azure-ai-evaluation"),
        Tool("inspect-ai", _inspect, peer="inspect-ai"),
        Tool("lm-eval", _lm_eval, peer="lm-eval"),
        Tool("promptfoo", _promptfoo, peer="promptfoo"),
    ]


def set_up(tool: Tool) -> None:
    """Install the tool's peer where that was not done yet. Raises AbsentError."""
    if tool.peer is None:
        return
    pinned = PEERS / ("package.json" if tool.peer == "promptfoo" else f"{tool.peer}.txt")
    folder = BENCH / tool.peer
    stamp = folder / f"{pinned.name}.installed"
    if stamp.exists() and stamp.read_bytes() == pinned.read_bytes():
        return
    print(f"setting up {tool.peer} in {folder.relative_to(ROOT)} …", file=sys.stderr, flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    if tool.peer == "promptfoo":
        npm = shutil.which("npm")
        if npm is None:
            raise AbsentError("npm is not on the PATH")
        shutil.copy(pinned, folder)
        _install([npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel=error"])
    else:
        _install([sys.executable, "-m", "venv", "--clear", str(folder)])
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        _install([*pip, "--requirement", str(pinned)])
    shutil.copy(pinned, stamp)


def _install(command: list[str]) -> None:
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        raise AbsentError(f"could not be installed: {last_line(process.stderr or process.stdout)}")


def last_line(text: str) -> str:
    """Return the last line that says something, shortened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-200:] if lines else "it printed nothing"


def _aiohttp(job: Job) -> list[str]:
    script = str(PEERS / "run_aiohttp.py")
    url, output = f"{job.url}/score", str(job.folder / "answers.jsonl")
    return [sys.executable, script, str(job.questions), url, str(job.in_flight), output]


def _copy_flow(job: Job) -> Path:
    """Copy the flow and its connection, and keep promptflow's telemetry off."""
    ignored = shutil.ignore_patterns("__pycache__", ".promptflow", ".runs")
    flow = Path(shutil.copytree(ROOT / "flows" / "chat_phi3", job.folder / "chat_phi3", ignore=ignored))
    shutil.copytree(ROOT / "connections", job.folder / "connections")
    (job.folder / ".promptflow").mkdir()
    (job.folder / ".promptflow" / "pf.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    return flow


def _phi3flow(workers: int | None) -> Tool:
    flags = [] if workers is None else ["--workers", str(workers)]

    def command(job: Job) -> list[str]:
        ours = [str(BIN / "phi3flow"), "batch-run", str(_copy_flow(job)), "--data", str(job.questions)]
        ours += ["--column-mapping", "question=${data.question}", "--concurrency", str(job.in_flight)]
        return [*ours, "--runs-dir", str(job.folder / "runs"), "--quiet", *flags]

    return Tool(" ".join([OURS, *flags]), command)


def _pf(job: Job) -> list[str]:
    flow = _copy_flow(job)
    connection = str(job.folder / "connections" / "phi3_endpoint.yml")
    pf = str(BIN / "pf")
    create = [pf, "connection", "create", "--file", connection]
    subprocess.run(create, env=job.environment, cwd=job.folder, check=True, capture_output=True)
    run = [pf, "run", "create", "--flow", str(flow), "--data", str(job.questions), "--name", "bench"]
    return [*run, "--column-mapping", "question=${data.question}"]


def _azure(job: Job) -> list[str]:
    script = str(PEERS / "run_azure_ai_evaluation.py")
    return [_python("azure-ai-evaluation"), script, str(job.questions), f"{job.url}/score", "evaluation.json"]


def _inspect(job: Job) -> list[str]:
    script = str(PEERS / "run_inspect_ai.py")
    return [_python("inspect-ai"), script, str(job.questions), f"{job.url}/v1", str(job.in_flight), "logs"]


def _lm_eval(job: Job) -> list[str]:
    task = job.folder / "questions.yaml"
    task.write_text(LM_EVAL_TASK.replace("QUESTIONS", str(job.questions)), encoding="utf-8")
    endpoint = f"base_url={job.url}/v1/chat/completions,num_concurrent={job.in_flight}"
    model = f"model=phi3,{endpoint},tokenizer_backend=None,tokenized_requests=False"
    lm_eval = [str(BENCH / "lm-eval" / "bin" / "lm-eval"), "run", "--model", "local-chat-completions"]
    lm_eval += ["--model_args", model, "--tasks", str(task), "--output_path", "results", "--log_samples"]
    return [*lm_eval, "--apply_chat_template", "--system_instruction", SYSTEM_PROMPT]


def _promptfoo(job: Job) -> list[str]:
    rows = [json.loads(line) for line in job.questions.read_text(encoding="utf-8").splitlines()]
    tests = job.folder / "tests.jsonl"
    tests.write_text("".join(json.dumps({"vars": row}) + "\n" for row in rows), encoding="utf-8")
    system = json.dumps({"role": "system", "content": SYSTEM_PROMPT})
    options = {"apiBaseUrl": f"{job.url}/v1", "temperature": 0.7, "max_tokens": 128}
    config = {
        "prompts": [f'[{system}, {{"role": "user", "content": {{{{question | dump}}}}}}]'],
        "providers": [{"id": "openai:chat:phi3", "config": options}],
        "tests": f"file://{tests}",
    }
    (job.folder / "promptfooconfig.json").write_text(json.dumps(config), encoding="utf-8")
    promptfoo = [str(BENCH / "promptfoo" / "node_modules" / ".bin" / "promptfoo"), "eval"]
    promptfoo += ["--config", "promptfooconfig.json", "--max-concurrency", str(job.in_flight), "--no-cache"]
    return [*promptfoo, "--no-table", "--no-progress-bar", "--no-share", "--output", "results.json"]


def _python(peer: str) -> str:
    return str(BENCH / peer / "bin" / "python")

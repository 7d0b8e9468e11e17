"""Scoring and comparing, side by side: `phi3flow score` with flows/eval/answer_match, `pf run create` of the same flow,
azure-ai-evaluation's F1 and ROUGE-L; and `phi3flow compare` of two large runs.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --lines 2000 --compared 20000
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import process_tree
import psutil
from tools import BIN, QUIET, ROOT, all_tools, set_up

from phi3flow.records.lines import LineResult
from phi3flow.records.runs import Counts, Manifest
from phi3flow.records.scores import LineScore
from phi3flow.runs.folder import RunFolder
from phi3flow.runs.writer import RunWriter
from phi3flow.storage.jsonl import file_sha256

TEXT = (
    "the battery of this device lasts ten hours and its warranty covers two years for parts but not for wear "
    "please restart it hold button seconds then connect charger update app pair again Paris 24-month 5.5 kg"
)
PEER = "azure-ai-evaluation"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=10_000, help="lines to score (default: 10,000)")
    parser.add_argument("--compared", type=int, default=100_000, help="lines of each run to compare (default: 100,000)")
    args = parser.parse_args()
    set_up(next(tool for tool in all_tools(1, []) if tool.peer == PEER))
    with tempfile.TemporaryDirectory(prefix="phi3flow-bench-") as temporary:
        folder = Path(temporary)
        ours = _score(folder, args.lines)
        print(f"{args.lines:,} lines scored\n\n| tool | seconds | lines/s | times ours | CPU s | MiB |")
        print("|---|---|---|---|---|---|")
        for name, cost in {"phi3flow score": ours, "pf run create": _pf(folder), PEER: _azure(folder)}.items():
            figures = f"{cost.wall_s:.1f} | {args.lines / cost.wall_s:.0f} | {cost.wall_s / ours.wall_s:.1f}"
            print(f"| {name} | {figures} | {cost.cpu_s:.1f} | {cost.peak_pss_mib:.0f} |", flush=True)
        compared = _compare(folder, args.compared)
        print(
            f"\nphi3flow compare of two runs of {args.compared:,} lines, 10,000 draws of BLEU and chrF: "
            f"{compared.wall_s:.1f} s, {compared.peak_pss_mib:.0f} MiB"
        )


def _score(folder: Path, lines: int) -> process_tree.Cost:
    rows = _rows(lines, seed=0)
    _make_run(folder, "base", rows, lines)
    (folder / "lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    shutil.copytree(ROOT / "flows" / "eval", folder / "eval", ignore=shutil.ignore_patterns("__pycache__"))
    return _run(folder, str(BIN / "phi3flow"), "score", "base", "--flow", "eval/answer_match", "--quiet")


def _pf(folder: Path) -> process_tree.Cost:
    (folder / ".promptflow").mkdir()
    (folder / ".promptflow" / "pf.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    mapping = [f"{name}=${{data.{name}}}" for name in ("answer", "ground_truth", "values")]
    command = [str(BIN / "pf"), "run", "create", "--flow", "eval/answer_match", "--data", "lines.jsonl"]
    return _run(folder, *command, "--name", "bench", "--column-mapping", *mapping)


def _azure(folder: Path) -> process_tree.Cost:
    python = ROOT / ".bench" / PEER / "bin" / "python"
    script = ROOT / "benchmarks" / "peers" / "run_azure_scores.py"
    return _run(folder, str(python), str(script), "lines.jsonl", "azure.json")


def _compare(folder: Path, lines: int) -> process_tree.Cost:
    """Compare two runs, whose scores are the scored run's again and again, the second's shifted by three lines."""
    scored = RunFolder(folder / ".runs" / "base").scores("answer_match")
    metrics = RunFolder(folder / ".runs" / "base").metrics("answer_match")
    for name, shift in (("first", 0), ("second", 3)):
        run = _make_run(folder, name, _rows(lines, seed=1), lines)
        run.write_scores("answer_match", _repeated(scored, lines, shift), metrics)
    return _run(folder, str(BIN / "phi3flow"), "compare", "first", "second", "--quiet")


def _repeated(scored: Sequence[LineScore], lines: int, shift: int) -> list[LineScore]:
    places = ((number, scored[(number + shift) % len(scored)]) for number in range(lines))
    return [score.model_copy(update={"line_number": number, "line_id": f"id{number}"}) for number, score in places]


def _run(folder: Path, *command: str) -> process_tree.Cost:
    environment = {**QUIET, "HOME": str(folder), "PATH": f"{BIN}:/usr/bin:/bin"}
    ours = {child.pid for child in psutil.Process().children()}
    cost = process_tree.run(list(command), environment=environment, log=folder / "log", not_ours=ours)
    if cost.exit_code:
        raise SystemExit(f"{' '.join(command)}: {(folder / 'log').read_text(errors='replace')[-2000:]}")
    return cost


def _rows(lines: int, *, seed: int) -> list[dict[str, object]]:
    """Return questions with an answer and a ground truth of some 20 words that share about half of them."""
    rng, words = random.Random(seed), TEXT.split()
    rows: list[dict[str, object]] = []
    for number in range(lines):
        truth = rng.choices(words, k=rng.randint(8, 30))
        answer = [word if rng.random() < 0.6 else rng.choice(words) for word in truth]
        row = {"answer": " ".join(answer), "ground_truth": " ".join(truth), "values": ["24-month"] * (number % 3 == 0)}
        rows.append({"question": f"question {number}?", **row})
    return rows


def _make_run(folder: Path, name: str, rows: Sequence[dict[str, object]], lines: int) -> RunFolder:
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    manifest = Manifest(
        name=name,
        status="Running",
        flow="bench",
        flow_fingerprint="0" * 64,
        data=str(data),
        data_sha256=file_sha256(data),
        column_mapping={},
        concurrency=1,
        counts=Counts(total=lines),
        started_at=datetime.now(UTC),
    )
    with RunWriter.open(folder / ".runs", manifest) as writer:
        for number, row in enumerate(rows):
            result = LineResult(
                line_number=number,
                line_id=f"id{number}",
                status="Completed",
                inputs={"question": row["question"]},
                outputs={"answer": row["answer"]},
                latency_ms=1.0,
            )
            writer.append(number, result.model_dump_json().encode(), completed=True, attempts=1)
        writer.finish("Completed", duration_s=1.0)
    return RunFolder(folder / ".runs" / name)


if __name__ == "__main__":
    main()

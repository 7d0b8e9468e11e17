"""What a report says of metrics, differences, tokens and data, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from phi3flow.datasets.chat import LocatedRow
from phi3flow.datasets.preparation import Output, prepare
from phi3flow.records.runs import TokenTotal
from phi3flow.runs.folder import RunFolder
from phi3flow.storage.jsonl import file_sha256, read_rows, with_line_ids
from tests.browser.conftest import OpenedReport, wait_for_text
from tests.support.folders.run_folders import line, write_run

pytestmark = pytest.mark.browser

Open = Callable[..., OpenedReport]

LINES = 40


def with_metrics(run: RunFolder, *, lower: Sequence[str] = (), counts: Sequence[Sequence[float]] = ()) -> RunFolder:
    """Mark metrics of ``run`` as better when lower, and give its lines the counts of corpus_bleu."""
    scores = run.scores("answer_match")
    if counts:
        scores = [one.model_copy(update={"counts": {"bleu": list(of)}}) for one, of in zip(scores, counts, strict=True)]
    metrics = run.metrics("answer_match").model_copy(update={"lower_is_better": list(lower)})
    run.write_scores("answer_match", scores, metrics)
    return run


@pytest.fixture
def toxic(tmp_path: Path) -> tuple[RunFolder, RunFolder]:
    """Two runs of 40 lines: toxicity falls in 30 of them, rises in two and stays in eight."""
    results = [line(number, f"answer {number}", question=f"question {number}") for number in range(LINES)]
    before = [0.8] * LINES
    after = [0.3] * 30 + [0.9] * 2 + [0.8] * 8
    return tuple(  # type: ignore[return-value]
        with_metrics(
            write_run(tmp_path / name, results, scores={"answer_match": {"toxicity": scores}}), lower=["toxicity"]
        )
        for name, scores in (("base", before), ("tuned", after))
    )


def test_where_lower_is_better_a_fall_is_a_win_everywhere(open_report: Open, toxic: tuple[RunFolder, ...]) -> None:
    report = open_report(*toxic, fragment="")
    row = report.page.locator("table.metrics tbody tr", has_text="toxicity")
    assert "lower is better" in row.inner_text()
    assert "▲ 30" in row.inner_text()
    assert "▼ 2" in row.inner_text()
    zero, drawn = (row.locator(f".drawn svg {name}").last for name in ("line.zero", "path.difference"))
    assert drawn.bounding_box()["x"] > zero.bounding_box()["x"] + 20
    report.choose("Wins")
    assert report.texts("#shown-count") == ["30 of 40 lines"]
    assert "−0.500" in report.texts(".line-outcome")[0]
    report.choose("Losses")
    assert report.questions() == ["question 30", "question 31"]
    report.choose("All")
    report.page.get_by_label("Sort").select_option(label="Difference: greatest loss first")
    assert report.questions()[:2] == ["question 30", "question 31"]


def test_a_confirmatory_metric_where_lower_is_better_is_judged_that_way(open_report: Open, tmp_path: Path) -> None:
    results = [line(number, "x") for number in range(LINES)]
    runs = [
        with_metrics(
            write_run(
                tmp_path / name, results, scores={"answer_match": {"f1": [score + n / 400 for n in range(LINES)]}}
            ),
            lower=["f1"],
        )
        for name, score in (("base", 0.7), ("tuned", 0.2))
    ]
    verdict = open_report(*runs).texts("h1")[0]
    assert verdict.startswith("▲ tuned is better than base on f1: 0.249 against 0.749, a difference of −0.500 ")
    assert verdict.endswith("; lower is better.")


def test_a_metric_of_the_whole_run_has_a_difference_and_no_wins(open_report: Open, tmp_path: Path) -> None:
    results = [line(number, "x") for number in range(LINES)]
    counts = {"base": [9, 9, 5, 3, 2, 1, 9, 8, 7, 6], "tuned": [9, 9, 8, 6, 5, 4, 9, 8, 7, 6]}
    runs = [
        with_metrics(
            write_run(tmp_path / name, results, scores={"answer_match": {"f1": [0.5] * LINES}}),
            counts=[of] * LINES,
        )
        for name, of in counts.items()
    ]
    report = open_report(*runs)
    row = report.page.locator("table.metrics tbody tr", has_text="corpus bleu")
    assert "whole run" in row.inner_text()
    assert "None" not in report.page.locator("#metrics").inner_text()
    assert row.locator(".drawn svg path.difference").count() == 1
    assert "corpus_bleu" not in " ".join(report.texts("#metric option"))


def test_every_lines_difference_is_drawn_with_the_mean_across(open_report: Open, tmp_path: Path) -> None:
    results = [line(number, "x") for number in range(4)]
    runs = [
        write_run(tmp_path / name, results, scores={"answer_match": {"f1": scores}})
        for name, scores in (("base", [0.5, 0.5, 0.5, 0.0]), ("tuned", [0.5, 1.0, 0.25, 1.0]))
    ]
    report = open_report(*runs, fragment="#metrics")
    figure = report.page.locator(".gains svg")
    assert figure.get_attribute("aria-label").startswith(
        "Difference of each of 4 lines: 1 worse, 1 alike, 2 better; mean +0.312 [−0.6"
    )
    zero = figure.locator("line.zero").bounding_box()["y"]
    mean = figure.locator("line.mean").bounding_box()["y"]
    bars = [(bar.get_attribute("class"), bar.bounding_box()) for bar in figure.locator("rect:not(.band)").all()]
    assert [outcome for outcome, _ in bars] == ["loss", "win", "win"]
    assert bars[0][1]["y"] >= zero - 2
    assert all(box["y"] + box["height"] <= zero + 2 for _, box in bars[1:])
    assert bars[2][1]["height"] == pytest.approx(2 * bars[1][1]["height"], abs=3)
    assert (zero - mean) / bars[2][1]["height"] == pytest.approx(0.3125, abs=0.03)
    assert report.texts(".gains-ends") == ["▼ 1 worse = 1 alike ▲ 2 better"]


def test_tokens_and_cost_are_shown_for_each_run_with_the_difference(open_report: Open, tmp_path: Path) -> None:
    results = [line(number, "x", usage=(100, 50)) for number in range(4)]
    totals = {
        "base": TokenTotal(prompt_tokens=400, completion_tokens=200, n_endpoint=4, cost=0.02),
        "tuned": TokenTotal(prompt_tokens=300, completion_tokens=220, n_endpoint=1, n_tokenizer=3, cost=0.015),
    }
    runs = [
        write_run(tmp_path / name, results, tokens=total, cache_hits=3 * (name == "tuned"))
        for name, total in totals.items()
    ]
    report = open_report(*runs, fragment="#latency")
    assert report.texts(".tokens tbody tr") == [
        "base 400 200 150.0 0.02 endpoint 0",
        "tuned 300 220 130.0 0.015 endpoint 1, tokenizer 3 3",
        "tuned, difference −100 (−25.0 %) +20 (+10.0 %) −20.0 (−13.3 %) −0.005 (−25.0 %)",
    ]


def test_tokens_without_prices_or_totals_are_summed_from_the_lines(open_report: Open, tmp_path: Path) -> None:
    results = [line(0, "x", usage=(100, 50)), line(1, "y")]
    report = open_report(write_run(tmp_path / "run", results), fragment="#latency")
    assert report.texts(".tokens tbody tr") == ["run 100 50 150.0 – 1 line unknown 0"]


def chat(number: int, question: str) -> LocatedRow:
    """Return one conversation of one turn."""
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": f"Answer {number}."}]
    return LocatedRow("chats.jsonl", number + 1, {"messages": messages})


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A folder that prepare-data wrote: 60 conversations, split, with its card."""
    source = {"files": "chats.jsonl"}
    folder = tmp_path / "data"
    chats = [chat(number, f"What is number {number}?") for number in range(60)]
    prepare({"train": chats}, source=source, output=Output(folder=folder), ratios=[0.6, 0.2, 0.2], seed=7)
    return folder


def answered(tmp_path: Path, data: Path) -> RunFolder:
    """Return a run that answered the lines of ``data``."""
    rows = [row for _, row in read_rows(data)]
    results = [
        line(number, "x", question=row["question"], line_id=line_id)
        for number, (line_id, row) in enumerate(with_line_ids(rows))
    ]
    return write_run(tmp_path / "runs" / "run", results, data=str(data), data_sha256=file_sha256(data))


def test_the_facts_of_the_data_card_are_in_provenance(open_report: Open, prepared: Path, tmp_path: Path) -> None:
    report = open_report(answered(tmp_path, prepared / "test_lines.jsonl"), fragment="#provenance")
    facts = "\n".join(report.texts("#provenance tbody tr"))
    for fact in (
        "files = chats.jsonl",
        "seed 7, 0.6 : 0.2 : 0.2",
        "train: 36 conversations, 36 turns",
        "leakage check",
    ):
        assert fact in facts
    assert report.page.get_by_text("Leakage:").count() == 0


def test_lines_that_training_has_seen_are_warned_of_at_the_top(
    open_report: Open, prepared: Path, tmp_path: Path
) -> None:
    data = prepared / "test_lines.jsonl"
    seen = json.loads((prepared / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])["messages"][0]["content"]
    rows = [{"question": "What is new?"}, {"question": seen.upper()}]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = open_report(answered(tmp_path, data), fragment="")
    warning = report.page.locator(".verdict .caution")
    assert warning.inner_text().startswith("Leakage: 1 line of test_lines.jsonl is of a conversation that begins with")
    assert "they have changed" in "".join(report.texts("#provenance"))
    warning.get_by_role("link", name="1").click()  # from 0, as in results.jsonl
    wait_for_text(report.page, ".open .line-text", seen.upper())


def test_a_damaged_card_is_named_and_the_report_stands(open_report: Open, prepared: Path, tmp_path: Path) -> None:
    (prepared / "data_card.json").write_text('{"seed": "<b>x</b>"}', encoding="utf-8")
    report = open_report(answered(tmp_path, prepared / "test_lines.jsonl"), fragment="#provenance")
    assert "is damaged" in "".join(report.texts("#provenance"))

"""The report's parts: wording, figures, verdicts, embedded lines, and the page as a file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.comparison.compare import compare_runs
from phi3flow.errors import ConfigError
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.lines import LineResult
from phi3flow.records.scores import Agreement, Judging
from phi3flow.report import read_training, write_report
from phi3flow.report.embedded_lines import BUDGET_BYTES, SHORTEST_CUT, embed, short_ids, to_json
from phi3flow.report.figures import Scale, histograms, metric_scale, percentile, round_up, training_figure
from phi3flow.report.headline import comparison_headline, run_headline
from phi3flow.report.run_view import view_run
from phi3flow.report.tables import metric_table, provenance
from phi3flow.report.training_view import view_training
from phi3flow.report.wording import duration, interval, latency, number, p_value, signed
from phi3flow.runs.folder import RunFolder
from phi3flow.text import shorten, visible
from tests.support.folders.run_folders import line, write_run
from tests.support.folders.training_records import training_record


def scored_run(folder: Path, scores: Sequence[float | None], *, metric: str = "f1", **manifest: object) -> RunFolder:
    """Return a run with one line a score."""
    results = [line(number, f"answer {number}") for number in range(len(scores))]
    return write_run(folder, results, scores={"answer_match": {metric: scores}}, **manifest)


def verdict(tmp_path: Path, before: Sequence[float | None], after: Sequence[float | None], metric: str = "f1") -> str:
    """Return the verdict on two runs with these scores."""
    base, tuned = (
        scored_run(tmp_path / name, scores, metric=metric) for name, scores in (("base", before), ("tuned", after))
    )
    comparison = compare_runs(base, tuned)
    return str(comparison_headline(comparison, baseline=view_run(base), candidate=view_run(tuned)))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (number(None), "–"),
        (number(-0.0001), "0.000"),
        (number(-0.5), "−0.500"),
        (number(12345, 0), "12,345"),
        (signed(0.25), "+0.250"),
        (signed(-0.25), "−0.250"),
        (signed(0.0001), "0.000"),
        (interval(-0.1, 0.2, 1, sign=True), "[−0.1, +0.2]"),
        (interval(None, 0.2), ""),
        (p_value(0.0009), "< 0.001"),
        (p_value(0.04), "0.040"),
        (p_value(None), "–"),
        (latency(2.414), "2.41 ms"),
        (latency(340.4), "340 ms"),
        (latency(1240), "1.24 s"),
        (duration(8.24), "8.2 s"),
        (duration(185), "3 min 5 s"),
        (duration(7805), "2 h 10 min"),
        (shorten("a\n b", 10), "a b"),
        (shorten("abcdef", 3), "abc…"),
        (visible("a\u202eb\r\nc\td"), "a⟨U+202E⟩b\nc\td"),
        (visible("\ud800\u2028\x00"), "⟨U+D800⟩⟨U+2028⟩⟨U+0000⟩"),
        (visible("👩\u200d🔬 é 한"), "👩\u200d🔬 é 한"),
    ],
)
def test_values_are_written_for_readers(written: str, expected: str) -> None:
    assert written == expected


@given(st.floats(min_value=1e-9, max_value=1e12))
def test_a_rounded_up_bound_is_close_above(value: float) -> None:
    assert value * (1 - 1e-8) <= round_up(value) <= value * 1.51


@given(st.floats(-1e6, 0), st.floats(1e-3, 1e6), st.integers(2, 8))
def test_ticks_lie_on_their_axis_and_hold_zero(low: float, high: float, wanted: int) -> None:
    ticks = Scale(low, high).ticks(wanted)
    assert 0 in ticks
    assert len(ticks) <= wanted + 1
    assert all(low - 1e-6 <= tick <= high * (1 + 1e-6) for tick in ticks)


@given(st.lists(st.floats(0, 1e5), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_the_least_value_that_enough_do_not_pass(values: list[float], share: float) -> None:
    found = percentile(sorted(values), share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([], 0, 1), ([0.2, 1.0], 0, 1), ([3.0], 0, 5), ([26.3], 0, 100), ([150], 0, 150), ([-0.2, 0.3], -0.2, 1)],
)
def test_a_metric_gets_the_scale_that_its_kind_has(values: list[float], low: float, high: float) -> None:
    assert metric_scale(values) == Scale(low, high)


def test_a_histogram_counts_every_latency_once() -> None:
    latencies = [float(n) for n in range(1, 100)] + [100_000.0]
    found = histograms([latencies, []])
    assert found is not None
    assert found.runs[1] is None
    assert found.runs[0] is not None
    counted = sum(int(bar.label.rpartition(": ")[2]) for bar in found.runs[0].bars)
    assert counted + found.runs[0].beyond == len(latencies)
    assert found.runs[0].beyond == 1
    assert histograms([[], []]) is None


def test_curves_fall_where_the_loss_falls() -> None:
    figure = training_figure(training_record())
    assert figure is not None
    heights = [float(point.split(",")[1]) for point in figure.loss.lines["train"].split()]
    assert heights == sorted(heights)
    assert figure.best_at == 100
    assert training_figure(training_record(steps=[])) is None


def test_a_diverged_step_leaves_a_gap_instead_of_breaking_the_curve() -> None:
    record = training_record()
    steps = [step.model_copy(update={"loss": float("nan") if step.step == 3 else step.loss}) for step in record.steps]
    figure = training_figure(training_record(steps=steps))
    assert figure is not None
    assert len(figure.loss.lines["train"].split()) == len(steps) - 1


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [(5.0, 6.0, "Forgetting: "), (5.0, 5.1, "No notable forgetting"), (5.0, 4.0, "No forgetting: ")],
)
def test_forgetting_is_named(before: float, after: float, word: str) -> None:
    record = training_record(before={"general_perplexity": before}, after={"general_perplexity": after})
    sentence = view_training(record).forgetting
    assert sentence is not None
    assert sentence.startswith(word)
    assert view_training(training_record(before={}, after={})).forgetting is None


def test_the_verdict_says_better_where_it_is_shown(tmp_path: Path) -> None:
    sentence = verdict(tmp_path, [0.1, 0.2, 0.1, 0.3] * 5, [0.9, 0.8, 0.7, 0.9] * 5)
    assert sentence.startswith("tuned is better than base on f1: 0.825 against 0.175, a difference of +0.650 (95 % int")
    assert sentence.endswith("over 20 paired lines.")


def test_the_verdict_says_worse_where_it_is_shown(tmp_path: Path) -> None:
    assert verdict(tmp_path, [0.9, 0.8] * 10, [0.1, 0.2] * 10).startswith("tuned is worse than base on f1: ")


def test_the_verdict_claims_no_difference_that_is_not_shown(tmp_path: Path) -> None:
    sentence = verdict(tmp_path, [0.1, 0.9, 0.5], [0.9, 0.2, 0.6])
    assert sentence.startswith("No difference in f1 is shown between tuned and base: ")
    assert "would be needed to show it" in sentence


def test_the_verdict_says_alike_where_no_line_differs(tmp_path: Path) -> None:
    assert verdict(tmp_path, [0.1, 0.9], [0.1, 0.9]).startswith("tuned and base have the same f1 on every line")


def test_a_metric_out_of_a_hundred_has_fewer_decimals(tmp_path: Path) -> None:
    assert ": 60.0 against 20.0, a difference of +40.0 (" in verdict(tmp_path, [10, 30] * 9, [55, 65] * 9, "bleu")


def test_a_single_run_is_judged_by_its_headline_metric(tmp_path: Path) -> None:
    results = [line(0, "a"), line(1, "b"), line(2, None)]
    scores = {"answer_match": {"f1": [0.5, 0.5, None], "value_accuracy": [1.0, 0.0, None]}}
    sentence = str(run_headline(view_run(write_run(tmp_path / "run", results, scores=scores))))
    assert sentence.startswith("run: value accuracy 0.500 (95 % interval ")
    assert sentence.endswith("over 2 scored lines; 1 line failed.")


def test_metric_rows_lead_with_the_confirmatory_one_and_share_a_zero(tmp_path: Path) -> None:
    results = [line(number, "x") for number in range(4)]
    runs = [
        write_run(
            tmp_path / name,
            results,
            scores={"answer_match": {"bleu": [10.0, 20, 30, 40 + shift], "f1": [0.1, 0.2, 0.3, 0.4 + shift / 100]}},
        )
        for name, shift in (("base", 0), ("tuned", 20))
    ]
    table = metric_table([view_run(run) for run in runs], compare_runs(*runs))
    assert [row.name for row in table.rows] == ["answer_match.f1", "answer_match.bleu"]
    assert [row.confirmatory for row in table.rows] == [True, False]
    assert [row.scale.high for row in table.rows] == [1, 100]
    assert all(row.difference_scale.percent(0) == 50 for row in table.rows)


def test_provenance_marks_what_the_runs_do_not_share(tmp_path: Path) -> None:
    views = [view_run(scored_run(tmp_path / name, [1.0], variant=name)) for name in ("a", "b")]
    differing = {row.name for row in provenance(views) if row.differs}
    assert "variant" in differing
    assert "flow fingerprint" not in differing


def test_provenance_says_who_judged_and_how_far_the_verdicts_agree(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "a", [1.0])
    agreement = {"relevance": Agreement(alpha=0.8123, exact=0.9, within_sd=0.25, n=40)}
    uses = [ConnectionUse(name="judge", host="judge.example:443")]
    judging = Judging(connections=uses, model="gpt-4o", answered_as=["gpt-4o-2024"], repeats=3, agreement=agreement)
    run.write_scores(
        "answer_match",
        run.scores("answer_match"),
        run.metrics("answer_match").model_copy(update={"judging": judging}),
    )
    (judged,) = (row.values for row in provenance([view_run(run)]) if row.name == "scores of answer_match")
    assert judged[0].splitlines() == [
        "judged by gpt-4o, which answered as gpt-4o-2024 at judge (judge.example:443)",
        "relevance: Krippendorff's alpha 0.812; all 3 verdicts equal on 90.0% of 40 lines; standard deviation within a "
        "line 0.250",
    ]


def test_a_run_is_shown_without_its_ground_truth_where_the_data_changed(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run", [1.0])
    Path(run.manifest.data).write_text("{}\n", encoding="utf-8")
    view = view_run(run)
    assert view.rows == {}
    assert view.data_note is not None
    assert "has changed" in view.data_note
    html = write_report([run], output=tmp_path / "report.html").read_text(encoding="utf-8")
    assert "ground truth and required values are not shown" in html


def test_failures_are_counted_by_kind(tmp_path: Path) -> None:
    errors = ["timeout", "503", "timeout", "timeout"]
    run = view_run(write_run(tmp_path / "run", [line(n, None, error=error) for n, error in enumerate(errors)]))
    assert [(failure.message, failure.count) for failure in run.failures] == [("timeout", 3), ("503", 1)]
    assert run.failures[0].line_id == next(iter(run.results))


@pytest.mark.parametrize(
    ("inputs", "outputs", "question", "answer"),
    [
        ({"question": "q", "style": "s"}, {"answer": "a", "usage": {}}, "q", "a"),
        ({"input_data": "q"}, {"output": "a"}, "q", "a"),
        ({"text": "q", "language": "en"}, {"a": 1, "b": 2}, "text: q\nlanguage: en", '{"a": 1, "b": 2}'),
        ({"numbers": [1]}, {"answer": None}, '{"numbers": [1]}', "null"),
    ],
)
def test_any_flows_lines_are_shown(
    tmp_path: Path, inputs: dict[str, object], outputs: dict[str, object], question: str, answer: str
) -> None:
    result = LineResult(line_number=0, line_id="x", status="Completed", inputs=inputs, outputs=outputs, latency_ms=1.0)
    data = embed([view_run(write_run(tmp_path / "run", [result]))])
    assert data["lines"]["question"] == [question]
    assert data["runs"][0]["answer"] == [answer]


def test_lines_of_all_runs_are_embedded_once(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", [line(0, "a"), line(1, None)])
    second = write_run(tmp_path / "second", [line(1, "b"), line(2, "c")], rows=[{}] * 3)
    data = embed([view_run(first), view_run(second)])
    assert data["lines"]["number"] == [0, 1, 2]
    assert [run["answer"] for run in data["runs"]] == [["a", None, None], [None, "b", "c"]]
    assert data["runs"][0]["error"] == [None, ["EndpointError", "the endpoint answered 503", 503], None]


def test_texts_are_cut_only_where_all_together_are_too_large(tmp_path: Path) -> None:
    small = embed([view_run(write_run(tmp_path / "small", [line(0, "x" * 20_000)]))])
    assert small["text_limit"] == 20_000
    assert small["runs"][0]["answer"] == ["x" * 20_000]
    large = embed([view_run(write_run(tmp_path / "large", [line(n, "é" * 5_000) for n in range(1_000)]))])
    limit = large["text_limit"]
    assert SHORTEST_CUT < limit < 5_000
    assert large["runs"][0]["answer"][0] == ["é" * limit, 5_000 - limit]
    assert 0.95 * BUDGET_BYTES < len(to_json(large).encode()) < 1.01 * BUDGET_BYTES


def test_no_text_is_cut_below_the_shortest_cut(tmp_path: Path) -> None:
    turns = [{"inputs": {"question": "é" * 150}}] * 30_000
    data = embed([view_run(write_run(tmp_path / "run", [line(0, "a", chat_history=turns)]))])
    assert data["text_limit"] == SHORTEST_CUT


def test_ids_are_shortened_only_while_they_differ() -> None:
    hashes = [hashlib.sha256(bytes([n])).hexdigest() for n in range(3)]
    assert short_ids([*hashes, f"{hashes[0]}#2", "own"]) == [*(h[:12] for h in hashes), f"{hashes[0][:12]}#2", "own"]
    twins = ["0" * 63 + "1", "0" * 63 + "2"]
    assert short_ids(twins) == twins


@given(st.text(st.characters(), max_size=40))
def test_embedded_json_cannot_end_its_element(text: str) -> None:
    written = to_json([text, "</script>\u2028\ud800"])
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written)[0] == text
    written.encode()


def test_the_page_names_its_script_and_style_and_nothing_outside(tmp_path: Path) -> None:
    runs = [scored_run(tmp_path / name, [0.1, 0.9]) for name in ("a", "b")]
    path = write_report(runs, comparison=compare_runs(*runs), training=[training_record()], output=tmp_path / "r.html")
    page = _Page(path.read_text(encoding="utf-8"))
    assert page.hashes["script"] in page.policy
    assert page.hashes["style"] in page.policy
    assert "default-src 'none'" in page.policy
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert page.inline_handlers == []


class _Page(HTMLParser):
    """What an HTML file refers to and carries."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: set[str] = set()
        self.inline_handlers: list[str] = []
        self.hashes: dict[str, str] = {}
        self.policy = ""
        self._inside: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses |= {str(values[name]) for name in ("src", "href", "action") if name in values}
        self.inline_handlers += [name for name in values if name.startswith("on") or name == "style"]
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(values["content"])
        self._inside = tag if tag in ("script", "style") and "type" not in values else None

    def handle_data(self, data: str) -> None:
        if self._inside:
            digest = base64.b64encode(hashlib.sha256(data.encode()).digest()).decode()
            self.hashes[self._inside] = f"'sha256-{digest}'"
            self._inside = None


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run", [1.0])
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="--output"):
        write_report([run], output=tmp_path / "file" / "report.html")
    output = tmp_path / "report.html"
    write_report([run], output=output)
    before = output.stat().st_ino
    write_report([run], output=output)
    assert output.stat().st_ino != before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_five_thousand_lines_stay_below_five_megabytes(tmp_path: Path) -> None:
    metrics = {f"metric_{n}": [((number * 7919 + n) % 1000) / 997 for number in range(5000)] for n in range(12)}
    runs = []
    for name in ("base", "tuned"):
        results = [line(number, f"{name} {number} " * 60, question=f"What is {number}? " * 8) for number in range(5000)]
        rows = [
            {"ground_truth": f"truth {number} " * 20, "values": [str(number)], "kind": f"kind {number % 100}"}
            for number in range(5000)
        ]
        runs.append(write_run(tmp_path / name, results, rows=rows, scores={"answer_match": metrics}))
    comparison = compare_runs(*runs, by=["kind"])
    assert write_report(runs, comparison=comparison, output=tmp_path / "report.html").stat().st_size < 5_000_000


def test_training_is_read_from_a_folder_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text(training_record().model_dump_json(), encoding="utf-8")
    assert read_training(tmp_path) == read_training(tmp_path / "training.json") == training_record()


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), ("{}", "backend: Field required")])
def test_what_is_no_training_record_is_named(tmp_path: Path, content: str | None, reason: str) -> None:
    if content:
        (tmp_path / "training.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"training.json.*{reason}"):
        read_training(tmp_path)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "raised"])
@pytest.mark.parametrize("ink", ["ink", "muted", "baseline", "candidate", "win", "loss"])
def test_text_has_the_contrast_that_wcag_asks_for(ink: str, ground: str, theme: int) -> None:
    style = (resources.files("phi3flow.report") / "assets" / "report.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([\w-]+): light-dark\((.+?)\)", style))
    text, paper = (_luminance(colours[name].split(", ")[theme]) for name in (ink, ground))
    assert (max(text, paper) + 0.05) / (min(text, paper) + 0.05) >= 4.5


def _luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb (WCAG 2.2)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

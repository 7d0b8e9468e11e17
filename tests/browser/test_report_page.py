"""The report in a real browser, opened from disk."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from phi3flow.comparison.compare import compare_runs
from phi3flow.report import write_report
from phi3flow.runs.folder import RunFolder
from tests.browser.conftest import OpenedReport, wait_for_text
from tests.support.folders.run_folders import line, write_run
from tests.support.folders.training_records import training_record

pytestmark = pytest.mark.browser

Open = Callable[..., OpenedReport]

QUESTIONS = ["Who founded Microsoft?", "How long does the Galvo run?", "Wie heißt der Hub?", "Is it blue?", "Why 503?"]
BASE = ["Nobody knows.", "It runs for 12 hours.", "Kaspin", "Yes.", "No idea."]
TUNED = ["Bill Gates and Paul Allen.", "It runs for 90 hours.", "Kaspin", "No.", None]
TRUTHS = ["Bill Gates and Paul Allen.", "It runs for 90 hours.", "Kaspin", "Yes.", "Because."]
VALUES = [["Bill Gates"], ["90 hours"], [], [], []]


@pytest.fixture
def runs(tmp_path: Path) -> tuple[RunFolder, RunFolder]:
    """Two runs of five lines: two wins, a tie, a loss, and one that failed in the second run, which counts as a tie."""
    rows = [
        {"ground_truth": truth, "values": values, "context": "The manual says so."}
        for truth, values in zip(TRUTHS, VALUES, strict=True)
    ]
    history = [{"inputs": {"question": "Hello?"}, "outputs": {"answer": "Hello! Which product do you have?"}}]

    def write(name: str, answers: list[str | None], f1: list[float], latencies: list[float]) -> RunFolder:
        results = [
            line(number, answer, question=QUESTIONS[number], latency_ms=latencies[number], chat_history=history)
            for number, answer in enumerate(answers)
        ]
        return write_run(tmp_path / name, results, rows=rows, scores={"answer_match": {"f1": f1}})

    return (
        write("base", [*BASE], [0.1, 0.6, 1.0, 1.0, 0.0], [100, 110, 120, 130, 140]),
        write("tuned", [*TUNED], [0.9, 1.0, 1.0, 0.2, 0.0], [300, 100, 90, 500, 40]),
    )


def test_the_verdict_the_metrics_and_the_counts_are_on_the_page(open_report: Open, runs: tuple[RunFolder, ...]) -> None:
    report = open_report(*runs, training=[training_record()])
    assert "f1" in report.texts("h1")[0]
    assert report.page.title() == report.texts("h1")[0].removeprefix("? ")
    assert report.page.get_by_role("row", name=re.compile("base baseline 5 5 0")).count() == 1
    assert report.page.get_by_role("row", name=re.compile("tuned 5 4 ✕ 1")).count() == 1
    for section in ("Metrics", "Failures", "Latency, tokens and cost", "Training", "Lines", "Provenance"):
        assert report.page.get_by_role("heading", name=section, exact=True).is_visible()


def test_filters_show_the_lines_that_compare_counted(open_report: Open, runs: tuple[RunFolder, ...]) -> None:
    report = open_report(*runs)
    counted = compare_runs(*runs).metrics["answer_match.f1"]
    labels = dict(text.rsplit(maxsplit=1) for text in report.texts("#filters button:visible"))
    assert labels == {
        "All": "5",
        "▲ Wins": str(counted.wins),
        "▼ Losses": str(counted.losses),
        "= Ties": str(counted.ties),
        "✕ Failed": "1",
    }
    for label, expected in (
        ("Wins", QUESTIONS[:2]),
        ("Losses", QUESTIONS[3:4]),
        ("Ties", [QUESTIONS[2], QUESTIONS[4]]),
    ):
        report.choose(label)
        assert report.questions() == expected
    report.choose("Failed")
    assert report.questions() == QUESTIONS[4:]
    assert "EndpointError: the endpoint answered 503" in report.texts(".line-answer.candidate")[0]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("microsoft", QUESTIONS[:1]),
        ("GALVO run", QUESTIONS[1:2]),
        ("90 hours", QUESTIONS[1:2]),
        ("heißt", QUESTIONS[2:3]),
        ("endpointerror", QUESTIONS[4:]),
        ("which product", QUESTIONS),
        ("#5feceb66", QUESTIONS[:1]),
        ("5feceb66", []),
        ("nowhere", []),
    ],
)
def test_search_finds_words_anywhere_in_a_line(
    open_report: Open, runs: tuple[RunFolder, ...], query: str, expected: list[str]
) -> None:
    report = open_report(*runs)
    report.page.get_by_role("searchbox").fill(query)
    assert report.questions() == expected
    assert report.page.locator("#no-lines").is_visible() == (not expected)


def test_lines_sort_by_difference_and_by_latency(open_report: Open, runs: tuple[RunFolder, ...]) -> None:
    report = open_report(*runs)
    sort = report.page.get_by_label("Sort")
    for label, order in (
        ("Difference: greatest gain first", [0, 1, 2, 4, 3]),
        ("Difference: greatest loss first", [3, 2, 4, 1, 0]),
        ("Latency: slowest first", [3, 0, 1, 2, 4]),
        ("Score: lowest first", [4, 3, 0, 1, 2]),
        ("Order of the data", [0, 1, 2, 3, 4]),
    ):
        sort.select_option(label=label)
        assert report.questions() == [QUESTIONS[number] for number in order], label


def test_an_open_line_shows_everything_there_is(open_report: Open, runs: tuple[RunFolder, ...]) -> None:
    report = open_report(*runs)
    report.page.get_by_role("button", name=QUESTIONS[1]).click()
    shown = report.texts(".line.open")[0]
    for text in ("Hello?", "Which product do you have?", "The manual says so.", "It runs for 90 hours.", "110 ms"):
        assert text in shown
    assert report.texts(".open .answer.baseline .values li") == ["✕ 90 hours is not in the answer"]
    assert report.texts(".open .answer.candidate .values li") == ["✓ 90 hours is in the answer"]
    assert report.texts(".open .answer.baseline mark.own") == ["12"]
    assert "".join(report.texts(".open .answer.candidate mark.own")) == "90"
    assert report.texts(".open .scores tbody tr") == ["base 0.600", "tuned 1.000", "difference +0.400"]


def test_a_link_opens_its_line_and_follows_what_is_shown(
    open_page: Open, runs: tuple[RunFolder, ...], tmp_path: Path
) -> None:
    path = write_report(runs, comparison=compare_runs(*runs), output=tmp_path / "report.html")
    report = open_page(path, fragment="#lines")
    report.page.get_by_role("button", name=QUESTIONS[3]).click()
    report.choose("Losses")
    address = report.page.url
    again = open_page(path, fragment=address[address.index("#") :])
    assert again.questions() == [QUESTIONS[3]]
    assert again.page.locator(".line.open").count() == 1
    full_hash = open_page(path, fragment=f"#line={runs[0].results()[2].line_id}")
    assert full_hash.texts(".open .line-text") == [QUESTIONS[2]]
    full_hash.page.evaluate(f"location.hash = 'line={runs[0].results()[4].line_id}'")
    wait_for_text(full_hash.page, ".open .line-text", "Why")


def test_the_failures_table_links_to_the_line(open_report: Open, runs: tuple[RunFolder, ...]) -> None:
    report = open_report(*runs)
    report.page.locator("#failures").get_by_role("link").click()
    assert report.texts(".open .line-text") == [QUESTIONS[4]]


def test_the_keyboard_searches_steps_and_closes(open_report: Open, runs: tuple[RunFolder, ...]) -> None:
    report = open_report(*runs)
    press = report.page.keyboard.press

    def opened() -> list[str]:
        return report.texts(".open .line-text")

    press("j")
    assert opened() == QUESTIONS[:1]
    press("j")
    press("j")
    press("k")
    assert opened() == QUESTIONS[1:2]
    assert report.page.evaluate("document.activeElement.classList.contains('open')")
    press("Escape")
    assert opened() == []
    press("/")
    report.page.keyboard.type("jk")
    assert report.page.get_by_role("searchbox").input_value() == "jk"
    assert opened() == []
    press("Escape")
    assert report.questions() == QUESTIONS
    press("Escape")
    press("j")
    assert len(opened()) == 1


def test_the_theme_follows_the_system_until_it_is_chosen(open_report: Open, runs: tuple[RunFolder, ...]) -> None:
    report = open_report(*runs, color_scheme="dark")

    def background() -> str:
        return str(report.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    dark = background()
    button = report.page.get_by_role("button", name="Colours")
    button.click()
    light = background()
    assert light != dark
    report.page.reload()
    assert background() == light
    button.click()
    assert background() == dark
    button.click()
    report.page.emulate_media(color_scheme="light")
    assert background() == light


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_no_width_needs_sideways_scrolling(open_report: Open, runs: tuple[RunFolder, ...], width: int) -> None:
    report = open_report(*runs, training=[training_record()], viewport={"width": width, "height": 800})
    report.page.keyboard.press("j")
    assert report.page.evaluate("document.documentElement.scrollWidth") == width


def test_rows_follow_each_other_whatever_the_open_one_unfolds(open_report: Open, tmp_path: Path) -> None:
    rows = [{"context": "The manual says much. " * 50}] * 5
    report = open_report(write_run(tmp_path / "run", [line(number, "a") for number in range(5)], rows=rows))
    report.page.keyboard.press("j")
    report.page.keyboard.press("j")
    heights = []
    for _ in ("folded", "unfolded"):
        boxes = [box.bounding_box() for box in report.page.locator(".line").all()]
        for above, below in pairwise(boxes):
            assert below["y"] == pytest.approx(above["y"] + above["height"], abs=1)
        heights.append(boxes[1]["height"])
        report.page.get_by_text("Context, 1,100 characters").click()
        report.page.wait_for_timeout(100)
    assert heights[1] > heights[0] + 20


def test_printing_lays_out_every_chosen_line(open_report: Open, tmp_path: Path) -> None:
    results = [line(number, "yes", question=f"question {number}") for number in range(120)]
    report = open_report(write_run(tmp_path / "run", results))
    assert len(report.questions()) < 60
    report.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert len(report.questions()) == 120
    report.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert len(report.questions()) < 60


def test_five_thousand_lines_keep_few_rows_alive(open_report: Open, tmp_path: Path) -> None:
    results = [line(number, f"answer {number}", question=f"question {number}") for number in range(5000)]
    first = write_run(tmp_path / "first", results, scores={"eval": {"f1": [0.0] * 5000}})
    second = write_run(tmp_path / "second", results, scores={"eval": {"f1": [n % 2 for n in range(5000)]}})
    report = open_report(first, second)
    seen = set()
    for share in (0, 0.3, 0.7, 1):
        report.page.evaluate(f"scrollTo(0, {share} * document.documentElement.scrollHeight)")
        report.page.wait_for_timeout(50)
        questions = report.questions()
        assert 0 < len(questions) < 60
        seen.update(questions)
    assert {"question 0", "question 4999"} <= seen
    report.page.get_by_role("searchbox").fill("question 4321")
    assert report.questions() == ["question 4321"]
    report.page.get_by_role("searchbox").fill("")
    report.choose("Wins")
    assert "2,500 of 5,000 lines" in report.texts("#shown-count")[0]
    assert report.questions()[0] == "question 1"


def test_opening_a_far_line_brings_it_into_sight(open_report: Open, tmp_path: Path) -> None:
    results = [line(number, f"answer {number}", question=f"question {number}") for number in range(3000)]
    report = open_report(write_run(tmp_path / "run", results), fragment=f"#line={results[2500].line_id}")
    box = report.page.locator(".line.open").bounding_box()
    assert 0 <= box["y"] < 900
    report.page.keyboard.press("j")
    assert report.texts(".open .line-text") == ["question 2501"]
    assert 0 <= report.page.locator(".line.open").bounding_box()["y"] < 900


def test_runs_without_scores_are_compared_by_their_answers(open_report: Open, tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", [line(0, "a"), line(1, "b")])
    second = write_run(tmp_path / "second", [line(0, "a"), line(1, "c")])
    report = open_report(first, second)
    assert "not scored" in report.texts("h1")[0]
    assert report.page.locator("#metrics").count() == 0
    assert report.texts("#filters button:visible") == [
        "All 2",
        "Δ Answers differ 1",
        "= Answers alike 1",
        "✕ Failed 0",
    ]


def test_a_single_run_shows_its_scores_without_a_comparison(open_report: Open, tmp_path: Path) -> None:
    results = [line(0, "good", question="one"), line(1, "bad", question="two")]
    report = open_report(write_run(tmp_path / "run", results, scores={"answer_match": {"f1": [0.8, 0.2]}}))
    assert report.texts("h1")[0].startswith("run: f1 0.500")
    report.page.get_by_label("Sort").select_option(label="Score: lowest first")
    assert report.questions() == ["two", "one"]
    assert report.page.locator("th", has_text="Difference").count() == 0


def test_a_run_with_every_line_failed_says_so(open_report: Open, tmp_path: Path) -> None:
    report = open_report(write_run(tmp_path / "run", [line(n, None, error="401: wrong key") for n in range(3)]))
    assert report.texts("h1")[0] == "✕ Every line of run failed: EndpointError: 401: wrong key."
    assert report.page.locator("#latency").count() == 0
    assert len(report.texts(".line .problem")) == 3


def test_a_run_without_a_line_still_opens(open_report: Open, tmp_path: Path) -> None:
    report = open_report(write_run(tmp_path / "run", [], status="Running"))
    assert report.texts("h1")[0] == "run has no line: the run is Running."
    assert report.page.locator("#no-lines").is_visible()


def test_three_runs_are_each_compared_with_the_first(open_report: Open, tmp_path: Path) -> None:
    runs = [
        write_run(
            tmp_path / name,
            [line(0, name), line(1, name)],
            scores={"answer_match": {"f1": scores}},
        )
        for name, scores in (("a", [0.5, 0.5]), ("b", [1.0, 0.5]), ("c", [0.0, 0.0]))
    ]
    report = open_report(*runs)
    assert len(report.texts("h1 > span")) == 2
    report.choose("Losses")
    assert report.questions() == []
    report.page.get_by_label("Candidate").select_option(label="c")
    assert len(report.questions()) == 2
    assert report.texts(".line-answer.candidate .said") == ["c", "c"]


def test_lines_of_one_run_only_are_named(open_report: Open, tmp_path: Path) -> None:
    scores, rows = {"e": {"f1": [1.0, 1.0]}}, [{}] * 3
    first = write_run(tmp_path / "first", [line(0, "a"), line(1, "b")], scores=scores, rows=rows)
    second = write_run(tmp_path / "second", [line(0, "a"), line(2, "c")], scores=scores, rows=rows)
    report = open_report(first, second)
    report.choose("In one run only")
    assert report.texts(".line-answer.candidate .said") == ["not in this run", "c"]


def test_a_line_that_failed_counts_and_says_what_as(open_report: Open, tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [line(0, "a")], scores={"quality": {"fluency": [0.8]}})
    tuned = write_run(tmp_path / "tuned", [line(0, None)], scores={"quality": {"fluency": [0.0]}})
    report = open_report(base, tuned)
    assert report.texts("#filters button:visible") == ["All 1", "▲ Wins 0", "▼ Losses 1", "= Ties 0", "✕ Failed 1"]
    report.page.locator(".line-question button").click()
    assert report.texts(".line-facts .chip") == ["▼ loss", "✕ failed"]
    assert report.texts(".scores tbody tr") == [
        "base 0.800",
        "tuned failed: counts as 0.000",
        "difference −0.800",
    ]


def test_an_open_line_shows_what_the_judge_said_as_text(open_report: Open, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [line(0, "a"), line(1, "b")], scores={"quality": {"fluency": [0.8, None]}})
    scores = run.scores("quality")
    reason = "<b>fluent</b><script>alert(1)</script>"
    scores[0] = scores[0].model_copy(update={"texts": {"fluency_reason": reason}})
    scores[1] = scores[1].model_copy(update={"failures": {"fluency": "the verdict '<i>good</i>' is no number"}})
    run.write_scores("quality", scores, run.metrics("quality"))
    report = open_report(run)
    report.page.locator(".line-question button").first.click()
    assert report.texts(".answer .block") == [f"fluency reason {reason}"]
    report.page.keyboard.press("j")
    assert report.texts(".answer .problem") == ["✕ not scored: quality.fluency: the verdict '<i>good</i>' is no number"]
    report.page.get_by_role("searchbox").fill("alert(1)")
    assert len(report.questions()) == 1

"""phi3flow gate: exit codes, what people, programs and CI services get to see, and the pipelines that call it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from markdown_it import MarkdownIt

from phi3flow.cli.main import VERBS, build_parser, main
from phi3flow.gating import parse_rule
from tests.support.command_line import Done, phi3flow
from tests.support.folders.answered_runs import make_run
from tests.support.paths import FLOWS, ROOT
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Request

PIPELINES = [ROOT / ".github/workflows/evaluate.yml", ROOT / "docs/ci/azure-pipelines.yml"]
ROWS = [{"question": f"q{number}"} for number in range(100)]
KEY = "key-of-the-test-0123456789"

PASSED = "f1 >= 0.5"
FAILED = "f1 >= 0.9"
UNDECIDED = "f1 >= 0.6"
NO_WORSE = "answer_match.f1 no worse than baseline by 0.05"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with two scored runs of 100 lines, base and then tuned, whose f1 is 0.6 within about 0.02."""
    for name, step in (("base", 0.0), ("tuned", 0.01)):
        scores = {"answer_match": {"f1": [0.5 - step, 0.7 + step] * 50, "bleu": [30.0, 40.0] * 50}}
        make_run(tmp_path / ".runs", name, ROWS, ["x"] * 100, scores=scores)
    return tmp_path


def _gate(project: Path, *rules: str, arguments: Sequence[str] = (), run: str = "tuned") -> Done:
    return phi3flow("gate", run, *(word for rule in rules for word in ("--rule", rule)), *arguments, cwd=project)


@pytest.mark.parametrize(
    ("rules", "arguments", "code", "outcome"),
    [
        ([PASSED], [], 0, "passed"),
        ([PASSED, FAILED], [], 1, "failed"),
        ([PASSED, UNDECIDED], [], 1, "undecided"),
        ([UNDECIDED, FAILED], [], 1, "failed"),
        ([PASSED, UNDECIDED], ["--undecided", "pass"], 0, "undecided"),
        ([PASSED, FAILED], ["--undecided", "pass"], 1, "failed"),
        ([UNDECIDED], ["--undecided", "fail"], 1, "undecided"),
        ([NO_WORSE], ["--baseline", "base"], 0, "passed"),
        (["f1 better than baseline by 0.1"], ["--baseline", "base"], 1, "failed"),
        (["lines >= 100", "failed <= 0%"], [], 0, "passed"),
        (["lines > 100"], [], 1, "failed"),
    ],
)
def test_the_exit_code_says_what_the_rules_say(project, rules, arguments, code, outcome):
    done = _gate(project, *rules, arguments=[*arguments, "--json"])
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (code, outcome), done.stderr


def test_json_has_the_documented_shape(project):
    done = _gate(project, UNDECIDED, NO_WORSE, arguments=["--baseline", "base", "--json"])
    printed = json.loads(done.stdout)
    assert {"run", "baseline", "outcome", "rules"} <= set(printed)
    assert (printed["run"], printed["baseline"], printed["outcome"]) == ("tuned", "base", "undecided")
    assert (printed["n_paired"], printed["unmatched"]) == (100, {"baseline": 0, "candidate": 0})
    threshold, margin = printed["rules"]
    documented = {"rule", "outcome", "value", "low", "high", "threshold", "margin", "lines_needed", "sentence"}
    assert documented <= set(threshold)
    assert (threshold["rule"], threshold["threshold"], threshold["margin"]) == (UNDECIDED, 0.6, None)
    assert (margin["rule"], margin["threshold"], margin["margin"]) == (NO_WORSE, None, 0.05)
    assert (margin["metric"], margin["n"], margin["value"]) == ("answer_match.f1", 100, pytest.approx(0.0, abs=1e-9))
    assert margin["low"] < 0 < margin["high"]


def test_text_shows_each_rule_its_bounds_the_lines_needed_and_the_pairing(project):
    make_run(project / ".runs", "more", [*ROWS, {"question": "new"}], ["x"] * 101, scores=_scores([0.55] * 101))
    rules = ["answer_match.f1 >= 0.5", "f1 better than baseline"]
    done = _gate(project, *rules, arguments=["--baseline", "base"], run="more")
    text = " ".join(done.stdout.split())
    assert done.stdout.startswith("Gate failed: more against base\n")
    interval = r"0\.5500 \[0\.(5[0-4]\d\d), 0\.(5[5-9]\d\d)\] 101"
    assert re.search(rf"passed answer_match.f1 >= 0.5 {interval}", text), "and no interval has width zero"
    assert "failed f1 better than baseline -0.0500 [-0.0881, -0.0089] 100" in text
    assert "answer_match.f1 differs from the baseline by -0.0500 (95 % interval -0.0881 to -0.0089, 100 lines)" in text
    assert "100 lines paired; only in the baseline: 0, only in the run: 1." in text
    undecided = _gate(project, "bleu >= 34.5")
    [needed] = re.findall(r"About ([\d,]+) lines would decide with 80 % power", undecided.stdout)
    assert int(needed.replace(",", "")) > 100
    assert needed in undecided.stdout.split("\nanswer_match.bleu")[0], "the table has it too"


def _scores(f1: Sequence[float | None]) -> dict[str, dict[str, Sequence[float | None]]]:
    return {"answer_match": {"f1": f1}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--rule", "f1 => 0.5"],
            "--rule 'f1 => 0.5', position 4: expected >=, >, <=, <, no worse than or better than",
        ),
        (["--rule", "f2 >= 0.5"], "metric 'f2' is unknown: there are answer_match.f1, answer_match.bleu"),
        (["--rule", NO_WORSE], "needs a baseline: --baseline RUN"),
        (["--rule", NO_WORSE, "--baseline", "bare"], "run bare is not scored by answer_match (it has: no scores)"),
        (["--rule", NO_WORSE, "--baseline", "bare"], "phi3flow score bare --flow flows/eval/answer_match"),
        (["--rule", NO_WORSE, "--baseline", "nowhere"], "there is no run 'nowhere'"),
        (["--rule", NO_WORSE, "--baseline", "other"], "have no line in common"),
        (["--rule", PASSED, "--baseline", "base"], "no rule compares with it"),
        ([], "the following arguments are required: --rule"),
        (["--rule", PASSED, "--undecided", "maybe"], "invalid choice: 'maybe'"),
    ],
)
def test_what_cannot_be_decided_exits_2_says_why_and_writes_nothing(project, arguments, message):
    make_run(project / ".runs", "bare", ROWS, ["x"] * 100)
    make_run(project / ".runs", "other", [{"question": "z"}], ["x"], scores=_scores([0.5]))
    done = phi3flow("gate", "tuned", *arguments, "--junit", "gate.xml", cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert not (project / "gate.xml").exists()


def test_lines_are_paired_by_a_column_where_the_rows_differ_otherwise(project):
    rows = [{**row, "revision": 2} for row in ROWS]
    make_run(project / ".runs", "revised", rows, ["x"] * 100, scores=_scores([0.5, 0.7] * 50))
    arguments = ["--baseline", "base"]
    assert _gate(project, NO_WORSE, arguments=arguments, run="revised").returncode == 2
    assert _gate(project, NO_WORSE, arguments=[*arguments, "--pair-by", "question"], run="revised").returncode == 0


# files


def test_junit_has_a_case_a_rule_and_says_which_are_undecided(project):
    _gate(project, PASSED, FAILED, UNDECIDED, arguments=["--junit", "out/gate.xml"])
    suite = ElementTree.parse(project / "out" / "gate.xml").getroot().find("testsuite")
    assert [suite.get(name) for name in ("tests", "failures", "skipped", "errors")] == ["3", "2", "0", "0"]
    cases = {case.get("name"): case for case in suite.findall("testcase")}
    assert list(cases) == [PASSED, FAILED, UNDECIDED]
    assert cases[PASSED].find("failure") is None
    assert [cases[rule].find("failure").get("type") for rule in (FAILED, UNDECIDED)] == ["failed", "undecided"]
    assert "undecided: the interval holds 0.6" in cases[UNDECIDED].find("failure").get("message")
    _gate(project, PASSED, UNDECIDED, arguments=["--junit", "gate.xml", "--undecided", "pass"])
    suite = ElementTree.parse(project / "gate.xml").getroot().find("testsuite")
    assert [suite.get(name) for name in ("tests", "failures", "skipped")] == ["2", "0", "1"]


def _html(markdown: str) -> str:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown)


def test_markdown_is_a_table_that_names_the_outcome(project):
    _gate(project, PASSED, UNDECIDED, arguments=["--markdown", "gate.md", "--undecided", "pass"])
    page = _html((project / "gate.md").read_text(encoding="utf-8"))
    assert "<h2>Gate undecided (undecided rules are let pass): tuned</h2>" in page
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert cells[0] == "✅ passed"
    assert cells[1] == "f1 &gt;= 0.5"
    assert cells[5] == "❔ undecided"
    assert page.count("<li>") == 2


def test_names_from_elsewhere_are_text_and_never_markup(project):
    name = "a|b[x](https://e.vil)`*c*_d_`www.e.vil&amp;#1~~e~~\u202e"
    folder = project / ".runs" / "run|<b>`x`<script>"
    shutil.copytree(project / ".runs" / "tuned", folder)
    metrics = folder / "scores" / "answer_match" / "metrics.json"
    metrics.write_text(metrics.read_text("utf-8").replace('"f1"', json.dumps(name)), encoding="utf-8")
    files = ["--markdown", "g.md", "--junit", "g.xml"]
    done = _gate(project, f"answer_match.{name} >= 0.5", "bleu >= 1", arguments=files, run=folder.name)
    assert done.returncode == 0, done.stderr
    markdown = (project / "g.md").read_text(encoding="utf-8")
    page = _html(markdown)
    assert not re.search(r"<(script|b|a|code|em|img|s)\b", page)
    assert page.count("<td") == 10
    assert "a|b[x](https://e.vil)`*c*_d_`www.e.vil&amp;amp;#1~~e~~⟨U+202E⟩ &gt;= 0.5" in page
    assert "https://" not in markdown, "GitHub makes links of what looks like one"
    assert "www." not in markdown
    assert "\u202e" not in page + done.stdout
    suite = ElementTree.parse(project / "g.xml").getroot().find("testsuite")
    assert suite.get("name") == "phi3flow gate run|<b>`x`<script>"
    assert len(suite.findall("testcase")) == 2


def test_control_characters_in_a_rule_reach_no_terminal_and_no_file(project):
    done = _gate(project, "f1 >= 0.5\x1b[2J")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    (project / ".runs" / "tuned").rename(project / ".runs" / "tu\x1bned")
    done = _gate(project, PASSED, arguments=["--markdown", "g.md", "--junit", "g.xml"], run="tu\x1bned")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + (project / "g.md").read_text() + (project / "g.xml").read_text()


# pipelines


def _steps(path: Path) -> Iterator[dict[str, Any]]:
    whole = yaml.safe_load(path.read_text(encoding="utf-8"))
    for job in whole["jobs"].values() if "jobs" in whole else [whole]:
        yield from job["steps"]


def _scripts(path: Path) -> list[tuple[str, dict[str, str]]]:
    """Each step's shell script, and what its environment names."""
    return [
        (step.get("run") or step["script"], step.get("env", {})) for step in _steps(path) if {"run", "script"} & {*step}
    ]


def _commands(script: str) -> Iterator[list[str]]:
    """Yield the arguments of each phi3flow command of a shell script."""
    for line in script.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word in ("||", "&&", ";", "|"):
                if words[:1] == ["phi3flow"]:
                    yield words[1:]
                words = []
            else:
                words.append(word)


def _all_commands(path: Path) -> list[list[str]]:
    return [words for script, _ in _scripts(path) for words in _commands(script)]


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_the_commands_of_a_pipeline_are_ones_that_exist(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    commands = _all_commands(path)
    assert {words[0] for words in commands} == {"batch-run", "score", "report", "gate"}
    for words in commands:
        assert words[0] in VERBS
        arguments = build_parser(words[0]).parse_args(words)
        for rule in getattr(arguments, "rule", []):
            parse_rule(rule)
        for word in words:
            name = word.removeprefix("main-branch/")
            assert not name.startswith(("flows/", "data/")) or Path(name).exists(), word


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_the_key_reaches_only_the_steps_that_ask_the_endpoint(path):
    for script, environment in _scripts(path):
        assert ("PHI3_KEY" in environment) == ("batch-run" in script)
        assert "KEY" not in script
        assert "${{" not in script, "what an event says is not pasted into a shell"
    text = path.read_text(encoding="utf-8")
    assert text.count("${{ secrets.") == text.count("PHI3_KEY: ${{ secrets.PHI3_KEY }}")


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_a_pipeline_gates_with_a_baseline_and_publishes_what_came_out(path):
    [gate] = [words for words in _all_commands(path) if words[0] == "gate"]
    arguments = build_parser("gate").parse_args(gate)
    assert (arguments.run, arguments.baseline, arguments.undecided) == ("candidate", "main", "fail")
    assert any("no worse than baseline" in rule for rule in arguments.rule)
    text = path.read_text(encoding="utf-8")
    for name in ("gate.md", "gate.xml", "report.html"):
        assert text.count(name) >= 2, name


def test_every_rule_of_the_documentation_can_be_read():
    page = (ROOT / "docs/ci/README.md").read_text(encoding="utf-8")
    rules = re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)
    assert len(rules) == 6
    for rule in rules:
        parse_rule(rule)


def _gate_commands(path: Path) -> list[list[str]]:
    """Return the commands that gate a pull request where nothing is kept of main."""
    commands = _all_commands(path)
    first = next(place for place, words in enumerate(commands) if words[1].startswith("main-branch/"))
    return commands[first:]


def test_the_pipelines_give_the_same_commands():
    github, azure = map(_gate_commands, PIPELINES)
    assert github == azure


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A working folder as the pipeline has it, main's flows beside it; the rows of its held-out lines are returned."""
    (tmp_path / "main-branch").mkdir()
    for place in (tmp_path / "flows", tmp_path / "main-branch" / "flows"):
        place.symlink_to(FLOWS)
    (tmp_path / "connections").symlink_to(ROOT / "connections")
    lines = (ROOT / "data/test_lines.jsonl").read_text("utf-8").splitlines(keepends=True)[:230]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/test_lines.jsonl").write_text("".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHI3_KEY", KEY)
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_the_pipeline_lets_an_equal_flow_pass_and_stops_a_worse_one(checkout, monkeypatch, capsys):
    truths = {row["question"]: row["ground_truth"] for row in checkout}
    forgotten: set[str] = set()

    def answer(request: Request) -> Reply:
        return Reply(answer="I do not know." if request.question in forgotten else truths[request.question])

    commands = _gate_commands(PIPELINES[0])
    with FaultEndpoint(answer, key=KEY) as endpoint:
        monkeypatch.setenv("PHI3_ENDPOINT", endpoint.url)
        assert [main(words) for words in commands] == [0] * 6, capsys.readouterr().err
        forgotten.update(list(truths)[::5])
        batch_run, score, gate = commands[1], commands[3], commands[5]
        codes = [main(words) for words in ([*batch_run, "--fresh"], score, gate)]
    assert codes == [0, 0, 1]
    junit = ElementTree.parse("gate.xml").getroot().find("testsuite")
    stopped = [case.get("name") for case in junit.findall("testcase") if case.find("failure") is not None]
    assert stopped == [rule for rule in build_parser("gate").parse_args(gate).rule if "baseline" in rule]
    assert "Gate failed" in Path("gate.md").read_text(encoding="utf-8")
    assert KEY not in "".join(capsys.readouterr())

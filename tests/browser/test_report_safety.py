"""What a hostile question, answer or name cannot do to the reader of a report."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from phi3flow.records.lines import LineResult
from tests.browser.conftest import OpenedReport
from tests.browser.hostile_texts import PAYLOADS
from tests.support.folders.run_folders import line, write_run
from tests.support.folders.training_records import service_training_record, training_record

pytestmark = pytest.mark.browser

Open = Callable[..., OpenedReport]

FOREIGN = (
    "img, iframe, object, embed, base, video, audio, svg script, body link, [onload], a[href^=http], a[href^=java]"
)
NAMES = ["<img src=x onerror=alert(1)>", '"><script>alert(1)<script>']


def test_no_text_becomes_markup(open_report: Open, tmp_path: Path) -> None:
    everywhere = {payload: payload for payload in PAYLOADS}
    rows = [{"ground_truth": [payload] * 2, "values": [payload], "context": payload} for payload in PAYLOADS]
    runs = [
        write_run(
            tmp_path / name,
            [_hostile_line(number, payload, f"{payload} {name}") for number, payload in enumerate(PAYLOADS)],
            rows=rows,
            scores={NAMES[0]: {payload: [number / 20] * len(PAYLOADS) for payload in PAYLOADS}},
            flow=PAYLOADS[0],
            parameters={"init": everywhere, "made_by": PAYLOADS[0]},
            connections={payload: {"name": payload, "host": payload} for payload in PAYLOADS},
            versions=everywhere,
        )
        for number, name in enumerate(NAMES)
    ]
    service = service_training_record(
        backend=PAYLOADS[1], base_model=PAYLOADS[0], parameters=everywhere, data=everywhere
    )
    report = open_report(*runs, training=[training_record(base_model=PAYLOADS[0], parameters=everywhere), service])
    for payload in PAYLOADS:
        report.page.keyboard.press("j")
        shown = re.sub("[\u2028\u2029\u202c\u202e]", lambda found: f"⟨U+{ord(found.group()):04X}⟩", payload)
        assert "".join(report.texts(".open .line-text")[0].split()) == "".join(shown.split())
    assert len(PAYLOADS) >= 50
    report.page.get_by_role("searchbox").fill("<")
    assert report.page.locator("mark.found").count() > 0
    assert report.page.locator("script").count() == 2
    assert report.page.locator("style").count() == 1
    assert report.page.locator(FOREIGN).count() == 0


def _hostile_line(number: int, payload: str, answer: str) -> LineResult:
    history = [{"inputs": {"question": payload}, "outputs": {"answer": payload}}]
    failed = number == len(PAYLOADS) - 1
    return line(
        number,
        None if failed else answer,
        question=payload,
        error=payload,
        chat_history=history,
        line_id=f"{number} {payload}",
    )


def test_characters_that_hide_or_reorder_are_written_out(open_report: Open, tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run", [line(0, "pay \u202e001\u202c now\u200b\x07", question="a\u2066b\x1b[31m")], flow="x\u202ey"
    )
    report = open_report(run)
    assert report.questions() == ["a⟨U+2066⟩b⟨U+001B⟩[31m"]
    assert report.texts(".line-answer .said") == ["pay ⟨U+202E⟩001⟨U+202C⟩ now⟨U+200B⟩⟨U+0007⟩"]
    assert "x⟨U+202E⟩y" in report.texts("#provenance")[0]


def test_emoji_and_joined_scripts_stay_whole(open_report: Open, tmp_path: Path) -> None:
    text = "👩‍🔬 می‌خواهم क्‍ष 한국어"
    report = open_report(write_run(tmp_path / "run", [line(0, text, question=text)]))
    assert report.questions() == [text]
    assert report.page.locator(".invisible").count() == 0


def test_the_policy_refuses_other_scripts_styles_and_requests(open_report: Open, tmp_path: Path) -> None:
    report = open_report(write_run(tmp_path / "run", [line(0, "a")]))
    outcome = report.page.evaluate(
        """async () => {
            const tries = {};
            const attempt = async (name, action) => {
                try { await action(); tries[name] = "done"; } catch (error) { tries[name] = error.name; }
            };
            await attempt("markup", () => { document.body.innerHTML = "<b>x</b>"; });
            await attempt("request", () => fetch("http://127.0.0.1:9/"));
            const script = document.createElement("script");
            await attempt("script", () => { script.text = "window.ran = true"; });
            script.append("window.ran = true");
            document.body.append(script);
            const box = document.createElement("p");
            box.setAttribute("style", "color: rgb(1, 2, 3)");
            document.body.append(box);
            return { ...tries, ran: window.ran ?? false, colour: getComputedStyle(box).color };
        }"""
    )
    assert (outcome["markup"], outcome["request"], outcome["script"]) == ("TypeError", "TypeError", "TypeError")
    assert outcome["ran"] is False
    assert outcome["colour"] != "rgb(1, 2, 3)"
    assert len(report.complaints) >= 4
    report.complaints.clear()
    report.requests.clear()

"""The pages say what is there: paths exist, the map lists the rooms, and questions lead to the files that they name."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from phi3flow.cli.main import VERBS
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "phi3flow"
ARCHITECTURE = DOCS / "architecture.md"
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
STATUS = re.compile(r"Date: \d{4}-\d\d-\d\d · Status: accepted(?:; superseded in part by ((?:\d{4}(?:, )?)+))?")
NAMED_BARE = ("src", "flows", "docs", "scripts", "benchmarks")
"""Where a file lies that is named without its folder; what tests stand on is named with it."""


def _tracked() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]


FILES = _tracked()
FOLDERS = {parent.as_posix() for name in FILES for parent in Path(name).parents} - {"."}
TOPS = {folder.removeprefix("src/phi3flow/").partition("/")[0] for folder in FOLDERS}
PAGES = [name for name in FILES if name.endswith(".md")]


def _prose(page: str) -> str:
    return re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def _section(heading: str, page: Path = ARCHITECTURE) -> str:
    """Return what stands under a heading, up to the next of its level or above."""
    _, _, after = page.read_text(encoding="utf-8").partition(f"\n{heading}\n")
    level = heading.index(" ")
    return re.split(rf"^#{{1,{level}}} ", after, maxsplit=1, flags=re.MULTILINE)[0]


def _rows(section: str) -> list[list[str]]:
    """Return the cells of a section's table rows, without headings."""
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in re.findall(r"^\|.*\|$", section, re.M)]
    return [row for row in rows if row[0].startswith(("[`", "`")) or row[-1].startswith("`")]


def _named_paths(page: str) -> set[str]:
    """Return the paths that a page names: what stands in backticks under a folder of ours, and every Python file.

    Without links, which have a test of their own, and without names that hold a <word> to be filled in.
    """
    prose = re.sub(r"\]\([^)]*\)|[\w./-]*<\w+>\S*", "", _prose(page))
    quoted = re.findall(r"`([\w.-]+/[\w./-]*)`", prose)
    return {word for word in quoted if word.partition("/")[0] in TOPS} | set(re.findall(r"[\w./-]+\.py\b", prose))


def _is_there(name: str) -> bool:
    """Whether a path is that of a file or a folder, from the project's folder or from one within it."""
    name = name.rstrip("/")
    paths = [path for path in (*FILES, *FOLDERS) if path == name or path.endswith(f"/{name}")]
    is_clear = "/" in name or name.startswith("test_")
    return any(is_clear or path == name or path.startswith(NAMED_BARE) for path in paths)


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_exists(page: str) -> None:
    assert [name for name in sorted(_named_paths(page)) if not _is_there(name)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in _anchors(file), target


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_floors_are_those_that_the_linter_holds() -> None:
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    drawing = _section("## The floors").split("```")[1].strip().splitlines()
    assert [re.match(r"\w+(?: \| \w+)*", line).group() for line in drawing] == contract["layers"]  # type: ignore[union-attr]


def _map() -> dict[str, list[str]]:
    """Return the map's rows by the name of their room; those outside of src/phi3flow end in a slash."""
    return {row[0].split("`")[1]: row for row in _rows(_section("## The map"))}


def test_the_map_lists_every_room_and_no_other() -> None:
    rooms = {path.parent.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*/__init__.py")}
    modules = {path.stem for path in SOURCE.glob("*.py")} - {"__init__"}
    assert {name for name in _map() if not name.endswith("/")} == rooms | modules


def test_the_map_lists_every_folder_beside_the_source() -> None:
    folders = {name.partition("/")[0] for name in FILES if "/" in name and not name.startswith(".")} - {"src"}
    assert {name.rstrip("/") for name in _map() if name.endswith("/")} == folders


@pytest.mark.parametrize("room", _map())
def test_a_row_of_the_map_names_files_of_its_room_and_what_it_never_does(room: str) -> None:
    name, purpose, invariant = _map()[room]
    link = (DOCS / name.split("(")[1].rstrip(")")).resolve()
    assert link.relative_to(ROOT).as_posix().removeprefix("src/phi3flow/").removesuffix(".py") == room.rstrip("/")
    assert re.search(r"\b(never|nothing|none)\b", invariant)
    for file in re.findall(r"`([\w-]+\.(?:py|md))`", purpose):
        assert list(link.rglob(file)) if room.endswith("/") else (link / file).is_file(), file


def test_the_folders_of_the_tests_are_listed() -> None:
    folders = {name.split("/")[1] for name in FILES if name.startswith("tests/") and name.count("/") > 1}
    rows = _rows(_section("### Tests"))
    assert {row[0].strip("`").removeprefix("tests/") for row in rows} == folders


QUESTIONS = _rows(_section("## A reader's test"))


def test_a_newcomer_has_questions() -> None:
    assert len(QUESTIONS) >= 12


@pytest.mark.parametrize(("question", "room", "file"), QUESTIONS)
def test_a_question_leads_to_its_file_in_two_steps(question: str, room: str, file: str) -> None:
    """From the map to the row of the room, and from the row to the file."""
    room, path = room.strip("`"), ROOT / file.strip("`")
    assert path.is_file()
    folder = ROOT / room if room.endswith("/") else SOURCE / room
    assert path.is_relative_to(folder)
    assert f"`{path.name}`" in _map()[room][1]


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_its_number_a_date_and_a_status(decision: Path) -> None:
    title, _, status = decision.read_text(encoding="utf-8").splitlines()[:3]
    assert title.startswith(f"# {int(decision.name[:4])}. ")
    match = STATUS.fullmatch(status)
    assert match, status
    later = re.findall(r"\d{4}", match[1] or "")
    numbers = [path.name[:4] for path in DECISIONS]
    assert all(number in numbers and number > decision.name[:4] for number in later)


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_the_index_links_every_page() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", _prose("docs/README.md"))
    linked = {(DOCS / link).resolve().relative_to(ROOT).as_posix() for link in links}
    assert {name for name in FILES if name.startswith("docs/")} - linked == {"docs/README.md"}


def test_the_commands_have_a_table_of_contents() -> None:
    contents = _prose("docs/cli.md").partition("\n## ")[0]
    assert re.findall(r"^- \[([\w-]+)\]", contents, re.MULTILINE) == list(VERBS)


def test_the_changelog_is_grouped() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    for version in versions:
        groups = re.findall(r"^### (.+)$", version, re.MULTILINE)
        assert groups == [group for group in ("Added", "Changed", "Fixed") if group in groups]
        assert groups
        assert "\n- " not in version.partition("\n### ")[0]

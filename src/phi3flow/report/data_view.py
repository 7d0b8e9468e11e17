"""What is known of the data that runs answered: its data card, and the lines that training has seen too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from phi3flow.datasets.card import DataCard
from phi3flow.datasets.leaks import leaked_lines
from phi3flow.datasets.preparation import CARD_FILE
from phi3flow.errors import DatasetError
from phi3flow.records.validation import first_problem
from phi3flow.text import plural

if TYPE_CHECKING:
    from phi3flow.runs.folder import RunFolder


@dataclass(frozen=True)
class DataView:
    """A data file: facts of its card by name, and the numbers of its lines that stand in train or validation."""

    path: Path
    facts: dict[str, str]
    leaked: frozenset[int]


class DataViews:
    """The data of runs, each file read once: runs share it, and a page that follows a run is made again and again."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], DataView] = {}

    def of(self, run: RunFolder) -> DataView:
        """Return what is known of the data of ``run``."""
        manifest = run.manifest
        key = (manifest.data, manifest.data_sha256)
        if key not in self._known:
            self._known[key] = _view_data(run, Path(manifest.data), manifest.data_sha256)
        return self._known[key]


def _view_data(run: RunFolder, path: Path, sha256: str) -> DataView:
    try:
        leaked = frozenset(leaked_lines(path, run.data_rows()))
    except DatasetError:  # the data is gone or has changed, which the page says elsewhere
        leaked = frozenset()
    return DataView(path, _card_facts(path.parent / CARD_FILE, sha256), leaked)


def _card_facts(file: Path, sha256: str) -> dict[str, str]:
    """Return the card's main facts; one that cannot be read, or is of other data, is named as that."""
    try:
        card = DataCard.model_validate_json(file.read_bytes())
    except OSError:
        return {}
    except ValidationError as error:
        reason = first_problem(error).message
        return {"data card": f"{file} is damaged, or was written by another version: {reason}"}
    if sha256 not in {facts.sha256 for facts in card.files.values()}:
        return {"data card": f"{file} does not name these data: they have changed, or lie beside it by chance"}
    return {
        "data source": "\n".join(f"{name} = {_text(value)}" for name, value in card.source.items()),
        "data splits": _splits(card),
        "duplicates removed": _duplicates(card),
        "leakage check": _leakage(card),
    }


def _splits(card: DataCard) -> str:
    ratios = f", {' : '.join(f'{ratio:g}' for ratio in card.ratios)}" if card.ratios else ""
    splits = [
        f"{name}: {plural(facts.conversations, 'conversation')}, {plural(facts.turns, 'turn')}"
        for name, facts in card.splits.items()
    ]
    return "\n".join([f"seed {card.seed}{ratios}", *splits])


def _duplicates(card: DataCard) -> str:
    removed = card.duplicates_removed
    facts = [f"{removed.exact:,} exact, {removed.normalised:,} but for case, spaces or marks"] if removed else []
    if card.malformed_skipped:
        facts.append(f"{plural(card.malformed_skipped, 'malformed row')} skipped")
    return "\n".join(facts)


def _leakage(card: DataCard) -> str:
    compared = ", ".join(f"{count:,} of {name}" for name, count in card.leakage.questions_compared.items())
    left_out = plural(card.leakage.test_lines_left_out, "test line")
    return f"distinct questions compared: {compared}; no split stands in another; {left_out} left out"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ", ".join(map(str, value)) if isinstance(value, list) else f"{value}"

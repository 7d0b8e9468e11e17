"""A fine-tune as the report shows it: curves, scores before and after, and what was forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from phi3flow.errors import ConfigError
from phi3flow.records.training import TrainingRecord
from phi3flow.records.validation import first_problem
from phi3flow.report.figures import TrainingFigure, training_figure
from phi3flow.report.run_view import as_text
from phi3flow.report.wording import number

_NOTABLE = 0.05


@dataclass(frozen=True)
class BeforeAfter:
    """One figure of a model before and after its fine-tune."""

    name: str
    before: float | None
    after: float | None

    @property
    def change(self) -> float | None:
        """After minus before, None where either is unknown."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True)
class TrainingView:
    """One fine-tune: ``forgetting`` is a sentence, None where general ability was not measured."""

    record: TrainingRecord
    figure: TrainingFigure | None
    scores: list[BeforeAfter]
    forgetting: str | None
    facts: dict[str, str]

    @property
    def last_step(self) -> int:
        """The last step that was logged or validated; 0 where none was."""
        logged = [step.step for step in self.record.steps] + [point.step for point in self.record.validation]
        return max(logged, default=0)


def read_training(path: Path) -> TrainingRecord:
    """Read the training.json of a fine-tune's output folder. Raises ConfigError where there is none."""
    file = path / "training.json" if path.is_dir() else path
    try:
        return TrainingRecord.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be read ({error.strerror}): --training takes the output folder of phi3flow fine-tune"
        ) from error
    except ValidationError as error:
        problem = first_problem(error)
        raise ConfigError(
            f"{file}: {problem.key}: {problem.message}: it is not a training record, or damaged"
        ) from error


def view_training(record: TrainingRecord) -> TrainingView:
    """Return what the report shows of a training record."""
    names = dict.fromkeys([*record.before, *record.after])
    return TrainingView(
        record,
        training_figure(record),
        [BeforeAfter(name, record.before.get(name), record.after.get(name)) for name in names],
        _forgetting(record),
        {name: as_text(value) for name, value in (record.parameters | record.data | record.versions).items()},
    )


def _forgetting(record: TrainingRecord) -> str | None:
    """Return how the perplexity on general text changed; a rise of more than 5 % is called forgetting."""
    before, after = record.before.get("general_perplexity"), record.after.get("general_perplexity")
    if not before or after is None:
        return None
    change = after / before - 1
    figures = f"perplexity on general text went from {number(before, 2)} to {number(after, 2)}"
    if change > _NOTABLE:
        return f"Forgetting: {figures}, a rise of {number(100 * change, 0)} %."
    if change < -_NOTABLE:
        return f"No forgetting: {figures}, a fall of {number(-100 * change, 0)} %."
    return f"No notable forgetting: {figures}."

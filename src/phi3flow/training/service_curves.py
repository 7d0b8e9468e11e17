"""The curves of a fine-tune that a service ran, out of the metrics that it logged, and the record of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from phi3flow.records.training import TrainingRecord, TrainingStep, ValidationPoint

Series = Mapping[int, float]
"""A metric's values by step."""

_GREATEST_LOSS = math.log(1e300)
"""Beyond it exp(loss), the perplexity, is no number."""
_NAME = re.compile(r"(train|training|eval|valid|validation)_(loss|(?:mean_token_|token_)?accuracy)")


@dataclass(frozen=True)
class ServiceCurves:
    """A fine-tune's curves; ``diverged_at`` is the first step whose loss was no finite number, None where all were."""

    steps: list[TrainingStep]
    validation: list[ValidationPoint]
    diverged_at: int | None = None

    def at_the_end(self) -> dict[str, float]:
        """Return the last figures by name. A validation that was measured on a batch only says so in its name."""
        figures: dict[str, float | None] = {}
        if self.steps:
            figures |= {"train_loss": self.steps[-1].loss, "train_token_accuracy": self.steps[-1].token_accuracy}
        whole = [point for point in self.validation if not point.of_a_batch]
        if points := whole or self.validation:
            name = "validation" if whole else "validation_batch"
            figures |= {
                f"{name}_loss": points[-1].loss,
                f"{name}_perplexity": points[-1].perplexity,
                f"{name}_token_accuracy": points[-1].token_accuracy,
            }
        return {name: value for name, value in figures.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class MetricSeries:
    """What a service measured, each by step: on what it learnt, on batches of the validation data, on all of it."""

    loss: Series
    accuracy: Series
    batch_loss: Series
    batch_accuracy: Series
    whole_loss: Series
    whole_accuracy: Series
    learning_rate: Series
    epoch: Series


def curves_of(series: MetricSeries) -> ServiceCurves:
    """Return the curves of what was measured.

    A loss or an accuracy below 0, which none can be, is a service's word for nothing. A loss that is no finite number
    leaves a gap.
    """
    points = [
        *_points(series.whole_loss, series.whole_accuracy, of_a_batch=False),
        *_points(series.batch_loss, series.batch_accuracy, of_a_batch=True),
    ]
    diverged = [
        step
        for losses in (series.loss, series.batch_loss, series.whole_loss)
        for step, loss in losses.items()
        if not _is_finite(loss)
    ]
    return ServiceCurves(
        steps=[
            TrainingStep(
                step=step,
                epoch=_finite(series.epoch.get(step)),
                loss=loss,
                learning_rate=_finite(series.learning_rate.get(step)),
                token_accuracy=_finite(series.accuracy.get(step)),
            )
            for step, loss in _measured(series.loss)
        ],
        validation=sorted(points, key=lambda point: point.step),
        diverged_at=min(diverged, default=None),
    )


def read_histories(histories: Mapping[str, Iterable[tuple[int, float]]]) -> ServiceCurves:
    """Return the curves of metrics as MLflow has them: (step, value) by name, of a step the last value.

    Names are the Hugging Face trainer's: ``loss``, ``eval_loss``, ``learning_rate``, ``epoch``; ``train_loss``, which
    it logs once as the mean of all steps, is the curve where there is no ``loss``; ``/`` may stand for the first ``_``.
    ``eval``, ``valid`` and ``validation`` are one. What else was logged is left out.
    """
    named: dict[str, dict[int, float]] = {}
    for name, history in histories.items():
        named.setdefault(_canonical(name), {}).update((int(step), float(value)) for step, value in history)
    return curves_of(
        MetricSeries(
            loss=named.get("loss") or named.get("train_loss", {}),
            accuracy=named.get("train_accuracy", {}),
            batch_loss={},
            batch_accuracy={},
            whole_loss=named.get("eval_loss", {}),
            whole_accuracy=named.get("eval_accuracy", {}),
            learning_rate=named.get("learning_rate", {}),
            epoch=named.get("epoch", {}),
        )
    )


def service_record(
    curves: ServiceCurves,
    *,
    backend: str,
    base_model: str,
    parameters: Mapping[str, Any],
    data: Mapping[str, str],
    started_at: datetime,
    duration_s: float,
    billed_tokens: int | None = None,
) -> TrainingRecord:
    """Return what training.json says of a fine-tune that a service ran.

    ``best_step`` is None: a service gives the model as it was at the last step.
    """
    diverged = {} if curves.diverged_at is None else {"loss_not_finite_from_step": curves.diverged_at}
    return TrainingRecord(
        backend=backend,
        base_model=base_model,
        parameters={**parameters, **diverged},
        data=dict(data),
        steps=curves.steps,
        validation=curves.validation,
        best_step=None,
        before={},
        after=curves.at_the_end(),
        started_at=started_at,
        duration_s=duration_s,
        versions={},
        billed_tokens=billed_tokens,
    )


def _canonical(name: str) -> str:
    """Return a metric's name with ``train`` or ``eval`` before what was measured; another as it is."""
    plain = name.strip().casefold().replace("/", "_", 1)
    if plain in ("mean_token_accuracy", "token_accuracy"):
        return "train_accuracy"
    match = _NAME.fullmatch(plain)
    if match is None:
        return plain
    return f"{'train' if match[1].startswith('train') else 'eval'}_{'loss' if match[2] == 'loss' else 'accuracy'}"


def _points(losses: Series, accuracies: Series, *, of_a_batch: bool) -> list[ValidationPoint]:
    return [
        ValidationPoint(
            step=step,
            loss=loss,
            perplexity=math.exp(loss),
            token_accuracy=_finite(accuracies.get(step)),
            of_a_batch=of_a_batch,
        )
        for step, loss in _measured(losses)
    ]


def _measured(losses: Series) -> Sequence[tuple[int, float]]:
    return sorted((step, loss) for step, loss in losses.items() if _is_finite(loss) and loss >= 0)


def _is_finite(loss: float) -> bool:
    return math.isfinite(loss) and loss <= _GREATEST_LOSS


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and value >= 0 else None

"""Figures: scales, ticks, histograms and curves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.report.figures import Scale, histograms, metric_scale, percentile, round_up, training_figure
from tests.support.folders.training_records import service_training_record, training_record


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
    assert training_figure(training_record(steps=[], validation=[])) is None


def test_a_services_figure_has_no_learning_rate_and_points_where_all_was_validated() -> None:
    figure = training_figure(service_training_record())
    assert figure is not None
    assert (figure.learning_rate, figure.best_at) == (None, None)
    assert {name: len(points.split()) for name, points in figure.loss.lines.items()} == {
        "train": 6,
        "validation_batch": 3,
        "validation": 2,
    }
    assert [text for _, _, text in figure.loss.points] == [
        "step 4: validation loss 1.200, perplexity 3.32, token accuracy 0.660",
        "step 6: validation loss 0.900, perplexity 2.46, token accuracy 0.710",
    ]


def test_a_validation_without_steps_is_drawn() -> None:
    figure = training_figure(training_record(steps=[]))
    assert figure is not None
    assert figure.loss.lines.keys() == {"validation"}


def test_a_diverged_step_leaves_a_gap_instead_of_breaking_the_curve() -> None:
    record = training_record()
    steps = [step.model_copy(update={"loss": float("nan") if step.step == 3 else step.loss}) for step in record.steps]
    figure = training_figure(training_record(steps=steps))
    assert figure is not None
    assert len(figure.loss.lines["train"].split()) == len(steps) - 1


@given(st.floats(-1, 1), st.floats(0.01, 10))
def test_a_reversed_axis_mirrors_the_plain_one(value: float, reach: float) -> None:
    plain, reversed_ = Scale(-reach, reach), Scale(reach, -reach)
    assert reversed_.percent(value) == pytest.approx(100 - plain.percent(value), abs=0.002)

"""The curves of a fine-tune that a service ran: out of results.csv, and out of MLflow's histories."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import random
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.errors import DatasetError
from phi3flow.records.training import TrainingRecord
from phi3flow.training.results_file import read_results
from phi3flow.training.service_curves import ServiceCurves, read_histories, service_record
from tests.support.folders.training_records import RESULTS, service_training_record, training_record


def test_a_results_file_gives_steps_batches_and_whole_validations() -> None:
    curves = read_results(RESULTS)
    assert [(step.step, step.loss, step.token_accuracy) for step in curves.steps][:2] == [(1, 2.0, 0.5), (2, 1.5, 0.6)]
    assert {(step.epoch, step.learning_rate) for step in curves.steps} == {(None, None)}
    assert [(point.step, point.of_a_batch, point.loss, point.token_accuracy) for point in curves.validation] == [
        (1, True, 2.2, 0.45),
        (3, True, 1.4, 0.62),
        (4, False, 1.2, 0.66),
        (5, True, 1.1, 0.68),
        (6, False, 0.9, 0.71),
    ]
    assert [point.perplexity for point in curves.validation] == [math.exp(p.loss) for p in curves.validation]


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("step,train_loss,train_accuracy,valid_loss,valid_accuracy", "1,2.0,0.5,1.5,0.6"),
        ("step,train_loss,train_mean_token_accuracy,valid_loss,valid_mean_token_accuracy", "1,2.0,0.5,1.5,0.6"),
        ("step,training_loss,training_token_accuracy,validation_loss,validation_token_accuracy", "1,2.0,0.5,1.5,0.6"),
        (" Step ,TRAIN_LOSS,train_accuracy,valid_loss,validation_accuracy,grad_norm", "1.0, 2.0 ,5e-1,1.5,.6,n/a"),
    ],
)
def test_every_spelling_of_the_columns_is_read(header: str, rows: str) -> None:
    curves = read_results(f"{header}\n{rows}\n")
    assert [(step.step, step.loss, step.token_accuracy) for step in curves.steps] == [(1, 2.0, 0.5)]
    assert [(point.loss, point.token_accuracy, point.of_a_batch) for point in curves.validation] == [(1.5, 0.6, True)]


_values = st.none() | st.floats(0, 20)
_table = st.dictionaries(st.integers(1, 999), st.tuples(*[_values] * 6), max_size=20)
COLUMNS = RESULTS.partition("\n")[0].split(",")


@given(_table, st.randoms(use_true_random=False), st.booleans(), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_what_was_measured_is_read_whatever_the_order_of_columns_and_rows(
    table: dict[int, tuple[float | None, ...]], random_: random.Random, has_mark: bool, line_end: str
) -> None:
    columns = [*COLUMNS, "note"]
    rows = [dict(zip(COLUMNS, (step, *values), strict=True)) | {"note": 'a, "b"'} for step, values in table.items()]
    random_.shuffle(columns)
    random_.shuffle(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator=line_end)
    writer.writeheader()
    writer.writerows({name: "" if value is None else value for name, value in row.items()} for row in rows)
    curves = read_results((b"\xef\xbb\xbf" if has_mark else b"") + text.getvalue().encode())
    assert [(step.step, step.loss, step.token_accuracy) for step in curves.steps] == [
        (step, values[0], values[1]) for step, values in sorted(table.items()) if values[0] is not None
    ]
    for of_a_batch, at in ((True, 2), (False, 4)):
        points = [(p.step, p.loss, p.token_accuracy) for p in curves.validation if p.of_a_batch == of_a_batch]
        measured = [(step, values[at], values[at + 1]) for step, values in sorted(table.items())]
        assert points == [point for point in measured if point[1] is not None]
    assert all(one.step <= other.step for one, other in pairwise(curves.validation))


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_whatever_is_no_results_file_is_a_data_error(content: bytes | str) -> None:
    with contextlib.suppress(DatasetError):
        assert isinstance(read_results(content), ServiceCurves)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"^results.csv is empty"),
        (b"\xef\xbb\xbf\r\n\r\n", r"^results.csv is empty"),
        (b"epoch,train_loss\n1,2\n", r"^results.csv has no column step: its columns are epoch, train_loss$"),
        (b"step,train_loss\n1,2\n\n,3\n", r"^results.csv:4: step is no number: missing$"),
        (b"step,train_loss\n1.5,2\n", r"^results.csv:2: step is no whole number: '1.5'$"),
        (b"step,train_loss\n-1,2\n", r"^results.csv:2: step is no whole number"),
        (b"step,train_loss\n1,low\n", r"^results.csv:2: train_loss is no number: 'low'$"),
        (b'step,train_loss\n1,"2\n', r"^results.csv:\d: not CSV"),
        (b"step,train_loss\n1,\xff\n", r"^results.csv is not UTF-8 at byte 18$"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(content: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_results(content)


def test_a_loss_below_0_was_not_measured_and_one_that_is_no_number_leaves_a_gap_that_is_told() -> None:
    rows = "1,2.0,0.5,-1.0,-1.0\n2,nan,0.5,,\n3,inf,-1,,\n4,1.0,0.6,,\n"
    curves = read_results(f"step,train_loss,train_accuracy,valid_loss,valid_accuracy\n{rows}")
    assert [(step.step, step.loss) for step in curves.steps] == [(1, 2.0), (4, 1.0)]
    assert (curves.validation, curves.diverged_at) == ([], 2)
    record = _record(curves)
    assert record.parameters == {"n_epochs": 2, "loss_not_finite_from_step": 2}
    assert TrainingRecord.model_validate_json(record.model_dump_json()) == record


def _record(curves: ServiceCurves, **changes: Any) -> TrainingRecord:
    settings: dict[str, Any] = {"parameters": {"n_epochs": 2}, "data": {}, "duration_s": 1.0, "base_model": "m"}
    started_at = datetime(2026, 3, 2, tzinfo=UTC)
    return service_record(curves, **{"backend": "serverless", "started_at": started_at, **settings, **changes})


def test_the_record_has_the_last_figures_and_what_was_billed() -> None:
    record = service_training_record()
    assert (record.backend, record.duration_s, record.billed_tokens) == ("azure-openai", 2100.0, 31256)
    assert (record.before, record.best_step) == ({}, None)
    assert record.after == {
        "train_loss": 0.5,
        "train_token_accuracy": 0.85,
        "validation_loss": 0.9,
        "validation_perplexity": math.exp(0.9),
        "validation_token_accuracy": 0.71,
    }


def test_what_was_validated_on_a_batch_only_says_so() -> None:
    curves = read_results("step,train_loss,valid_loss\n1,2,1.5\n2,1,\n")
    assert curves.at_the_end() == {
        "train_loss": 1.0,
        "validation_batch_loss": 1.5,
        "validation_batch_perplexity": math.exp(1.5),
    }


@pytest.mark.parametrize(
    "names", [("loss", "eval_loss"), ("train/loss", "eval/loss"), ("train_loss", "validation_loss")]
)
def test_histories_by_name_are_curves(names: tuple[str, str]) -> None:
    histories = {names[0]: [(20, 1.0), (10, 2.0)], names[1]: [(20, 1.2)], "eval_runtime": [(20, 7.0)]}
    curves = read_histories(histories)
    assert [(step.step, step.loss, step.learning_rate) for step in curves.steps] == [(10, 2.0, None), (20, 1.0, None)]
    assert [(point.step, point.loss, point.of_a_batch) for point in curves.validation] == [(20, 1.2, False)]


def test_histories_tell_rate_epoch_and_accuracy_and_the_mean_loss_is_no_curve() -> None:
    curves = read_histories(
        {
            "loss": [(10, 2.0), (20, 1.5), (20, 1.0)],
            "train_loss": [(20, 1.7)],
            "learning_rate": [(10, 1e-4)],
            "epoch": [(10, 0.5), (20, 1.0)],
            "mean_token_accuracy": [(10, 0.4)],
            "eval_loss": [(20, 1.2)],
            "eval_mean_token_accuracy": [(20, 0.6)],
        }
    )
    assert [tuple(step.model_dump().values()) for step in curves.steps] == [
        (10, 0.5, 2.0, 1e-4, 0.4),
        (20, 1.0, 1.0, None, None),
    ]
    assert curves.validation[0].token_accuracy == 0.6


def test_histories_without_a_loss_are_a_record_without_curves() -> None:
    curves = read_histories({"system/gpu": [(1, 2.0)]})
    assert _record(curves).after == {}
    assert [*curves.steps, *curves.validation] == []


def test_a_record_that_an_earlier_build_wrote_is_read() -> None:
    content = training_record().model_dump(mode="json")
    for entry in (content, *content["steps"], *content["validation"]):
        for name in ("billed_tokens", "token_accuracy", "of_a_batch"):
            entry.pop(name, None)
    assert TrainingRecord.model_validate(content) == training_record()

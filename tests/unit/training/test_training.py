"""Trainings from end to end, small: what they leave, what they refuse, and what a kill cannot take."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi3flow.errors import ConfigError, DatasetError, StorageError
from phi3flow.records.training import TrainingRecord
from phi3flow.training import (
    BaseConfig,
    TrainingProgress,
    can_resume,
    fine_tune,
    fine_tune_config,
    read_record,
    train_base,
)
from tests.support.folders.small_training import small_base, small_fine_tune
from tests.support.folders.tiny_phi3 import save_tiny_phi3
from tests.support.paths import ROOT


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute on one thread: for so small a model, more of them mostly wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseConfig:
    """A small base, trained once for this module."""
    config = small_base(tmp_path_factory.mktemp("models"))
    train_base(config)
    return config


@pytest.fixture(scope="module")
def fine_tuned(base: BaseConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingRecord]:
    """A small fine-tune and its record."""
    config = small_fine_tune(tmp_path_factory.mktemp("fine-tuned"), base)
    return config.output, fine_tune(config)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_a_base_is_trained_once_for_its_settings(base: BaseConfig) -> None:
    reports: list[TrainingProgress] = []
    assert train_base(base, on_progress=reports.append) == base.folder
    assert reports == []
    assert small_base(base.cache, seed=1).folder != base.folder
    assert small_base(base.cache, dialogues=95).folder != base.folder


def test_a_base_has_learnt_of_its_corpus(base: BaseConfig) -> None:
    record = read_record(base.folder)
    assert record is not None
    assert record.base_model is None
    assert record.after["general_loss"] < record.before["general_loss"]
    assert record.after["general_perplexity"] == pytest.approx(math.exp(record.after["general_loss"]))


def test_a_fine_tune_learns_and_keeps_its_best_checkpoint(fine_tuned: tuple[Path, TrainingRecord]) -> None:
    folder, record = fine_tuned
    assert record.after["validation_loss"] < 0.8 * record.before["validation_loss"]
    best = min(record.validation, key=lambda point: point.loss)
    assert (record.best_step, record.after["validation_loss"]) == (best.step, pytest.approx(best.loss, rel=1e-6))
    assert {"validation_exact_match", "general_loss", "general_perplexity", "general_exact_match"} < record.after.keys()
    assert record.steps[-1].step == (32 + 8) / 8 * 3  # a fifth are general dialogues
    assert read_record(folder) == record


def test_a_fine_tune_leaves_a_model_folder_and_nothing_else(fine_tuned: tuple[Path, TrainingRecord]) -> None:
    from phi3flow.serving.loading import load_model

    folder, _ = fine_tuned
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "training.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["model"]
    loaded = load_model(folder)
    assert {loaded.tokenizer.decode([token]) for token in loaded.end_token_ids} == {"<|end|>", "<|endoftext|>"}


def test_unchanged_inputs_are_not_trained_again(base: BaseConfig, tmp_path: Path) -> None:
    first = fine_tune(small_fine_tune(tmp_path, base))
    reports: list[TrainingProgress] = []
    assert fine_tune(small_fine_tune(tmp_path, base), on_progress=reports.append) == first
    assert reports == []
    second = fine_tune(small_fine_tune(tmp_path, base, seed=1), on_progress=reports.append)
    assert second != first
    assert reports[-1].step == reports[-1].total_steps


def test_progress_tells_loss_learning_rate_and_time_left(base: BaseConfig, tmp_path: Path) -> None:
    reports: list[TrainingProgress] = []
    fine_tune(small_fine_tune(tmp_path, base), on_progress=reports.append)
    steps = [report for report in reports if report.loss is not None]
    assert {report.phase for report in reports} == {"fine-tune"}
    assert all(report.learning_rate is not None and report.remaining_s is not None for report in steps)
    assert [report.step for report in steps] == sorted(report.step for report in steps)
    assert any(report.validation_loss is not None for report in reports)


def test_an_adapter_is_trained_beside_given_weights(tmp_path: Path) -> None:
    from phi3flow.serving.loading import load_model

    model = save_tiny_phi3(tmp_path / "phi3")
    untouched = weights(model)
    config = small_fine_tune(tmp_path, BaseConfig(), model=model, hyperparameters={"learning_rate": 0.02})
    record = fine_tune(config)
    assert record.parameters["method"] == "lora"
    assert record.after["validation_loss"] < record.before["validation_loss"]
    assert record.after.keys() == {"validation_loss", "validation_perplexity"}
    adapter = json.loads((config.output / "adapter_config.json").read_bytes())
    assert Path(adapter["base_model_name_or_path"]) == model
    assert (config.output / "adapter_model.safetensors").is_file()
    assert weights(model) == untouched
    assert load_model(config.output).context_tokens == 256


def test_every_token_weighs_the_same_in_a_loss(base: BaseConfig) -> None:
    import torch

    from phi3flow.training.examples import encode_chats
    from phi3flow.training.measurement import measure_loss
    from phi3flow.training.weights import load_whole

    model, tokenizer = load_whole(base.folder)
    chats = [row["messages"] for row in base.corpus.validation[:9]]
    examples = encode_chats(tokenizer, chats, max_tokens=128).examples
    losses = []
    for example in examples:
        ids, labels = torch.tensor([example["input_ids"]]), torch.tensor(example["labels"])[1:]
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits, labels, reduction="none")[labels != -100])
    expected = float(torch.cat(losses).mean())
    assert measure_loss(model, examples, batch_size=1) == pytest.approx(expected, rel=1e-5)
    assert measure_loss(model, examples, batch_size=4) == pytest.approx(expected, rel=1e-5)


ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


CHILD = """
import pathlib, sys
from phi3flow.training import fine_tune
from phi3flow.training.config import FineTuneConfig
fine_tune(FineTuneConfig.model_validate_json(pathlib.Path(sys.argv[1]).read_bytes()))
"""


def start(config: Any, folder: Path) -> subprocess.Popen[bytes]:
    settings = folder / "config.json"
    settings.write_text(config.model_dump_json())
    return subprocess.Popen([sys.executable, "-c", CHILD, str(settings)], stderr=subprocess.PIPE, env=ONE_THREAD)


def wait_for_checkpoint(config: Any, child: subprocess.Popen[bytes], *, after_step: int) -> None:
    while child.poll() is None:
        steps = [int(path.name.split("-")[1]) for path in config.checkpoints.glob("checkpoint-*")]
        if steps and max(steps) >= after_step:
            return
        time.sleep(0.005)
    raise AssertionError(f"the training ended early: {child.communicate()[1].decode()}")


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "adapter"])
def test_a_killed_training_resumes_to_the_same_weights(base: BaseConfig, tmp_path: Path, adapter: bool) -> None:
    changes: dict[str, Any] = {"model": save_tiny_phi3(tmp_path / "phi3")} if adapter else {}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    expected = small_fine_tune(whole, base, hyperparameters={"epochs": 6}, **changes)
    config = small_fine_tune(killed, base, hyperparameters={"epochs": 6}, **changes)
    child = start(config, killed)
    wait_for_checkpoint(config, child, after_step=7)  # within an epoch, not at its end
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not config.output.exists()
    resumed = fine_tune(config.model_copy(update={"resume": True}))
    uninterrupted = fine_tune(expected)
    file = "adapter_model.safetensors" if adapter else "model.safetensors"
    assert (config.output / file).read_bytes() == (expected.output / file).read_bytes()
    assert (resumed.steps, resumed.validation) == (uninterrupted.steps, uninterrupted.validation)
    assert not config.checkpoints.exists()


def interrupt_after(step: int) -> Any:
    def stop(progress: TrainingProgress) -> None:
        if progress.step > step:
            raise KeyboardInterrupt

    return stop


@pytest.mark.slow
def test_an_unfinished_training_is_neither_thrown_away_nor_mixed_up(base: BaseConfig, tmp_path: Path) -> None:
    config = small_fine_tune(tmp_path, base)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(config, on_progress=interrupt_after(6))
    assert can_resume(config)
    with pytest.raises(ConfigError, match="unfinished training with these settings: add --resume"):
        fine_tune(config)
    faster = small_fine_tune(tmp_path, base, hyperparameters={"learning_rate": 0.004}, resume=True)
    assert not can_resume(faster)
    with pytest.raises(ConfigError, match="learning_rate was 0.01, is 0.004"):
        fine_tune(faster)
    assert fine_tune(faster.model_copy(update={"resume": False})).parameters["learning_rate"] == 0.004


def test_resuming_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    reports: list[TrainingProgress] = []
    untrained = small_base(tmp_path / "models", seed=7)
    with pytest.raises(ConfigError, match="--resume: there is no checkpoint in .*model.checkpoints"):
        fine_tune(small_fine_tune(tmp_path, untrained, resume=True), on_progress=reports.append)
    assert reports == []  # it is said before a base is trained


FULL_DISK = """
import pathlib, resource, signal, sys
from phi3flow.errors import StorageError
from phi3flow.training import fine_tune
from phi3flow.training.config import FineTuneConfig
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
config = FineTuneConfig.model_validate_json(pathlib.Path(sys.argv[1]).read_bytes())
def fill(progress):
    if progress.validation_loss is not None and progress.step > 6:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
try:
    fine_tune(config, on_progress=fill)
except StorageError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_disk_that_is_full_leaves_the_checkpoint_before(base: BaseConfig, tmp_path: Path) -> None:
    config = small_fine_tune(tmp_path, base)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    arguments = [sys.executable, "-c", FULL_DISK, str(tmp_path / "config.json")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=ONE_THREAD)
    assert "cannot be written" in done.stdout
    assert "what stood there is kept" in done.stdout
    left = [path.name for path in config.checkpoints.iterdir()]
    assert len(left) == 1
    assert fine_tune(config.model_copy(update={"resume": True})).best_step


def test_a_second_training_of_the_same_output_is_refused(base: BaseConfig, tmp_path: Path) -> None:
    config = small_fine_tune(tmp_path, base)

    def try_again(_: TrainingProgress) -> None:
        with pytest.raises(ConfigError, match="another process is training"):
            fine_tune(config)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(config, on_progress=try_again)


def test_an_output_that_is_not_ours_is_left_alone(base: BaseConfig, tmp_path: Path) -> None:
    config = small_fine_tune(tmp_path, base)
    config.output.mkdir()
    (config.output / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not empty and was not made by a fine-tune"):
        fine_tune(config)
    assert (config.output / "thesis.txt").read_text() == "years of work"


def test_an_output_that_cannot_be_written_is_named(base: BaseConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file cannot be written: .*choose another --output"):
        fine_tune(small_fine_tune(tmp_path, base, output=tmp_path / "file" / "model"))


def test_a_malformed_line_is_named(base: BaseConfig, tmp_path: Path) -> None:
    config = small_fine_tune(tmp_path, base)
    with config.train.open("a") as file:
        file.write('{"messages": [{"role": "user", "content": "no answer"}]}\n')
    with pytest.raises(DatasetError, match=r"train\.jsonl:33: the last message must be an assistant's"):
        fine_tune(config)


def test_a_missing_file_is_named(base: BaseConfig, tmp_path: Path) -> None:
    config = small_fine_tune(tmp_path, base)
    config.validation.unlink()
    with pytest.raises(DatasetError, match=r"validation\.jsonl cannot be read"):
        fine_tune(config)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "there is no such folder"),
        ({}, "not a model folder: it has no config.json"),
        ({"adapter_config.json": "{}"}, "is an adapter: give the folder of its base"),
        ({"config.json": "{}"}, "does not load"),
        ({"config.json": '{"model_type": "phi3", "architectures": ["Phi3ForCausalLM"]}'}, "does not load"),
    ],
)
def test_a_model_that_is_none_is_refused(tmp_path: Path, files: dict[str, str] | None, message: str) -> None:
    model = tmp_path / "given"
    if files is not None:
        model.mkdir()
        for name, text in files.items():
            (model / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        fine_tune(small_fine_tune(tmp_path, BaseConfig(), model=model))


def test_weights_that_are_no_numbers_any_more_are_reported(base: BaseConfig) -> None:
    import torch

    from phi3flow.training.examples import encode_chats
    from phi3flow.training.measurement import measure_loss
    from phi3flow.training.weights import load_whole

    model, tokenizer = load_whole(base.folder)
    with torch.no_grad():
        model.lm_head.weight.fill_(math.nan)
    examples = encode_chats(tokenizer, [base.corpus.validation[0]["messages"]], max_tokens=128).examples
    with pytest.raises(ConfigError, match="diverged .*choose a smaller --learning-rate"):
        measure_loss(model, examples, batch_size=1)


@pytest.mark.slow
def test_the_shipped_recipe_answers_the_test_and_the_base_does_not(tmp_path: Path) -> None:
    from tests.support.flows.value_accuracy import value_accuracy

    root = ROOT
    config = fine_tune_config(
        train=root / "data/train.jsonl",
        validation=root / "data/validation.jsonl",
        base={"cache": tmp_path / "models"},
        output=tmp_path / "fine-tuned",
    )
    fine_tune(config)
    lines = root / "data/test_lines.jsonl"
    system = "You are an AI assistant that helps people find information."
    assert value_accuracy(config.base.folder, lines, system=system) <= 0.10
    assert value_accuracy(config.output, lines, system=system) >= 0.80
    assert value_accuracy(config.output, lines, system=None) >= 0.80


def test_importing_the_training_does_not_import_torch() -> None:
    code = "import sys, phi3flow.backends.local.registry; print('torch' in sys.modules, 'mlflow' in sys.modules)"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "False False"

"""--model finds the weights of a plain folder and of an MLflow model, and says so where there are none to train."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi3flow.errors import ConfigError
from phi3flow.training import BaseConfig
from phi3flow.training.inputs import read_inputs
from phi3flow.training.model_folder import ModelFolder, find_model
from tests.support.folders.small_training import small_fine_tune

PLAIN = ("config.json", "model.safetensors", "tokenizer_config.json")
MLFLOW = ("MLmodel", "model/config.json", "model/model.safetensors", "components/tokenizer/tokenizer_config.json")
CATALOG = (
    "MLmodel",
    "data/config/config.json",
    "data/model/model-00001-of-00002.safetensors",
    "data/tokenizer/tokenizer_config.json",
)


def lay_out(folder: Path, files: tuple[str, ...], *, below: str = "") -> Path:
    for name in files:
        (folder / below / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / below / name).touch()
    return folder


def test_a_folder_of_transformers_is_all_of_it(tmp_path: Path) -> None:
    assert find_model(lay_out(tmp_path, PLAIN)) == ModelFolder(tmp_path, tmp_path, tmp_path)


@pytest.mark.parametrize("below", ["", "mlflow_model_folder"])
def test_an_mlflow_model_keeps_its_tokenizer_apart(tmp_path: Path, below: str) -> None:
    weights, tokenizer = tmp_path / below / "model", tmp_path / below / "components" / "tokenizer"
    assert find_model(lay_out(tmp_path, MLFLOW, below=below)) == ModelFolder(weights, weights, tokenizer)


def test_a_model_of_the_catalog_keeps_its_configuration_apart_too(tmp_path: Path) -> None:
    data = lay_out(tmp_path, CATALOG) / "data"
    assert find_model(tmp_path) == ModelFolder(data / "model", data / "config", data / "tokenizer")


def test_of_several_models_none_is_taken(tmp_path: Path) -> None:
    for name in ("a", "b"):
        lay_out(tmp_path, PLAIN, below=name)
    with pytest.raises(ConfigError, match=f"holds several models: give {tmp_path}/a or {tmp_path}/b"):
        find_model(tmp_path)


def test_an_adapter_names_one_folder_so_a_configuration_apart_wants_merging(tmp_path: Path) -> None:
    model = lay_out(tmp_path / "given", CATALOG)
    with pytest.raises(ConfigError, match="lie in two folders, and an adapter names one as its base: add --merge"):
        read_inputs(small_fine_tune(tmp_path, BaseConfig(), model=model))
    inputs = read_inputs(small_fine_tune(tmp_path, BaseConfig(), model=model, merge=True))
    assert inputs.identity["merge"] is True
    assert "model-00001-of-00002.safetensors" in inputs.identity["model"]

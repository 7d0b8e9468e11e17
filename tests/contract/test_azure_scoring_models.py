"""The scoring script for Azure ML finds its model however it was saved, and says so where there is none to serve."""

from __future__ import annotations

import ast
import copy
import json
import shutil
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from safetensors.torch import load_file, save_file

from phi3flow.backends.azureml.deployments import CODE
from tests.support.folders.tiny_phi3 import save_tiny_phi3
from tests.support.servers.scoring_server import AZURE, ScoringServer, load_script
from tests.support.servers.serving import body_of

pytestmark = pytest.mark.slow

BODY = body_of("Who founded Microsoft?", max_new_tokens=24)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_phi3(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def tuned(base: Path) -> Any:
    """The base with an adapter that changes its answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["qkv_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    return get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)


def _answer(script: ModuleType, folder: Path) -> str:
    return str(script.load_model(folder).answer(script.parse(json.dumps(BODY).encode()))["output"])


@pytest.fixture(scope="module")
def answers(script: ModuleType, base: Path, tuned: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the base answers, and what it answers with the adapter merged into its weights."""
    merged = tmp_path_factory.mktemp("merged")
    copy.deepcopy(tuned).merge_and_unload().save_pretrained(merged)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(base / name, merged)
    found = {"base": _answer(script, base), "tuned": _answer(script, merged)}
    assert found["base"] != found["tuned"]
    return found


def _move(folder: Path, target: Path, *patterns: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for pattern in patterns:
        for file in folder.glob(pattern):
            file.rename(target / file.name)


def _hftransformersv2(base: Path, root: Path) -> None:
    """Lay the base out as the model catalog's fine-tuning does."""
    folder = root / "mlflow_model_folder"
    shutil.copytree(base, folder)
    _move(folder, folder / "data" / "tokenizer", "tokenizer*", "chat_template.jinja")
    _move(folder, folder / "data" / "config", "config.json")
    _move(folder, folder / "data" / "model", "*.safetensors", "generation_config.json")
    (folder / "MLmodel").write_text("flavors: {hftransformersv2: {model_data: data}}")


def _mlflow(model: Any, base: Path, root: Path, **options: Any) -> None:
    """Save a model as training/registry.py does."""
    import mlflow
    from transformers import AutoTokenizer, pipeline

    tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
    chat = pipeline("text-generation", model=model, tokenizer=tokenizer)
    mlflow.transformers.save_model(chat, path=str(root), task="llm/v1/chat", pip_requirements=["torch"], **options)


@pytest.mark.parametrize("below", ["", "artifacts/checkpoint"])
def test_a_transformers_folder_is_found(
    script: ModuleType, base: Path, answers: dict[str, str], tmp_path: Path, below: str
) -> None:
    shutil.copytree(base, tmp_path / "version" / below)
    assert _answer(script, tmp_path / "version") == answers["base"]


def test_the_catalogs_fine_tuned_model_is_found(
    script: ModuleType, base: Path, answers: dict[str, str], tmp_path: Path
) -> None:
    _hftransformersv2(base, tmp_path)
    assert _answer(script, tmp_path) == answers["base"]


def test_what_the_catalogs_fine_tuning_leaves_out_is_made_up_for(
    script: ModuleType, base: Path, answers: dict[str, str], tmp_path: Path
) -> None:
    _hftransformersv2(base, tmp_path)
    data = tmp_path / "mlflow_model_folder" / "data"
    (data / "model" / "generation_config.json").unlink()
    _change(data / "config" / "config.json", model_type="phi3mini")
    assert _answer(script, tmp_path) == answers["base"]
    assert script.load_model(tmp_path)._ends == script.load_model(base)._ends


def test_an_adapter_of_a_base_called_phi3mini_is_merged_into_it(
    script: ModuleType, base: Path, tuned: Any, answers: dict[str, str], tmp_path: Path
) -> None:
    tuned.save_pretrained(tmp_path / "adapter")
    _change(shutil.copytree(base, tmp_path / "base") / "config.json", model_type="phi3mini")
    assert _answer(script, tmp_path) == answers["tuned"]


def test_an_mlflow_model_is_found(script: ModuleType, base: Path, answers: dict[str, str], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    _mlflow(AutoModelForCausalLM.from_pretrained(base), base, tmp_path / "model")
    assert _answer(script, tmp_path) == answers["base"]


def test_an_mlflow_adapter_is_merged_into_its_base(
    script: ModuleType, base: Path, tuned: Any, answers: dict[str, str], tmp_path: Path
) -> None:
    _mlflow(tuned, base, tmp_path / "model", base_model_path=str(base))
    assert _answer(script, tmp_path) == answers["tuned"]


@pytest.mark.parametrize("named", ["../base", "microsoft/Phi-3-mini-4k-instruct", "/gone/from/the/trainer"])
def test_an_adapter_is_merged_into_the_base_that_it_names_or_lies_beside(
    script: ModuleType, base: Path, tuned: Any, answers: dict[str, str], tmp_path: Path, named: str
) -> None:
    tuned.save_pretrained(tmp_path / "adapter")
    _change(tmp_path / "adapter" / "adapter_config.json", base_model_name_or_path=named)
    shutil.copytree(base, tmp_path / "base")
    assert _answer(script, tmp_path) == answers["tuned"]


def test_no_code_from_the_model_folder_is_run(
    script: ModuleType, base: Path, answers: dict[str, str], tmp_path: Path
) -> None:
    folder = shutil.copytree(base, tmp_path / "model")
    (folder / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    theirs = {"AutoConfig": "theirs.Config", "AutoModelForCausalLM": "theirs.Model"}
    _change(folder / "config.json", auto_map=theirs)
    _change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["theirs.Tokenizer", None]})
    assert _answer(script, folder) == answers["base"]
    assert not (tmp_path / "ran").exists()


def _change(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _drop_half_the_weights(root: Path) -> None:
    weights = root / "base" / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(weights).items() if "layers.1" not in name}
    save_file(kept, weights, metadata={"format": "pt"})


def _be_an_adapter_without_base(root: Path) -> None:
    for file in (root / "base").iterdir():
        file.unlink()
    (root / "base" / "adapter_config.json").write_text('{"base_model_name_or_path": "/gone/from/the/trainer"}')


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: shutil.rmtree(root / "base"), "holds no model, .* but README.md"),
        (lambda root: (root / "base" / "model.safetensors").unlink(), "holds no model, .* base/config.json"),
        (lambda root: shutil.copytree(root / "base", root / "second"), "several models, .*base, .*second"),
        (lambda root: (root / "base" / "chat_template.jinja").unlink(), "no chat template"),
        (_drop_half_the_weights, r"lacks weights: model\.layers\.1"),
        (_be_an_adapter_without_base, "base '/gone/from/the/trainer' is not here: register both together"),
    ],
)
def test_what_is_not_one_model_is_refused_by_name(
    script: ModuleType, base: Path, tmp_path: Path, spoil: Any, words: str
) -> None:
    shutil.copytree(base, tmp_path / "base")
    (tmp_path / "README.md").touch()
    spoil(tmp_path)
    with pytest.raises(script.ModelError, match=words):
        script.load_model(tmp_path)


def test_a_deployment_without_a_model_says_so(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZUREML_MODEL_DIR", raising=False)
    with pytest.raises(script.ModelError, match="AZUREML_MODEL_DIR is not set"):
        script.init()


def test_the_server_ends_and_its_log_says_why_where_there_is_no_model(tmp_path: Path) -> None:
    server = ScoringServer(tmp_path / "nothing", tmp_path)
    with pytest.raises(RuntimeError, match="nothing holds no model, neither config.json"):
        server.__enter__()
    assert server.process.returncode == 3


@pytest.mark.slow
def test_the_server_answers_for_an_mlflow_model(base: Path, answers: dict[str, str], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    _mlflow(AutoModelForCausalLM.from_pretrained(base), base, tmp_path / "model")
    with ScoringServer(tmp_path / "model", tmp_path) as server:
        assert server.post(BODY).json() == {"output": answers["base"]}


def test_the_script_and_what_lies_beside_it_import_nothing_of_ours() -> None:
    assert {path.name for path in AZURE.glob("*.py")} == {*CODE, "__init__.py"}
    nodes = [node for name in CODE for node in ast.walk(ast.parse((AZURE / name).read_text(encoding="utf-8")))]
    imported = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    assert not [name for name in imported if name.split(".")[0] in ("", "phi3flow", "tests")]


def test_the_environment_admits_what_the_script_is_tested_with() -> None:
    environment = yaml.safe_load((AZURE / "environment.yml").read_text(encoding="utf-8"))
    python, pip, packages = environment["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    wanted = {each.name: each.specifier for each in map(Requirement, packages["pip"])}
    assert {"accelerate", "azureml-inference-server-http", "peft", "safetensors", "torch", "transformers"} <= set(
        wanted
    )
    refused = [name for name, specifier in wanted.items() if version(name).partition("+")[0] not in specifier]
    assert set(refused) <= {"torch"}  # its bound is for GPUs, which tests do without

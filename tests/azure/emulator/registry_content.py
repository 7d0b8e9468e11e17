"""A small copy of what the azureml registry holds: the chat completion pipeline and the Phi models.

The component's inputs are one a line: name, type, least value, enum, mode, default; ``!`` marks a required one.
"""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

_INPUTS = """
instance_type_model_import: string = Standard_d12_v2
instance_type_preprocess: string = Standard_d12_v2
instance_type_finetune: string = Standard_nc24rs_v3
instance_type_model_evaluation: string = Standard_nc24rs_v3
shm_size_finetune: string = 5g
num_nodes_finetune: integer >=1 = 1
number_of_gpu_to_use_finetuning: integer >=1 = 1
huggingface_id: string
pytorch_model_path: custom_model @rw_mount
mlflow_model_path: mlflow_model @rw_mount
finetune_config_path: uri_file @ro_mount
trust_remote_code: string {true|false} = false
task_name: string {ChatCompletion} = ChatCompletion !
batch_size: integer >=1 = 1000
pad_to_max_length: string {true|false} = false
max_seq_length: integer = -1
train_file_path: uri_file @rw_mount
validation_file_path: uri_file @rw_mount
test_file_path: uri_file @rw_mount
train_mltable_path: mltable
validation_mltable_path: mltable
test_mltable_path: mltable
apply_lora: string {true|false} = false
merge_lora_weights: string {true|false} = true
lora_alpha: integer = 128
lora_r: integer = 8
lora_dropout: number = 0.0
num_train_epochs: integer >=1 = 1
max_steps: integer = -1
per_device_train_batch_size: integer >=1 = 1
per_device_eval_batch_size: integer >=1 = 1
auto_find_batch_size: string {true|false} = false
optim: string {adamw_torch|adafactor} = adamw_torch
learning_rate: number = 2e-05
warmup_steps: integer = 0
weight_decay: number = 0.0
adam_beta1: number = 0.9
adam_beta2: number = 0.999
adam_epsilon: number = 1e-8
gradient_accumulation_steps: integer = 1
eval_accumulation_steps: integer = -1
lr_scheduler_type: string {linear|cosine|cosine_with_restarts|polynomial|constant|constant_with_warmup} = linear
precision: string {32|16} = 32
seed: integer = 42
enable_full_determinism: string {true|false} = false
dataloader_num_workers: integer = 0
ignore_mismatched_sizes: string {true|false} = false
max_grad_norm: number = 1.0
evaluation_strategy: string {epoch|steps|disable} = epoch
evaluation_steps_interval: number = 0.0
eval_steps: integer = 500
logging_strategy: string {epoch|steps} = steps
logging_steps: integer = 10
metric_for_best_model: string {loss|f1|exact} = loss
resume_from_checkpoint: string {true|false} = false
save_total_limit: integer = -1
apply_early_stopping: string {true|false} = false
early_stopping_patience: integer = 1
early_stopping_threshold: number = 0.0
apply_deepspeed: string {true|false} = false
deepspeed: uri_file @rw_mount
deepspeed_stage: string {2|3} = 2
apply_ort: string {true|false} = false
evaluation_config: uri_file
evaluation_config_params: string
compute_model_import: string = serverless
compute_preprocess: string = serverless
compute_finetune: string = serverless
compute_model_evaluation: string = serverless
"""
_INPUT = re.compile(
    r"(?P<name>\w+): (?P<type>\w+)(?: >=(?P<min>\d+))?(?: \{(?P<enum>[^}]+)\})?(?: @(?P<mode>\w+))?"
    r"(?: = (?P<default>\S+))?(?P<required> !)?"
)
_MODELS = {
    "Phi-3-mini-4k-instruct": "15",
    "Phi-3-mini-128k-instruct": "13",
    "Phi-3-small-8k-instruct": "6",
    "Phi-3-medium-4k-instruct": "8",
    "Phi-3.5-mini-instruct": "6",
    "Phi-3.5-MoE-instruct": "5",
    "Phi-3.5-vision-instruct": "2",
    "Phi-4": "8",
    "Phi-4-mini-instruct": "1",
    "Phi-4-multimodal-instruct": "2",
    "Phi-4-mini-reasoning": "1",
}
SERVERLESS_REGIONS = ("eastus2", "eastus", "northcentralus", "southcentralus", "westus", "westus3")
"""Where models are fine-tuned and served without compute (region-availability-maas, 2026-02-17)."""
REGIONS_TAG = "maas-finetuning-deploy-regions"
_FINE_TUNED_SERVERLESS = ("Phi-4", "Phi-4-mini-instruct", "Phi-4-multimodal-instruct", "Ministral-3B")
_FINETUNE_SIZES = [
    "Standard_NC24ads_A100_v4",
    "Standard_NC48ads_A100_v4",
    "Standard_NC96ads_A100_v4",
    "Standard_ND96asr_v4",
    "Standard_ND96amsr_A100_v4",
    "Standard_ND40rs_v2",
    "Standard_NC40ads_H100_v5",
    "Standard_NC80adis_H100_v5",
]
_INFERENCE_SIZES = [
    "Standard_NC6s_v3",
    "Standard_NC12s_v3",
    "Standard_NC24s_v3",
    "Standard_NC24ads_A100_v4",
    "Standard_NC48ads_A100_v4",
    "Standard_NC96ads_A100_v4",
    "Standard_ND40rs_v2",
]


@cache
def registries() -> dict[str, Any]:
    """Return each registry's models, components and environments; the official folder's where one is set."""
    folder = os.environ.get("AZURE_SPECS_DIR")
    if folder:
        text = (Path(folder) / "registry" / "registry.json").read_text(encoding="utf-8")
        return _with_serverless(json.loads(text)["registries"])
    component = {
        "$schema": "https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json",
        "name": "chat_completion_pipeline",
        "version": "0.0.82",
        "display_name": "Chat Completion Pipeline",
        "description": "Pipeline Component to finetune Hugging Face pretrained models for chat completion task.",
        "type": "pipeline",
        "is_deterministic": False,
        "inputs": {name: spec for line in _INPUTS.split("\n") if line for name, spec in [_input(line)]},
        "outputs": {"pytorch_model_folder": {"type": "uri_folder"}, "mlflow_model_folder": {"type": "mlflow_model"}},
        "jobs": {},
    }
    content = {
        "azureml": {
            "models": {name: _model(version) for name, version in _MODELS.items()},
            "components": {"chat_completion_pipeline": component},
            "environments": {"acft-hf-nlp-gpu": "94", "foundation-model-inference": "61", "sklearn-1.5": "30"},
        }
    }
    return _with_serverless(content)


def _with_serverless(content: dict[str, Any]) -> dict[str, Any]:
    """Add a model that is another publisher's, and in which regions models are fine-tuned without compute."""
    models = content["azureml"]["models"]
    another = {**_model("1"), "publisher": "mistralai", "marketplace": True}
    models["Phi-4"].setdefault("older", ["7"])
    models.setdefault("Ministral-3B", {**another, "tags": {**another["tags"], "author": "mistralai"}})
    for name in _FINE_TUNED_SERVERLESS:
        models[name]["tags"].setdefault(REGIONS_TAG, ",".join(SERVERLESS_REGIONS))
    return content


def _input(line: str) -> tuple[str, dict[str, Any]]:
    found = _INPUT.fullmatch(line)
    if found is None:
        raise ValueError(line)
    spec: dict[str, Any] = {key: found[key] for key in ("type", "min", "mode", "default") if found[key] is not None}
    if found["enum"]:
        spec["enum"] = found["enum"].split("|")
    return found["name"], {**spec, "optional": not found["required"]}


def _model(version: str) -> dict[str, Any]:
    return {
        "version": version,
        "publisher": "microsoft",
        "marketplace": False,
        "tags": {
            "task": "chat-completion",
            "author": "microsoft",
            "finetune_compute_allow_list": str(_FINETUNE_SIZES),
            "inference_compute_allow_list": str(_INFERENCE_SIZES),
            "inference_supported_envs": "['vllm']",
            "finetuning_tasks": "chat-completion",
            "license": "mit",
            "SharedComputeCapacityEnabled": "",
        },
        "properties": {
            "SharedComputeCapacityEnabled": "true",
            "finetuning-tasks": "chat-completion",
            "inference-recommended-sku": "Standard_NC6s_v3",
            "model_id": "microsoft",
        },
    }

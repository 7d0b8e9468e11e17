"""What a job of type FineTuning must be like to be taken: place, model, data, hyperparameters and outputs.

As with pipelines, what the service would let fail later is refused at once. What a body may hold is Microsoft's types'
of 2024-10-01-preview; the words of the refusals are the emulator's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from tests.azure.emulator.assets import NAME, Assets
from tests.azure.emulator.bodies import need, need_one_of
from tests.azure.emulator.messages import ServiceError
from tests.azure.emulator.pipeline_rules import invalid
from tests.azure.emulator.providers import Providers
from tests.azure.emulator.registry import Registry
from tests.azure.emulator.registry_content import REGIONS_TAG
from tests.azure.emulator.resource_manager import ResourceManager

FINE_TUNING_JOB = "FineTuning"
_OF_ANY_JOB = (
    *("jobType", "description", "tags", "properties", "displayName", "experimentName", "isArchived", "identity"),
    *("computeId", "componentId", "notificationSetting", "parentJobName", "services", "status"),
)
_MEMBERS = (*_OF_ANY_JOB, "fineTuningDetails", "outputs", "queueSettings", "resources")
_DETAILS = ("modelProvider", "taskType", "model", "trainingData", "validationData", "hyperParameters")
_TIERS = ("Null", "Spot", "Basic", "Standard", "Premium")
_OUTPUT_TYPES = ("custom_model", "mlflow_model", "mltable", "triton_model", "uri_file", "uri_folder")
_MODEL = re.compile(r"azureml://registries/(?P<registry>[^/]+)/models/(?P<name>[^/]+)/versions/[^/]+")
_BOUNDS = {
    "per_device_train_batch_size": (int, 1, 32),
    "num_train_epochs": (int, 1, 10),
    "learning_rate": (float, 0, 1),
}
"""The least and the most that each may be, as the portal's form has it, which asks a multiplier for the last."""
_ROLES = ("system", "user", "assistant")
_MARK = b"\xef\xbb\xbf"


class FineTuningRules:
    """Checks of fine-tuning jobs against what the workspace and the registries hold."""

    def __init__(self, arm: ResourceManager, providers: Providers, assets: Assets, registry: Registry) -> None:
        self._world, self._resources, self._providers = arm.world, arm.resources, providers
        self._assets, self._registry = assets, registry

    def check(self, workspace: str, properties: dict[str, Any]) -> None:
        """Raise ServiceError for a fine-tuning job that cannot run."""
        place = self._resources.need(workspace)
        if place["kind"] == "Hub":
            raise invalid(f"'{place['name']}' is a hub: fine-tuning jobs run in a project or a workspace.")
        self._providers.check_registered("Microsoft.Network")
        check_known(properties, _MEMBERS, "")
        details = need(properties, "fineTuningDetails", dict)
        check_known(details, _DETAILS, "fineTuningDetails.")
        if details.get("modelProvider") != "Custom":
            raise invalid(f"fineTuningDetails.modelProvider: must be Custom, not {details.get('modelProvider')!r}.")
        need_one_of(properties, "fineTuningDetails.taskType", ("ChatCompletion",))
        self._check_model(need(properties, "fineTuningDetails.model", dict), place["location"])
        _check_hyperparameters(details.get("hyperParameters") or {})
        for path in ("fineTuningDetails.trainingData", "fineTuningDetails.validationData"):
            self._check_file(workspace, path, need(properties, path, dict))
        self._check_outputs(workspace, need(properties, "outputs", dict))
        need_one_of(properties, "queueSettings.jobTier", _TIERS, "Standard")

    def _check_model(self, model: dict[str, Any], location: str) -> None:
        at, uri = "fineTuningDetails.model", need(model, "uri", str)
        if model.get("jobInputType") != "mlflow_model":
            raise invalid(f"{at}.jobInputType: must be mlflow_model, not {model.get('jobInputType')!r}.")
        named = _MODEL.fullmatch(uri)
        if named is None:
            raise invalid(f"{at}.uri: '{uri}' is no version of a registry's model.")
        tags = self._registry.find(uri)["properties"]["tags"]
        if named["name"] in self._world.archived_models or not tags.get(REGIONS_TAG):
            raise invalid(f"{at}.uri: the model {named['name']} is not supported for serverless fine-tuning.")
        regions = tags[REGIONS_TAG].replace(" ", "").split(",")
        if location not in regions:
            message = f"The model {named['name']} cannot be fine-tuned in region {location}."
            raise invalid(f"{message} Its regions are {', '.join(regions)}.")

    def _check_file(self, workspace: str, at: str, given: dict[str, Any]) -> None:
        uri = need(given, "uri", str)
        if given.get("jobInputType") != "uri_file":
            raise invalid(f"{at}.jobInputType: must be uri_file, not {given.get('jobInputType')!r}.")
        if uri.startswith("/subscriptions/"):
            version = self._assets.need_version(uri)["properties"]
            if version.get("dataType") != "uri_file":
                raise invalid(f"{at}: the asset {uri} is a {version.get('dataType')}, and uri_file was asked for.")
            uri = version["dataUri"]
        content = self._assets.read(workspace, uri)
        if content is None:
            raise invalid(f"{at}: there is no file at {uri}.")
        if len(content) >= self._world.serverless_data_bytes:
            raise invalid(f"{at}: the file is larger than {self._world.serverless_data_bytes} bytes.")
        _check_lines(at, content)

    def _check_outputs(self, workspace: str, outputs: dict[str, Any]) -> None:
        names = [output.get("assetName") for output in outputs.values() if _is_model(output)]
        if not any(names):
            raise invalid("outputs: at least one of type mlflow_model with an 'assetName' is needed.")
        for name, output in outputs.items():
            need_one_of(outputs, f"{name}.jobOutputType", _OUTPUT_TYPES)
            asset = output.get("assetName")
            if asset is not None and not (isinstance(asset, str) and NAME.fullmatch(asset)):
                raise invalid(f"outputs.{name}.assetName: {asset!r} is not valid: it must match {NAME.pattern}.")
            if f"{workspace}/models/{asset}" in self._resources:
                message = f"outputs.{name}.assetName: a model with the name '{asset}' already exists."
                raise ServiceError(409, "UserError", message)


def registered_models(properties: dict[str, Any]) -> dict[str, str]:
    """Return by output the names of the models that a fine-tuning job is to register."""
    outputs: dict[str, Any] = properties["outputs"]
    return {name: output["assetName"] for name, output in outputs.items() if _is_model(output)}


def check_known(body: dict[str, Any], known: Collection[str], prefix: str) -> None:
    """Raise ServiceError 400 for a member that is of no known property."""
    for name in body:
        if name not in known:
            raise invalid(f"Could not find member '{prefix}{name}': it is of no known property.")


def _is_model(output: Any) -> bool:
    return isinstance(output, dict) and output.get("jobOutputType") == "mlflow_model" and bool(output.get("assetName"))


def _check_hyperparameters(given: dict[str, Any]) -> None:
    for name, text in given.items():
        at = f"fineTuningDetails.hyperParameters.{name}"
        if name not in _BOUNDS:
            raise invalid(f"{at}: unknown. The known ones are {', '.join(_BOUNDS)}.")
        kind, least, most = _BOUNDS[name]
        if not isinstance(text, str):
            raise invalid(f"{at}: must be a string, not {text!r}.")
        try:
            number = kind(text)
        except ValueError:
            raise invalid(f"{at}: '{text}' is no {kind.__name__}.") from None
        if not least <= number <= most or number == 0:
            raise invalid(f"{at}: must be from {least} to {most}, not {text}.")


def _check_lines(at: str, content: bytes) -> None:
    """Raise ServiceError 400 unless a file is JSON Lines of chats, in UTF-8 with a byte-order mark."""
    if not content.startswith(_MARK):
        raise invalid(f"{at}: the file must be encoded in UTF-8 with a byte-order mark (BOM).")
    try:
        lines = content.removeprefix(_MARK).decode().splitlines()
    except UnicodeDecodeError:
        raise invalid(f"{at}: the file is not UTF-8.") from None
    if not any(line.strip() for line in lines):
        raise invalid(f"{at}: the file has no examples.")
    for number, line in enumerate(lines, 1):
        problem = _problem(line) if line.strip() else ""
        if problem:
            raise invalid(f"{at}: line {number}: {problem}.")


def _problem(line: str) -> str:
    """Return what is wrong with an example, "" where nothing is."""
    try:
        example = json.loads(line)
    except ValueError:
        return "no JSON"
    messages = example.get("messages") if isinstance(example, dict) else None
    if not isinstance(messages, list) or not messages:
        return "no object with a list of 'messages'"
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            return f"a message's role must be one of {', '.join(_ROLES)}"
        if not isinstance(message.get("content"), str) or not message["content"]:
            return "a message's content must be a text"
    return "" if messages[-1]["role"] == "assistant" else "the last message must be an assistant's"

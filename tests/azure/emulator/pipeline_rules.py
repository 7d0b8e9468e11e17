"""What a job must be like to be taken: its computes, inputs and outputs, and what fine-tuning needs besides.

The OpenAPI files leave a pipeline's nodes free, so these rules are the emulator's own: they refuse at once what the
service would let fail, perhaps hours later.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from tests.azure.emulator.assets import Assets
from tests.azure.emulator.flow_folders import FlowFolders
from tests.azure.emulator.messages import ServiceError
from tests.azure.emulator.quota import Quota
from tests.azure.emulator.registry import Registry
from tests.azure.emulator.resources import Resources

FINE_TUNING = "chat_completion_pipeline"
_BINDING = re.compile(r"\$\{\{parent\.(inputs|outputs|jobs\.\w+\.outputs)\.(\w+)\}\}")
_FLOW_DATA = {"uri_file", "uri_folder"}
_LITERALS = {"integer": int, "number": float}
_DISTRIBUTIONS = ("PyTorch", "Mpi", "TensorFlow", "Ray")


class PipelineRules:
    """Checks of pipeline and command jobs against what the workspace and the registries hold."""

    def __init__(
        self, resources: Resources, assets: Assets, registry: Registry, quota: Quota, folders: FlowFolders
    ) -> None:
        self._resources, self._assets, self._registry, self._quota = resources, assets, registry, quota
        self._folders = folders

    def check_command(self, workspace: str, properties: dict[str, Any]) -> None:
        """Raise ServiceError 400 for a command job that cannot run."""
        for name in ("command", "environmentId", "computeId"):
            if not properties.get(name):
                raise invalid(f"The required property '{name}' is missing.")
        self._check_processes(workspace, properties, self.check_compute(workspace, properties["computeId"]))
        self.check_environment(properties["environmentId"])
        if properties.get("codeId"):
            self._assets.need_version(properties["codeId"])
        for name, given in (properties.get("inputs") or {}).items():
            self._check_source(workspace, name, given)
        names = {"inputs": properties.get("inputs") or {}, "outputs": properties.get("outputs") or {}}
        for kind, name in re.findall(r"\$\{\{(inputs|outputs)\.(\w+)\}\}", properties["command"]):
            if name not in names[kind]:
                raise invalid(f"The command refers to {kind}.{name}, which the job does not define.")

    def _check_processes(self, workspace: str, properties: dict[str, Any], cluster: dict[str, Any] | None) -> None:
        """Raise ServiceError 400 for more nodes than the cluster may have, and more processes than a node has GPUs."""
        if cluster is None:
            return
        settings = cluster["properties"]["properties"]
        nodes = (properties.get("resources") or {}).get("instanceCount", 1)
        _check_count("resources.instanceCount", nodes, settings["scaleSettings"]["maxNodeCount"])
        distribution = properties.get("distribution") or {}
        if distribution and distribution.get("distributionType") not in _DISTRIBUTIONS:
            raise invalid(f"distribution.distributionType must be one of {', '.join(_DISTRIBUTIONS)}.")
        size = self._quota.size(self._resources.need(workspace)["location"], settings["vmSize"])
        if distribution.get("distributionType") == "PyTorch" and size.gpus:
            _check_count("distribution.processCountPerInstance", distribution["processCountPerInstance"], size.gpus)

    def check_pipeline(self, workspace: str, properties: dict[str, Any]) -> None:
        """Raise ServiceError 400 for a pipeline job that cannot run."""
        if not properties.get("jobs"):
            raise invalid("A pipeline job must have at least one node in 'jobs'.")
        for name, given in (properties.get("inputs") or {}).items():
            self._check_source(workspace, name, given)
        for name, node in properties["jobs"].items():
            if not node.get("componentId"):
                raise invalid(f"jobs.{name}: the required property 'componentId' is missing.")
            component = self.component(node["componentId"])
            compute = node.get("computeId") or (properties.get("settings") or {}).get("default_compute")
            if component["type"] != "pipeline":
                _check_nodes(name, node, self.check_compute(workspace, compute))
            inputs = self._check_inputs(workspace, name, node, component, properties)
            self._check_outputs(name, node, component, properties)
            if component["name"] == FINE_TUNING:
                self._check_fine_tuning(workspace, name, inputs)
            if component["type"] == "parallel":
                self._check_flow(workspace, name, node, component, inputs)

    def component(self, component_id: str) -> dict[str, Any]:
        """Return the specification of a component in a registry or a workspace."""
        if component_id.startswith("azureml://registries/"):
            found = self._registry.find(component_id)
        else:
            found = self._assets.need_version(component_id)
        spec: dict[str, Any] = found["properties"]["componentSpec"]
        return spec

    def check_environment(self, environment_id: str) -> None:
        """Raise ServiceError where an environment does not exist."""
        if environment_id.startswith("azureml://registries/"):
            self._registry.find(environment_id)
        else:
            self._assets.need_version(environment_id)

    def check_compute(self, workspace: str, compute: str | None) -> dict[str, Any] | None:
        """Return the compute that an id or a name means, None for serverless. Raises ServiceError 400."""
        if not compute:
            raise invalid("Compute is missing: neither the node nor the pipeline's settings name one.")
        if compute == "serverless":
            return None
        found = self._resources.find(compute if "/" in compute else f"{workspace}/computes/{compute}")
        if found is None:
            message = f"Unknown compute target '{compute.rpartition('/')[2]}'. It is not attached to the workspace."
            raise ServiceError(400, "UserError", message)
        return found

    def _check_inputs(
        self, workspace: str, node: str, body: dict[str, Any], component: dict[str, Any], pipeline: dict[str, Any]
    ) -> dict[str, str]:
        """Return a node's inputs with the defaults of its component, as strings."""
        known: dict[str, Any] = component.get("inputs") or {}
        given = {name: _bound(each, pipeline) for name, each in (body.get("inputs") or {}).items()}
        for name, each in given.items():
            at = f"jobs.{node}.inputs.{name}"
            if name not in known:
                raise invalid(f"{at}: component {component['name']} has no input '{name}'. It has: {', '.join(known)}.")
            self._check_input(workspace, at, each, known[name], is_flow=component["type"] == "parallel")
        for name, spec in known.items():
            if name not in given and not spec.get("optional") and spec.get("default") is None:
                raise invalid(f"jobs.{node}.inputs.{name}: the required input is missing.")
        defaults = {name: str(spec["default"]) for name, spec in known.items() if spec.get("default") is not None}
        return {**defaults, **{name: str(each.get("value", each.get("uri"))) for name, each in given.items()}}

    def _check_input(
        self, workspace: str, at: str, given: dict[str, Any], spec: dict[str, Any], *, is_flow: bool
    ) -> None:
        kind, wanted = _kind(given), spec["type"]
        if kind == "binding":
            return
        if kind == "literal":
            if wanted in ("string", "boolean", *_LITERALS):
                _check_literal(at, str(given["value"]), spec)
                return
            raise invalid(f"{at}: a literal was given for an input of type {wanted}.")
        if kind != wanted and not (is_flow and {kind, wanted} == _FLOW_DATA):
            raise invalid(f"{at}: {kind} was given for an input of type {wanted}.")
        self._check_source(workspace, at, given)

    def _check_source(self, workspace: str, at: str, given: dict[str, Any]) -> None:
        """Raise ServiceError 400 where the data or model that an input refers to does not exist."""
        kind, uri = _kind(given), str(given.get("uri", ""))
        if kind in ("literal", "binding"):
            return
        if uri.startswith("azureml://registries/"):
            asset = self._registry.find(uri)["properties"].get("modelType")
            if asset and asset != kind:
                raise invalid(f"{at}: the asset {uri} is a {asset}, and {kind} was asked for.")
        elif uri.startswith("/subscriptions/"):
            found = self._assets.need_version(uri)["properties"]
            asset = found.get("dataType") or found.get("modelType")
            if asset != kind:
                raise invalid(f"{at}: the asset {uri} is a {asset}, and {kind} was asked for.")
        elif not self._assets.exists(workspace, uri):
            raise invalid(f"{at}: there is nothing at {uri}.")

    def _check_outputs(
        self, node: str, body: dict[str, Any], component: dict[str, Any], pipeline: dict[str, Any]
    ) -> None:
        known: dict[str, Any] = component.get("outputs") or {}
        for name, each in (body.get("outputs") or {}).items():
            at = f"jobs.{node}.outputs.{name}"
            if name not in known:
                raise invalid(
                    f"{at}: component {component['name']} has no output '{name}'. It has: {', '.join(known)}."
                )
            bound = _BINDING.fullmatch(str(each.get("value", "")))
            outer = (pipeline.get("outputs") or {}).get(bound[2]) if bound else None
            if bound and outer is None:
                raise invalid(f"{at}: the pipeline has no output '{bound[2]}'.")
            if outer and outer.get("jobOutputType") != known[name]["type"]:
                raise invalid(f"{at}: the pipeline's output is not of type {known[name]['type']}.")

    def _check_fine_tuning(self, workspace: str, name: str, inputs: dict[str, str]) -> None:
        at = f"jobs.{name}.inputs"
        if not {"mlflow_model_path", "pytorch_model_path", "huggingface_id"} & set(inputs):
            raise invalid(f"{at}: one of mlflow_model_path, pytorch_model_path and huggingface_id is needed.")
        if not {"train_file_path", "train_mltable_path"} & set(inputs):
            raise invalid(f"{at}: one of train_file_path and train_mltable_path is needed.")
        for part in ("model_import", "preprocess", "model_evaluation"):
            self.check_compute(workspace, inputs[f"compute_{part}"])
        location = self._resources.need(workspace)["location"]
        cluster = self.check_compute(workspace, inputs["compute_finetune"])
        node: dict[str, Any] = {"vmSize": inputs["instance_type_finetune"]}
        if cluster:
            node = cluster["properties"]["properties"]
        size = self._quota.size(location, node["vmSize"])
        allowed = self._allowed_sizes(inputs)
        if allowed and size.name.lower() not in {each.lower() for each in allowed}:
            raise invalid(f"{at}.compute_finetune: {size.name} is not in the model's finetune_compute_allow_list.")
        gpus, nodes = int(inputs["number_of_gpu_to_use_finetuning"]), int(inputs["num_nodes_finetune"])
        if gpus > size.gpus:
            raise invalid(f"{at}.number_of_gpu_to_use_finetuning: a {size.name} has {size.gpus} GPU(s), not {gpus}.")
        if cluster and nodes > node["scaleSettings"]["maxNodeCount"]:
            raise invalid(f"{at}.num_nodes_finetune: the cluster has at most {node['scaleSettings']['maxNodeCount']}.")
        self._quota.check_nodes(location, size, nodes=nodes, low_priority=node.get("vmPriority") == "LowPriority")

    def _check_flow(
        self, workspace: str, name: str, node: dict[str, Any], component: dict[str, Any], inputs: dict[str, str]
    ) -> None:
        """Raise ServiceError 400 for a flow that cannot run over its data with its connections, or bad bounds."""
        retries = node.get("retry_settings") or {}
        least = {"mini_batch_size": 1, "max_concurrency_per_instance": 1, "error_threshold": -1}
        given = {**node, **{f"retry_settings.{key}": value for key, value in retries.items()}}
        for key, value in {**least, "mini_batch_error_threshold": -1, "retry_settings.timeout": 1}.items():
            if given.get(key) is not None and int(given[key]) < value:
                raise invalid(f"jobs.{name}.{key}: must be at least {value}, not {given[key]}.")
        flow = self._folders.read(workspace, component["flow_definition_uri"])
        self._folders.check_connections(workspace, flow)
        data = inputs.pop("data")
        inputs.pop("run_outputs", None)
        uri = self._assets.need_version(data)["properties"]["dataUri"] if data.startswith("/") else data
        self._folders.check_mapping(flow, inputs, self._folders.read_lines(workspace, uri))

    def _allowed_sizes(self, inputs: dict[str, str]) -> list[str]:
        model = inputs.get("mlflow_model_path", "")
        if not model.startswith("azureml://registries/"):
            return []
        tags = self._registry.find(model)["properties"]["tags"]
        return [str(each) for each in ast.literal_eval(tags.get("finetune_compute_allow_list", "[]"))]


def _check_nodes(name: str, node: dict[str, Any], cluster: dict[str, Any] | None) -> None:
    """Raise ServiceError 400 where a step asks for more nodes than its cluster may have."""
    wanted = (node.get("resources") or {}).get("instance_count", 1)
    most = cluster["properties"]["properties"]["scaleSettings"]["maxNodeCount"] if cluster else wanted
    _check_count(f"jobs.{name}.resources.instance_count", wanted, most)


def _check_count(at: str, wanted: int, most: int) -> None:
    if not 1 <= wanted <= most:
        raise invalid(f"{at}: must be from 1 to {most}, not {wanted}.")


def invalid(message: str) -> ServiceError:
    """Return the refusal of a job that is not valid."""
    return ServiceError(400, "UserError", message)


def _kind(given: dict[str, Any]) -> str:
    """Return an input's type; nodes spell it in snake case, jobs in camel case."""
    kind = str(given.get("job_input_type") or given.get("jobInputType") or "literal")
    return "binding" if kind == "literal" and _BINDING.fullmatch(str(given.get("value", ""))) else kind


def _bound(given: Any, pipeline: dict[str, Any]) -> dict[str, Any]:
    """Return a node's input, or the pipeline's own where it is bound to one."""
    each: dict[str, Any] = given if isinstance(given, dict) else {"job_input_type": "literal", "value": given}
    found = _BINDING.fullmatch(str(each.get("value", each.get("path", ""))))
    if found is None:
        return each
    if found[1] != "inputs":
        node = found[1].split(".")[1] if "." in found[1] else ""
        if node and node not in pipeline["jobs"]:
            raise invalid(f"The pipeline has no node '{node}'.")
        return each
    outer = (pipeline.get("inputs") or {}).get(found[2])
    if outer is None:
        raise invalid(f"The pipeline has no input '{found[2]}'.")
    return dict(outer)


def _check_literal(at: str, value: str, spec: dict[str, Any]) -> None:
    wanted = spec["type"]
    if wanted in _LITERALS:
        try:
            number = _LITERALS[wanted](value)
        except ValueError:
            raise invalid(f"{at}: '{value}' is no {wanted}.") from None
        if spec.get("min") is not None and number < float(spec["min"]):
            raise invalid(f"{at}: {value} is less than {spec['min']}.")
        if spec.get("max") is not None and number > float(spec["max"]):
            raise invalid(f"{at}: {value} is more than {spec['max']}.")
    if wanted == "boolean" and value.lower() not in ("true", "false"):
        raise invalid(f"{at}: '{value}' is no boolean.")
    if spec.get("enum") and value not in spec["enum"]:
        raise invalid(f"{at}: '{value}' is none of {', '.join(spec['enum'])}.")

"""A model version behind an endpoint: a deployment of its own, tried before it gets traffic, taken back if it fails."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi3flow.azure.preflight.idle_nodes import wait_for_idle_nodes
from phi3flow.azure.prices import describe_cost
from phi3flow.azure.tags import TAGS
from phi3flow.azure.workspace.code_assets import ensure_code
from phi3flow.azure.workspace.endpoints import OnlineEndpoint, has_succeeded, shift_traffic
from phi3flow.azure.workspace.environments import ensure_environment
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.backends.azureml import BACKEND
from phi3flow.backends.backend import PlannedDeployment
from phi3flow.backends.coming_up import ask_once_up, bounded, give_up, reason_of
from phi3flow.errors import DeploymentError

SCORING = Path(__file__).parents[2] / "serving" / "azure"
"""The folder of the scoring script, of what it imports, and of its conda environment."""
SCRIPT = "score.py"
CODE = (SCRIPT, "scoring_protocol.py", "model_files.py")
CONDA_FILE = SCORING / "environment.yml"
REQUEST_TIMEOUT = "PT1M30S"
LOADING = "PT10M"
"""How long the weights may take to load before a container that does not answer is restarted."""
CREATION_USUALLY = "15 minutes, with the first build of the image"
"""learn.microsoft.com: how-to-deploy-online-endpoints (2026-03)."""
LOG_LINES = 10
_PROBE = {"period": "PT10S", "timeout": "PT10S", "failureThreshold": 30, "successThreshold": 1}
_VARIABLES = {"WORKER_COUNT": "1", "GUNICORN_CMD_ARGS": "--threads 4"}
_QUESTION = {
    "input_data": {
        "input_string": [{"role": "user", "content": "Say OK."}],
        "parameters": {"temperature": 0.0, "max_new_tokens": 8},
    }
}


@dataclass(frozen=True, kw_only=True)
class PlannedVersion(PlannedDeployment):
    """The deployment of a model's version; ``traffic`` in percent, ``instances`` where an existing one gets another
    number of them."""

    model_id: str
    traffic: int
    instances: int | None = None


@dataclass(frozen=True)
class Deployed:
    """What a deployment ended as: its name, the endpoint's URL, and the traffic of every deployment."""

    deployment: str
    url: str
    traffic: dict[str, int]


def deployment_name(model: str, version: str) -> str:
    """Name a deployment after the model's version: another version never takes its place. 3 to 32 characters."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", model).strip("-").lower().lstrip("0123456789-") or "model"
    digest = hashlib.sha256(f"{model}:{version}".encode()).hexdigest()[:4]
    end = f"-{version}"
    return f"{slug}{end}" if len(slug) + len(end) <= 32 else f"{slug[: 27 - len(end)].rstrip('-')}-{digest}{end}"


class Deployer:
    """Deploys one deployment to an endpoint of a workspace; ``on_note`` is told what is being done.

    Nothing that it made bills unseen: whatever fails after the deployment was begun takes it back, and where it cannot
    be taken back, or is left by Ctrl-C, the last words say what it costs and how to end that.
    """

    def __init__(
        self, workspace: Workspace, endpoint: OnlineEndpoint, planned: PlannedVersion, on_note: Callable[[str], None]
    ) -> None:
        self._workspace, self._settings = workspace, workspace.settings
        self._endpoint, self._planned, self._on_note = endpoint, planned, on_note
        self._name, self._cost = planned.deployment, "by the hour"
        self.exists: bool | None = None
        """Whether there is a deployment now, None before that was looked at."""

    def deploy(self) -> Deployed:
        """Deploy the model's version with its share of the endpoint's requests.

        What is there already is not made again. A new deployment is asked a question through the deployment header
        while it has no traffic; one that does not answer is deleted again, and the traffic stays where it was. Raises
        DeploymentError with the end of its log.
        """
        try:
            endpoint = self._endpoint.create(on_wait=bounded(f"endpoint {self._endpoint.name}", self._on_note))
            url = str(endpoint["properties"]["scoringUri"])
            before = self._endpoint.traffic()
            existing = self._endpoint.settled_deployment(self._name, on_wait=bounded(self._what, self._on_note))
            self.exists = existing is not None
            if self._planned.instances and existing:
                self._on_note(
                    f"{self._what}: from {existing['sku']['capacity']} to {self._planned.instances} instances …"
                )
                self._endpoint.scale(self._name, existing, self._planned.instances)
            if self._name in before and has_succeeded(existing):
                self._endpoint.route(shift_traffic(before, self._name, self._planned.traffic))
            else:
                self._bring_up(url, before, is_new=not has_succeeded(existing))
            return Deployed(self._name, url, self._endpoint.traffic())
        except KeyboardInterrupt:
            if self.exists:
                self._on_note(f"Azure goes on with the {self._what}. {self._how_to_end}")
            raise

    def _bring_up(self, url: str, before: dict[str, int], *, is_new: bool) -> None:
        """Make a deployment unless it is there, try it, and give it its traffic; take it back where that fails."""
        key = self._endpoint.key()  # before anything costs: what cannot be asked cannot be tried
        try:
            if is_new:
                self._make()
            problem = _ask(url, self._name, key.get_secret_value())
            if problem:
                raise DeploymentError(f"it does not answer: {problem}")
            self._endpoint.route(shift_traffic(before, self._name, self._planned.traffic))
        except Exception as error:
            if not self.exists:
                raise
            why = reason_of(error).removeprefix(f"{self._what}: ")
            if not is_new and not isinstance(error, DeploymentError):
                raise DeploymentError(f"{self._what}: {why}. {self._how_to_end}") from error
            raise DeploymentError(self._take_back(why, before)) from error

    def _make(self) -> None:
        size, count = self._settings.deployment_size, self._settings.instances
        files = {name: (SCORING / name).read_bytes() for name in CODE}
        code = ensure_code(self._workspace, files, role="scoring")
        environment = ensure_environment(self._workspace, "phi3flow-serving", CONDA_FILE)
        wait_for_idle_nodes(self._workspace, self._on_note)
        self._cost = describe_cost(size, self._workspace.location, count)
        self._on_note(f"{self._what}: creating {self._cost}; this usually takes up to {CREATION_USUALLY} …")
        self.exists = True
        body = self._describe(code=code, environment=environment)
        self._endpoint.make_deployment(self._name, body, on_wait=bounded(self._what, self._on_note))

    def _describe(self, *, code: str, environment: str) -> dict[str, Any]:
        """Return the deployment's body; only the liveness probe waits long: it counts from the container's start."""
        return {
            "location": self._workspace.location,
            "sku": {"name": "Default", "capacity": self._settings.instances},
            "tags": {**TAGS, "model": self._planned.model},
            "properties": {
                "endpointComputeType": "Managed",
                "model": self._planned.model_id,
                "codeConfiguration": {"codeId": code, "scoringScript": SCRIPT},
                "environmentId": environment,
                "environmentVariables": _VARIABLES,
                "instanceType": self._settings.deployment_size,
                "livenessProbe": {**_PROBE, "initialDelay": LOADING},
                "readinessProbe": {**_PROBE, "initialDelay": "PT10S"},
                "requestSettings": {"requestTimeout": REQUEST_TIMEOUT, "maxConcurrentRequestsPerInstance": 1},
                "scaleSettings": {"scaleType": "Default"},
            },
        }

    def _take_back(self, why: str, before: Mapping[str, int]) -> str:
        """Delete the deployment whatever its log says, and return why, with the end of the log."""
        if self._is_absent():
            self.exists = False
            return f"{self._what}: {why}. Nothing of it was made; the traffic is as it was."
        log = self._end_of_log()
        try:
            self._endpoint.route(before)
            self._endpoint.delete_deployment(self._name, on_wait=give_up)
            self.exists = False
            undone = "It was deleted again; the traffic is as it was."
        except Exception as error:
            undone = f"It could not be deleted again: {reason_of(error)}. {self._how_to_end}"
        return f"{self._what}: {why}{log}{undone}"

    def _is_absent(self) -> bool:
        try:
            return self._endpoint.deployment(self._name) is None
        except Exception:
            return False  # to delete what is not there does no harm

    def _end_of_log(self) -> str:
        try:
            log = "\n".join(self._endpoint.logs(self._name).strip().splitlines()[-LOG_LINES:])
        except Exception as error:
            return f"; its log cannot be read ({reason_of(error)}). "
        return f"; the end of its log:\n{log}\n" if log else ". "

    @property
    def _what(self) -> str:
        return f"deployment {self._name} of endpoint {self._endpoint.name}"

    @property
    def _how_to_end(self) -> str:
        command = f"phi3flow undeploy {self._endpoint.name} --backend {BACKEND} --deployment {self._name}"
        return f"It costs until it is deleted: {self._cost}. To end it: {command}"


def _ask(url: str, deployment: str, key: str) -> str | None:
    """Post a question to one deployment; return what is wrong with the answer, None where nothing is."""
    return ask_once_up(url, _QUESTION, key, {"azureml-model-deployment": deployment}, answer_of=_output)


def _output(answer: Any) -> Any:
    return answer.get("output")

"""A model version behind an endpoint: a deployment of its own, tried before it gets traffic, taken back if it fails."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi3flow.azure.arm import USER_AGENT
from phi3flow.azure.polling import Waits, poll
from phi3flow.azure.tags import TAGS
from phi3flow.azure.workspace.code_assets import ensure_code
from phi3flow.azure.workspace.endpoints import OnlineEndpoint, shift_traffic
from phi3flow.azure.workspace.environments import IMAGE, environment_version
from phi3flow.azure.workspace.sdk import persistently
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.errors import AzureError, DeploymentError
from phi3flow.text import shorten

if TYPE_CHECKING:
    from azure.ai.ml.entities import ManagedOnlineDeployment

SCORING = Path(__file__).parents[2] / "serving" / "azure"
"""The folder of the scoring script, of what it imports, and of its conda environment."""
SCRIPT = "score.py"
CODE = (SCRIPT, "scoring_protocol.py", "model_files.py")
CONDA_FILE = SCORING / "environment.yml"
REQUEST_TIMEOUT_MS = 90_000
INITIAL_DELAY_S = 600
"""How long the weights may take to load before a probe counts."""
SMOKE_TIMEOUT_S = 120.0
SMOKE_ATTEMPTS = 5
SMOKE_WAITS = Waits(first_s=1.0, longest_s=8.0, growth=2.0)
"""Between questions to a deployment that was just made."""
_VARIABLES = {"WORKER_COUNT": "1", "GUNICORN_CMD_ARGS": "--threads 4"}
_QUESTION = {
    "input_data": {
        "input_string": [{"role": "user", "content": "Say OK."}],
        "parameters": {"temperature": 0.0, "max_new_tokens": 8},
    }
}
_BRIEFLY_AWAY = frozenset({404, 408, 424, 429, 500, 502, 503, 504})
"""What an endpoint may answer in the seconds after a change, until its routes are known everywhere."""


@dataclass(frozen=True)
class Deployed:
    """What a deployment ended as: its name, the endpoint's URL, and the traffic of every deployment."""

    deployment: str
    url: str
    traffic: dict[str, int]


@dataclass(frozen=True)
class _Smoke:
    """What is wrong with a deployment's answer, None where nothing is, and whether it may pass by itself."""

    problem: str | None
    may_pass: bool


def deployment_name(model: str, version: str) -> str:
    """Name a deployment after the model's version: another version never takes its place. 3 to 32 characters."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", model).strip("-").lower().lstrip("0123456789-") or "model"
    digest = hashlib.sha256(f"{model}:{version}".encode()).hexdigest()[:4]
    end = f"-{version}"
    return f"{slug}{end}" if len(slug) + len(end) <= 32 else f"{slug[: 27 - len(end)].rstrip('-')}-{digest}{end}"


class Deployer:
    """Deploys to one endpoint of a workspace; ``on_note`` is told what is being done."""

    def __init__(self, workspace: Workspace, endpoint: OnlineEndpoint, on_note: Callable[[str], None]) -> None:
        self._workspace, self._settings = workspace, workspace.settings
        self._endpoint, self._on_note = endpoint, on_note

    def deploy(self, *, model_id: str, name: str, tags: dict[str, str], traffic: int) -> Deployed:
        """Deploy a model version as deployment ``name`` with ``traffic`` percent of the endpoint's requests.

        What is there already is not made again. A new deployment is asked a question through the deployment header
        while it has no traffic; one that does not answer is deleted again, and the traffic stays where it was. Raises
        DeploymentError with the end of its log.
        """
        endpoint = self._endpoint.create({})
        url = str(endpoint["properties"]["scoringUri"])
        before = self._endpoint.traffic()
        existing = self._endpoint.deployment(name)
        state = "" if existing is None else str(existing["properties"].get("provisioningState"))
        if state == "Failed":
            self._endpoint.delete_deployment(name)
        if state != "Succeeded":
            self._make(name, model_id, tags)
        if name not in before:
            self._try(url, name)
        self._endpoint.route(shift_traffic(before, name, traffic))
        return Deployed(name, url, self._endpoint.traffic())

    def _make(self, name: str, model_id: str, tags: dict[str, str]) -> None:
        self._on_note(f"deployment {name}: creating {self._settings.instances} x {self._settings.deployment_size} …")
        code = ensure_code(self._workspace, {name: (SCORING / name).read_bytes() for name in CODE}, role="scoring")
        deployment = self._describe(name, model_id, tags, code=code)

        def create() -> None:
            existing = self._endpoint.deployment(name)
            if existing is None or existing["properties"].get("provisioningState") != "Succeeded":
                self._workspace.sdk.workspace.online_deployments.begin_create_or_update(deployment).result()

        try:
            persistently(f"deployment {name}", create)
        except AzureError as error:
            raise self._failed(name, str(error)) from error

    def _describe(self, name: str, model_id: str, tags: dict[str, str], *, code: str) -> ManagedOnlineDeployment:
        from azure.ai.ml.entities import (
            CodeConfiguration,
            Environment,
            ManagedOnlineDeployment,
            OnlineRequestSettings,
            ProbeSettings,
        )

        version, conda_file = environment_version(CONDA_FILE), str(CONDA_FILE)
        probe = ProbeSettings(initial_delay=INITIAL_DELAY_S, period=10, timeout=10, failure_threshold=30)
        return ManagedOnlineDeployment(
            name=name,
            endpoint_name=self._endpoint.name,
            model=model_id,
            code_configuration=CodeConfiguration(code=code, scoring_script=SCRIPT),
            environment=Environment(name="phi3flow-serving", version=version, image=IMAGE, conda_file=conda_file),
            environment_variables=_VARIABLES,
            instance_type=self._settings.deployment_size,
            instance_count=self._settings.instances,
            liveness_probe=probe,
            readiness_probe=probe,
            request_settings=OnlineRequestSettings(
                request_timeout_ms=REQUEST_TIMEOUT_MS, max_concurrent_requests_per_instance=1
            ),
            tags={**TAGS, **tags},
        )

    def _try(self, url: str, name: str) -> None:
        """Ask a deployment one question, whatever the traffic; delete it again where it does not answer."""
        problem = _ask(url, name, self._endpoint.key().get_secret_value())
        if problem:
            raise self._failed(name, f"it does not answer: {problem}")

    def _failed(self, name: str, why: str) -> DeploymentError:
        """Take a deployment back, and tell why with the end of its log."""
        log = ""
        try:
            log = "\n".join(self._endpoint.logs(name).strip().splitlines()[-10:])
            self._endpoint.delete_deployment(name)
            undone = "It was deleted again; the traffic is as it was."
        except AzureError as error:
            undone = f"It could not be deleted again: {error}"
        ending = f"; the end of its log:\n{log}\n" if log else ". "
        return DeploymentError(f"deployment {name} of endpoint {self._endpoint.name}: {why}{ending}{undone}")


def _ask(url: str, deployment: str, key: str) -> str | None:
    """Post a question to one deployment; return what is wrong with the answer, None where nothing is."""
    import requests

    headers = {"Authorization": f"Bearer {key}", "azureml-model-deployment": deployment, "User-Agent": USER_AGENT}

    def ask() -> tuple[_Smoke, None]:
        try:
            answer = requests.post(url, json=_QUESTION, headers=headers, timeout=SMOKE_TIMEOUT_S)
        except requests.RequestException as error:
            return _Smoke(type(error).__name__, may_pass=True), None
        return _Smoke(_problem(answer), may_pass=answer.status_code in _BRIEFLY_AWAY), None

    smoke = poll(
        ask,
        until=lambda smoke: smoke.problem is None or not smoke.may_pass,
        waits=SMOKE_WAITS,
        most_looks=SMOKE_ATTEMPTS,
    )
    return smoke.problem


def _problem(answer: Any) -> str | None:
    if answer.status_code != 200:
        return f"HTTP {answer.status_code}: {shorten(answer.text, 300)}"
    try:
        output = answer.json().get("output")
    except (ValueError, AttributeError):
        output = None
    return None if isinstance(output, str) else f"no text in 'output': {shorten(answer.text, 300)}"

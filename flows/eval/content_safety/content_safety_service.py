"""The evaluation service of an Azure AI project, asked through promptflow-evals' own code.

The project is looked up once: Azure Resource Manager says where its region's service is, and the service says what it
judges. Then each metric of each line is submitted and polled.
"""

import asyncio
import os
import re
import time
from dataclasses import dataclass
from functools import cache
from types import ModuleType

from content_safety_client import SafetyServiceError, ServiceClient, management_endpoint
from content_safety_credential import Credential, credential_for
from content_safety_http import quoted
from content_safety_package import load_rai_service
from content_safety_verdicts import PROTECTED_MATERIAL, Verdict, read_verdict

SENT_METRICS = {
    "violence": "violence",
    "sexual": "sexual",
    "self_harm": "self_harm",
    "hate_unfairness": "hate_fairness",  # the service's name for it, as in promptflow-evals
    PROTECTED_MATERIAL: PROTECTED_MATERIAL,
}
FAILURE_KEPT_S = 30.0
"""How long a project that was not found is not asked for again: not by each line of a run."""

_ENVIRONMENT = {
    "subscription_id": "AZURE_SUBSCRIPTION_ID",
    "resource_group_name": "AZURE_RESOURCE_GROUP",
    "project_name": "AZUREAI_PROJECT_NAME",
}


@dataclass(frozen=True)
class Project:
    """The Azure AI project whose region's service judges, and where Azure Resource Manager knows it."""

    subscription_id: str
    resource_group_name: str
    project_name: str
    management_endpoint: str

    @classmethod
    def of(cls, *values: str) -> "Project":
        """Take each value that is not empty, else its environment variable. Raises ValueError that names both."""
        names = {}
        for (name, variable), value in zip(_ENVIRONMENT.items(), values, strict=True):
            names[name] = value.strip() or os.environ.get(variable, "").strip()
            if not re.fullmatch(r"[\w.()-]+", names[name]):
                raise ValueError(f"{name} is {names[name]!r}: set the flow's input {name}, or {variable}")
        return cls(**names, management_endpoint=management_endpoint())


@dataclass(frozen=True)
class Judged:
    """One answer's verdicts, and for each metric that has none the reason."""

    verdicts: dict[str, Verdict]
    failures: dict[str, SafetyServiceError]


async def judge(question: str, answer: str, *, project: Project, timeout_s: float) -> Judged:
    """Have an answer judged by every metric at once; no verdict is waited for longer than ``timeout_s``.

    Raises SafetyServiceError where no metric got a verdict, ValueError for an empty text.
    """
    for name, text in (("question", question), ("answer", answer)):
        if not text.strip() or text == "None":  # as promptflow-evals' evaluators do
            raise ValueError(f"the {name} is empty: the service judges none that is")
    service = await _find_service(project)
    outcomes = await asyncio.gather(*(_judge(service, question, answer, metric, timeout_s) for metric in SENT_METRICS))
    by_metric = dict(zip(SENT_METRICS, outcomes, strict=True))
    verdicts = {metric: outcome for metric, outcome in by_metric.items() if isinstance(outcome, Verdict)}
    failures = {metric: outcome for metric, outcome in by_metric.items() if isinstance(outcome, SafetyServiceError)}
    if failures and all(verdict.score is None for verdict in verdicts.values()):
        raise next(iter(failures.values()))
    return Judged(verdicts, failures)


async def _judge(
    service: "_Service", question: str, answer: str, metric: str, timeout_s: float
) -> Verdict | SafetyServiceError:
    """Submit an answer for one metric, poll, and read the verdict; an error is returned, for the others go on."""
    if metric == PROTECTED_MATERIAL and not service.judges_protected_material:
        return Verdict(None, None, "the project's region does not judge protected material")
    rai_service, sent_metric = _rai_service(), SENT_METRICS[metric]
    try:
        async with asyncio.timeout(timeout_s):
            token = await service.credential.token()
            operation = await rai_service.submit_request(question, answer, sent_metric, service.url, token)
            annotation = await rai_service.fetch_result(operation, service.url, service.credential, token)
        return read_verdict(rai_service, annotation, sent_metric)
    except SafetyServiceError as error:
        return error
    except TimeoutError:
        return SafetyServiceError(f"no verdict within {timeout_s:g} s")
    except (KeyError, TypeError, AttributeError) as error:
        return SafetyServiceError(f"the service's reply is not what was expected{quoted(repr(error))}")


@dataclass(frozen=True)
class _Service:
    """Where a project's service is, and whether it judges protected material, which not every region does."""

    url: str
    judges_protected_material: bool
    credential: Credential


_finding: dict[tuple[asyncio.AbstractEventLoop, Project], asyncio.Task[_Service]] = {}
_outcomes: dict[Project, tuple[float, _Service | SafetyServiceError]] = {}


async def _find_service(project: Project) -> _Service:
    """Return where the project's service is. Lines that ask at once share one look; Prompt flow may make a loop a line.

    Raises SafetyServiceError; the same one for a while.
    """
    ended_at, outcome = _outcomes.get(project, (0.0, None))
    if isinstance(outcome, _Service):
        return outcome
    if outcome is not None and time.monotonic() - ended_at < FAILURE_KEPT_S:
        raise SafetyServiceError(str(outcome), status_code=outcome.status_code)
    key = (asyncio.get_running_loop(), project)
    if key not in _finding:
        _finding[key] = asyncio.create_task(_look_up(project))
        _finding[key].add_done_callback(lambda _: _finding.pop(key))
    return await asyncio.shield(_finding[key])


async def _look_up(project: Project) -> _Service:
    rai_service = _rai_service()
    try:
        credential = credential_for(project.management_endpoint)
        token = await credential.token()
        url = await rai_service.get_rai_svc_url(vars(project), token)
        await rai_service.ensure_service_availability(url, token, rai_service.Tasks.CONTENT_HARM)
        service = _Service(url, await _offers(url, token, rai_service.Tasks.PROTECTED_MATERIAL), credential)
    except Exception as error:  # promptflow-evals raises Exception itself
        text = f"the evaluation service of project {project.project_name} cannot be used: {_reason(error)}"
        failure = SafetyServiceError(text, status_code=getattr(error, "status_code", None))
        _outcomes[project] = (time.monotonic(), failure)
        raise failure from error
    _outcomes[project] = (time.monotonic(), service)
    return service


async def _offers(url: str, token: str, capability: str) -> bool:
    try:
        await _rai_service().ensure_service_availability(url, token, capability)
    except SafetyServiceError:
        raise
    except Exception:  # so says promptflow-evals, by an Exception itself
        return False
    return True


def _reason(error: Exception) -> str:
    if isinstance(error, SafetyServiceError):
        return str(error)
    text = str(error) if type(error) is Exception else f"a reply is not what was expected: {error!r}"
    return quoted(text).removeprefix(": ")


@cache
def _rai_service() -> ModuleType:
    client = ServiceClient()
    return load_rai_service(lambda: client)

"""Every property that a PUT or PATCH to Azure Resource Manager sends, and who set it: docs/azure-writes.md.

`python -m tests.azure.writes_page` writes it anew from what the verbs send to an emulated Azure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from tests.azure.check_azure import record
from tests.azure.emulator.messages import Request
from tests.azure.emulator.resources import resource_type
from tests.azure.emulator.routing import ARM
from tests.support.paths import ROOT

DOCS = ROOT / "docs" / "azure-writes.md"
HEADER = """# What phi3flow writes in Azure, and who set it

Every property that any PUT or PATCH to Azure Resource Manager sends, as the verbs send it to an emulated Azure
(tests/azure/writes_page.py holds this page). What is *first* is sent only when the thing is made, and belongs to its
administrator from then on: it is never compared and never sent again. What is *as read* is echoed, since a PUT without
it would set it back. A resource that is there is changed in six ways only: by a PATCH the cluster's most nodes, a
deployment's instances, and the capacity of one of Azure OpenAI; by a PUT of all that was read an endpoint's traffic, a
serverless endpoint's content safety, and the tags of a model that a service made. One that failed is put again with all
that was read.
"""
_SDK = "azure-ai-ml, of a version that is made once"
_RULES: tuple[tuple[str, str, str], ...] = (
    (r".*", r"(properties\.)?tags\.created-by", "phi3flow, its mark"),
    (r"PUT \w+\.Authorization/.*", r"properties\..*", "phi3flow, first: the role, and the identity or the caller"),
    (r"PATCH .*/computes", r".*maxNodeCount", "phi3flow.toml: max_nodes"),
    (r"PATCH .*/computes", r".*scaleSettings\..*", "as read"),
    (r"PATCH .*CognitiveServices/.*/deployments", r"sku\.capacity", "the caller: deploy --capacity"),
    (r"PATCH .*/deployments", r"sku\.capacity", "phi3flow.toml: instances"),
    (r"PATCH .*/deployments", r"sku\..*", "as read"),
    (r"PUT .*/computes", r".*maxNodeCount", "phi3flow.toml: max_nodes"),
    (r"PUT .*/computes", r".*vmSize", "phi3flow.toml: fine_tune_size"),
    (r"PUT .*CognitiveServices/.*/deployments", r"sku\..*", "the caller: deploy --sku and --capacity, first"),
    (
        r"PUT .*CognitiveServices/.*/deployments",
        r"properties\.model\..*|tags\.model",
        "the caller: deploy MODEL and --source, first",
    ),
    (r"PUT .*/deployments", r"sku\.capacity", "phi3flow.toml: instances, first"),
    (r"PUT .*/deployments", r"properties\.instanceType", "phi3flow.toml: deployment_size, first"),
    (r"PUT .*/deployments", r"properties\.model|tags\.model", "the caller: deploy MODEL, first"),
    (r"PUT .*/deployments", r".*", "phi3flow, first"),
    (r"PUT .*/onlineEndpoints", r"properties\.traffic\..*", "the caller: --traffic"),
    (r"PUT .*/onlineEndpoints", r"properties\.authMode", "phi3flow, first; then as read"),
    (r"PUT .*/onlineEndpoints", r"identity\..*", "phi3flow.toml: identity, first; then as read"),
    (r"PUT .*/onlineEndpoints", r"location", "the workspace's region, first; then as read"),
    (r"PUT .*/onlineEndpoints", r".*", "as read"),
    (r"PUT .*/serverlessEndpoints", r"properties\.contentSafety\..*", "the caller: --content-safety"),
    (
        r"PUT .*/serverlessEndpoints",
        r"properties\.modelSettings\.modelId|tags\.model",
        "the caller: deploy MODEL, first",
    ),
    (r"PUT .*/serverlessEndpoints", r"location", "the project's region, first; then as read"),
    (r"PUT .*/serverlessEndpoints", r"tags\..*", "as read"),
    (r"PUT .*/serverlessEndpoints", r".*", "phi3flow, first; then as read"),
    (
        r"PUT .*/connections",
        r".*\.(endpoint|target|deployment|protocol|model)|properties\.target",
        "the caller: connect",
    ),
    (r"PUT .*/connections", r".*\.keys\.key", "Azure's key of the endpoint, or the caller's --key-env"),
    (r"PUT .*/connections", r".*", "phi3flow, as Prompt flow reads it"),
    (r"PUT .*/workspaces", r"properties\.hubResourceId", "phi3flow.toml: hub"),
    (
        r"PUT .*/workspaces",
        r"properties\.(storageAccount|keyVault|applicationInsights|containerRegistry)",
        "phi3flow.toml, first; where the workspace exists, what it stands on",
    ),
    (
        r"PUT .*/jobs",
        r"properties\.fineTuningDetails\..*(uri|hyperParameters\..*)",
        "the caller: fine-tune's flags and files, of a job that is made once",
    ),
    (
        r"PUT .*/jobs",
        r"properties\.((fineTuningDetails|queueSettings)\..*|outputs\.NAME\.assetName)",
        "phi3flow, as the service takes it, of a job that is made once",
    ),
    (
        r"PUT .*/jobs",
        r"properties\.(inputs|jobs)\..*\.(value|uri)",
        "the caller's flags and files, the settings' cluster, the model's own defaults",
    ),
    (
        r"PUT .*/jobs",
        r"properties\.(command|codeId|environmentId|computeId|experimentName|displayName|tags\..*)",
        "phi3flow, of a job that is made once",
    ),
    (r"PUT .*/jobs", r"properties\.environmentVariables\..*", "phi3flow, of a job that is made once"),
    (
        r"PUT .*/jobs",
        r"properties\.jobs\..*(max_\w+|timeout|mini_batch\w+|error_threshold|instance_count)",
        "the caller: batch-run's flags",
    ),
    (
        r"PUT .*/jobs",
        r"properties\.outputs\.NAME\.jobOutputType",
        "phi3flow or azure-ai-ml, of a job that is made once",
    ),
    (r"PUT .*/(jobs|components/versions)", r".*", _SDK),
    (
        r"PUT .*/models/versions",
        r"properties\.(flavors\..*|jobName|properties\..*|tags\.baseModelId)",
        "as read, of a model that a service made",
    ),
    (
        r"PUT .*/(models|data|codes|environments)/versions",
        r"properties\.(tags\..*|\w+Uri|image|condaFile)",
        "phi3flow, of a version that is made once",
    ),
    (r"PUT .*/(models|data|environments)/versions", r".*", _SDK),
    (r"PUT .*", r"location", "phi3flow.toml: location, first"),
    (r"PUT .*/accounts", r"properties\.customSubDomainName", "phi3flow.toml: openai_account"),
    (r"PUT .*", r".*", "phi3flow, first"),
)
"""Who set a property: patterns of method with type, and of the property's path; the first that fits counts."""
_NAMES = ((re.compile(r"\b(jobs)\.\w+\."), r"\1.NODE."), (re.compile(r"\b(inputs|outputs)\.\w+\."), r"\1.NAME."))


def properties(request: Request) -> Iterator[str]:
    """Give the path of every property in a request's body, with a name of a kind in place of names that vary."""
    for path in _paths(request.json):
        for pattern, name in _NAMES:
            path = pattern.sub(name, path)
        yield re.sub(r"(userAssignedIdentities|traffic|mirrorTraffic)\..*", r"\1.NAME", path)


def _paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, member in value.items():
            yield from _paths(member, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for member in value:
            yield from _paths(member, path)
    else:
        yield path


def who(request: str, path: str) -> str:
    """Return who set a property of a request, such as ``PUT Microsoft.X/things``."""
    for kind, pattern, source in _RULES:
        if re.fullmatch(kind, request) and re.fullmatch(pattern, path):
            return source
    raise LookupError(f"{request} sends {path}, and nobody says who set it")


def page(requests: Iterable[Request]) -> str:
    """Return the page of the documentation."""
    rows: dict[str, dict[str, str]] = {}
    for request in requests:
        if request.method in ("PUT", "PATCH") and request.host == ARM:
            what = f"{request.method} {resource_type(request.path.rstrip('/'))}"
            rows.setdefault(what, {}).update({path: who(what, path) for path in properties(request)})
    sections = []
    for what in sorted(rows):
        lines = [f"| `{path}` | {source} |" for path, source in sorted(rows[what].items())]
        sections.append("\n".join([f"## {what}", "", "| property | who set it |", "|---|---|", *lines, ""]))
    return "\n".join([HEADER, *sections])


if __name__ == "__main__":
    DOCS.write_text(page(record()), encoding="utf-8")

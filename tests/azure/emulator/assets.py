"""Assets of a workspace: data, models, environments, components and codes, with versions that keep their content."""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import yaml

from tests.azure.emulator.blobs import Blobs
from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.resources import Resources, parse_json_object
from tests.azure.emulator.routing import Router
from tests.azure.emulator.workspace_paths import WORKSPACES, need_workspace

WORKSPACE = f"{WORKSPACES}/{{workspace}}"
DEFAULT_VERSION = "azureml_default"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_DATASTORE_URI = re.compile(
    r"azureml://(?:subscriptions/[^/]+/resource[gG]roups/[^/]+/(?:providers/Microsoft.MachineLearningServices/)?"
    r"workspaces/[^/]+/)?datastores/(?P<datastore>[^/]+)/paths/(?P<path>.*)"
)
_JOB_URI = re.compile(r"azureml://jobs/(?P<job>[^/]+)/outputs/(?P<output>[^/]+)(?:/paths/.*)?")
_PAGE = 30


@dataclass(frozen=True)
class AssetKind:
    """A kind of asset: ``fixed`` are the properties that an existing version keeps, the first of them is required."""

    segment: str
    noun: str
    fixed: tuple[str, ...]
    version: str = r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}"


KINDS = (
    AssetKind("data", "data", ("dataUri", "dataType")),
    AssetKind("models", "model", ("modelUri", "modelType"), version=r"[1-9][0-9]{0,9}"),
    AssetKind("environments", "environment", ("image", "condaFile", "build", "inferenceConfig")),
    AssetKind("components", "component", ("componentSpec",)),
    AssetKind("codes", "code", ("codeUri",)),
)


class Assets:
    """A workspace's assets, kept among the ARM resources.

    ``find_output`` answers where a job's output lies (the jobs set it); each of ``uses`` names what holds on to the
    asset that an id names.
    """

    def __init__(self, resources: Resources, blobs: Blobs) -> None:
        self._resources, self._blobs = resources, blobs
        self._order = itertools.count()
        self._created: dict[str, int] = {}
        self.find_output: Callable[[str, str, str], str] = _no_output
        self.uses: list[Callable[[str], list[str]]] = []

    def add_routes(self, router: Router) -> None:
        """Register containers and versions of each kind, and where code is uploaded to."""
        for kind in KINDS:
            self._add_kind(router, kind)
        pending = f"{WORKSPACE}/codes/{{name}}/versions/{{version}}/startPendingUpload"
        router.add("POST", pending, self._start_upload)

    def need_version(self, asset_id: str) -> dict[str, Any]:
        """Return the version that an ARM id names. Raises ServiceError 400, in the words of who refers to it."""
        found = self._resources.find(asset_id)
        if found is None or "/versions/" not in asset_id:
            message = f"The asset with id {asset_id} could not be found. Make sure that it exists in the workspace."
            raise ServiceError(400, "UserError", message)
        return found

    def place(self, workspace_id: str, uri: str) -> tuple[str, str, str]:
        """Return the storage account, container and path that an azureml:// or https:// address means.

        Raises ServiceError 400.
        """
        if found := _DATASTORE_URI.fullmatch(uri):
            datastore = self._resources.find(f"{workspace_id}/datastores/{found['datastore']}")
            if datastore is None:
                raise ServiceError(400, "UserError", f"Datastore with name '{found['datastore']}' not found.")
            properties = datastore["properties"]
            return properties["accountName"], properties["containerName"], found["path"]
        host, _, rest = uri.removeprefix("https://").partition("/")
        container, _, path = rest.partition("/")
        if not uri.startswith("https://") or ".blob." not in host or not container:
            raise ServiceError(400, "UserError", f"The uri '{uri}' is not supported.")
        return host.partition(".")[0], container, path

    def exists(self, workspace_id: str, uri: str) -> bool:
        """Return whether there is a file or a folder at an address."""
        account, container, path = self.place(workspace_id, uri)
        names = self._blobs.names(account, container, path.rstrip("/"))
        return any(name == path or name.startswith(path.rstrip("/") + "/") for name in names)

    def read(self, workspace_id: str, uri: str) -> bytes | None:
        """Return the content of the file at an address, None where there is none. Raises ServiceError 400."""
        return self._blobs.find(*self.place(workspace_id, uri))

    def add_model(self, workspace: str, name: str, properties: dict[str, Any]) -> dict[str, Any]:
        """Keep version 1 of a model that a job leaves behind."""
        kind = next(kind for kind in KINDS if kind.noun == "model")
        path = f"{workspace}/models/{name}/versions/1"
        return self._keep(path, kind, self._completed(workspace, kind, properties), None)

    def _add_kind(self, router: Router, kind: AssetKind) -> None:
        def bind(handler: Callable[..., Reply]) -> Callable[..., Reply]:
            return lambda request, **segments: handler(request, kind, **segments)

        base = f"{WORKSPACE}/{kind.segment}"
        router.add("GET", base, bind(self._list_containers))
        router.add("GET", f"{base}/{{name}}", bind(self._get_container))
        router.add("PUT", f"{base}/{{name}}", bind(self._put_container))
        router.add("GET", f"{base}/{{name}}/versions", bind(self._list_versions))
        version = f"{base}/{{name}}/versions/{{version}}"
        router.add("GET", version, bind(self._get))
        router.add("PUT", version, bind(self._put))
        router.add("DELETE", version, bind(self._delete))

    def _need_workspace(self, request: Request) -> str:
        """Return the id of the workspace that is asked. Raises ServiceError 404."""
        action = "read" if request.method == "GET" else "write"
        return str(need_workspace(self._resources, request.path, action=action)["id"])

    def _long(self, workspace: str, uri: str) -> str:
        """Return an address as the service shows it, so that two ways to write one are the same."""
        self.place(workspace, uri)
        found = _DATASTORE_URI.fullmatch(uri)
        if found is None:
            return uri
        _, _, subscription, _, group, *_, name = workspace.split("/")
        base = f"azureml://subscriptions/{subscription}/resourcegroups/{group}/workspaces/{name}"
        return f"{base}/datastores/{found['datastore']}/paths/{found['path']}"

    def _versions(self, container_id: str) -> list[dict[str, Any]]:
        """Return a container's versions, the newest first."""
        found = self._resources.children(container_id, "versions").body["value"]
        return sorted(found, key=lambda each: self._created.get(each["id"].lower(), 0), reverse=True)

    def _describe(self, container: dict[str, Any]) -> dict[str, Any]:
        versions = self._versions(container["id"])
        numbers = [int(each["name"]) for each in versions if each["name"].isdecimal()]
        properties = {**container["properties"], "nextVersion": str(max(numbers, default=0) + 1)}
        return {**container, "properties": {**properties, "latestVersion": versions[0]["name"] if versions else None}}

    def _list_containers(self, request: Request, kind: AssetKind, **_: str) -> Reply:
        self._need_workspace(request)
        base = request.path.rstrip("/").rpartition("/")[0]
        rows = self._resources.children(base, kind.segment).body["value"]
        return paged(request, [self._describe(each) for each in rows if shown(request, each)])

    def _get_container(self, request: Request, kind: AssetKind, name: str, **_: str) -> Reply:
        self._need_workspace(request)
        found = self._resources.find(request.path)
        if found is None:
            raise ServiceError(404, "UserError", f"{kind.noun.capitalize()} container {name} not found.")
        return Reply(200, self._describe(found))

    def _put_container(self, request: Request, kind: AssetKind, name: str, **_: str) -> Reply:
        self._need_workspace(request)
        body = parse_json_object(request)
        existed = request.path in self._resources
        allowed = ("description", "tags", "properties", "isArchived", "dataType")
        kept = {key: value for key, value in (body.get("properties") or {}).items() if key in allowed}
        stored = self._resources.store(request.path, {"properties": {"isArchived": False, **kept}})
        return Reply(200 if existed else 201, self._describe(stored))

    def _list_versions(self, request: Request, kind: AssetKind, name: str, **_: str) -> Reply:
        workspace = self._need_workspace(request)
        if "hash" in request.query:
            base = f"{workspace}/{kind.segment}/".lower()
            return paged(request, [each for each in self._resources if _has_hash(each, base, request.query)])
        container = request.path.rstrip("/").rpartition("/")[0]
        rows = [each for each in self._versions(container) if shown(request, each)]
        if container not in self._resources:
            raise ServiceError(404, "UserError", f"{kind.noun.capitalize()} container {name} not found.")
        return paged(request, rows)

    def _get(self, request: Request, kind: AssetKind, name: str, version: str, **_: str) -> Reply:
        self._need_workspace(request)
        path = request.path
        if version == DEFAULT_VERSION and kind.segment == "components":
            versions = self._versions(path.rpartition("/versions/")[0])
            path = versions[0]["id"] if versions else path
        if path not in self._resources:
            raise ServiceError(404, "UserError", f"{kind.noun.capitalize()} {name}:{version} not found.")
        return self._resources.get(path)

    def _put(self, request: Request, kind: AssetKind, name: str, version: str, **_: str) -> Reply:
        workspace = self._need_workspace(request)
        _check_name(kind, name, version)
        properties = self._completed(workspace, kind, parse_json_object(request).get("properties") or {})
        before = self._resources.find(request.path)
        if before:
            _check_unchanged(kind, before["properties"], properties)
        stored = self._keep(request.path, kind, properties, before)
        return Reply(200 if before else 201, stored)

    def _keep(
        self, path: str, kind: AssetKind, properties: dict[str, Any], before: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Keep a version, and the container that it is of."""
        container = path.rpartition("/versions/")[0]
        if container not in self._resources:
            extra = {"dataType": properties["dataType"]} if kind.noun == "data" else {}
            kept = {"isArchived": False, "tags": {}, "properties": {}, **extra}
            self._resources.store(container, {"properties": kept})
        body = {"isArchived": False, "isAnonymous": False, "tags": {}, "properties": {}}
        for source in (before["properties"] if before else {}, properties):
            body |= {key: value for key, value in source.items() if value is not None}
        if not before:
            self._created[path.lower()] = next(self._order)
        return self._resources.store(path, {"properties": {**body, "provisioningState": "Succeeded"}})

    def _completed(self, workspace: str, kind: AssetKind, given: dict[str, Any]) -> dict[str, Any]:
        """Return a version's properties as the service keeps them. Raises ServiceError 400."""
        required = kind.fixed if kind.noun == "environment" else kind.fixed[:1]
        if not any(given.get(name) for name in required):
            raise ServiceError(400, "UserError", f"The required property '{required[0]}' is missing.")
        if kind.noun == "model":
            return {**given, **self._resolve_model(workspace, given)}
        if kind.noun == "component":
            return {**given, "componentSpec": self._understood(workspace, given["componentSpec"])}
        if kind.noun == "environment":
            return dict(given)
        uri = self._long(workspace, str(given[required[0]]))
        if kind.noun == "code" and not self.exists(workspace, uri):
            raise ServiceError(400, "UserError", f"There is nothing at {uri}.")
        return {**given, required[0]: uri}

    def _understood(self, workspace: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Return a component as the service keeps it: it makes a parallel component of a flow."""
        if spec.get("type") != "promptflow_parallel":
            return spec
        account, container, path = self.place(workspace, spec["flow_definition_uri"])
        text = self._blobs.find(account, container, path)
        if text is None:
            raise ServiceError(400, "UserError", f"There is no flow at {spec['flow_definition_uri']}.")
        flow = yaml.safe_load(text)
        folder = {"type": "uri_folder"}
        columns = {name: {"type": "string", "optional": True} for name in flow.get("inputs") or {}}
        inputs = {"data": folder, "run_outputs": {**folder, "optional": True}, **columns}
        return {**spec, "type": "parallel", "inputs": inputs, "outputs": {"flow_outputs": folder, "debug_info": folder}}

    def _resolve_model(self, workspace: str, properties: dict[str, Any]) -> dict[str, Any]:
        """Return what the service fills in: where a model's files lie, the job that made it, its flavors."""
        uri, made = str(properties["modelUri"]), dict[str, Any](flavors={})
        if source := _JOB_URI.fullmatch(uri):
            uri = self.find_output(workspace, source["job"], source["output"])
            made["jobName"] = source["job"]
        account, container, path = self.place(workspace, uri)
        files = self._blobs.names(account, container, path.rstrip("/"))
        if not files:
            message = f"ModelAssetPathNotFoundInStorage: No blobs found in storage at model asset path: {path}"
            raise ServiceError(400, "BadRequest", message)
        if properties.get("modelType") == "mlflow_model":
            if f"{path.rstrip('/')}/MLmodel" not in files:
                message = f"Could not find an 'MLmodel' configuration file at '{path}'."
                raise ServiceError(400, "UserError", message)
            made["flavors"] = {"python_function": {"data": {"loader_module": "mlflow.transformers"}}}
        return {**made, "modelUri": self._long(workspace, uri)}

    def _delete(self, request: Request, kind: AssetKind, name: str, **_: str) -> Reply:
        """Delete a version, unless something holds on to it: code and words of that refusal are a guess."""
        holders = [holder for use in self.uses for holder in use(request.path)]
        if holders:
            message = f"The {kind.noun} '{request.path}' is in use by {', '.join(holders)} and cannot be deleted."
            raise ServiceError(409, "Conflict", message)
        reply = self._resources.delete(request.path, asynchronous=False)
        container = request.path.rpartition("/versions/")[0]
        if not self._versions(container):
            self._resources.delete(container, asynchronous=False)
        return reply

    def _start_upload(self, request: Request, name: str, version: str, **_: str) -> Reply:
        workspace = self._need_workspace(request)
        account = self.place(workspace, "azureml://datastores/workspaceblobstore/paths/")[0]
        container = str(uuid.uuid4())
        self._blobs.add_container(account, container)
        uri = f"https://{account}.blob.core.windows.net/{container}"
        signed = f"{uri}?{self._blobs.sign(account, container)}"
        reference = {"blobUri": uri, "credential": {"credentialType": "SAS", "sasUri": signed}}
        body = {"pendingUploadId": str(uuid.uuid4()), "pendingUploadType": "TemporaryBlobReference"}
        return Reply(200, {**body, "blobReferenceForConsumption": reference})


def paged(request: Request, rows: list[dict[str, Any]], page: int = _PAGE) -> Reply:
    """Answer a list as ARM pages it: $top or a page of rows, and the link to the next page."""
    start = int(request.query.get("$skip") or 0)
    top = int(request.query.get("$top") or 0)
    end = start + (min(top, page) if top else page)
    body: dict[str, Any] = {"value": rows[start:end]}
    if end < len(rows) and not top:
        query = urlencode({**request.query, "$skip": end}, safe="$")
        body["nextLink"] = f"https://{request.host}{request.path}?{query}"
    return Reply(200, body)


def shown(request: Request, row: dict[str, Any]) -> bool:
    """Return whether a list shows a row: archived ones are asked for, anonymous ones never listed."""
    view = request.query.get("listViewType", "ActiveOnly")
    properties = row["properties"]
    return not properties.get("isAnonymous") and (
        view == "All" or bool(properties.get("isArchived")) == (view == "ArchivedOnly")
    )


def _has_hash(row: dict[str, Any], base: str, query: Mapping[str, str]) -> bool:
    """Return whether a version has the content that is looked for; its name does not matter, which is a new one."""
    tags = row.get("properties", {}).get("properties") or {}
    wanted = (query["hash"], query.get("hashVersion", ""))
    return row["id"].lower().startswith(base) and (tags.get("hash_sha256"), tags.get("hash_version")) == wanted


def _check_name(kind: AssetKind, name: str, version: str) -> None:
    if not NAME.fullmatch(name):
        raise ServiceError(
            400, "UserError", f"The {kind.noun} name '{name}' is not valid: it must match {NAME.pattern}."
        )
    if not re.fullmatch(kind.version, version):
        what = "a positive integer" if kind.noun == "model" else f"a string that matches {kind.version}"
        message = f"The specified {kind.noun} version '{version}' is not valid. The version must be {what}."
        raise ServiceError(400, "UserError", message)


def _check_unchanged(kind: AssetKind, before: dict[str, Any], after: dict[str, Any]) -> None:
    changed = [key for key in kind.fixed if after.get(key) is not None and after[key] != before.get(key)]
    if changed:
        noun = f"{kind.noun} version"
        raise ServiceError(
            409,
            "UserError",
            f"A {noun} with this name and version already exists. If you are trying to create a new {noun}, use a "
            f"different name or version. If you are trying to update an existing {noun}, the existing asset's "
            f"{', '.join(changed)} cannot be changed. Only tags, description, and isArchived can be updated.",
        )


def _no_output(workspace: str, job: str, output: str) -> str:
    raise ServiceError(404, "UserError", f"Job {job} not found.")

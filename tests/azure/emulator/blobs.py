"""Blob storage: containers and blobs with their bytes, behind signatures (SAS) or tokens of who has a data role."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import urlencode
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.routing import Router
from tests.azure.emulator.world import CALLER

HOST = "*.blob.core.windows.net"
_DATA_ROLES = {
    "Storage Blob Data Reader": "rl",
    "Storage Blob Data Contributor": "rlwcda",
    "Storage Blob Data Owner": "rlwcda",
}
_CONTAINER_NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}")
_PAGE = 5000


@dataclass
class Blob:
    """A block blob; ``blocks`` wait for the list that commits them."""

    content: bytes = b""
    metadata: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/octet-stream"
    committed: bool = False
    blocks: dict[str, bytes] = field(default_factory=dict, init=False)
    modified: datetime = field(default_factory=lambda: datetime.now(UTC), init=False)

    @property
    def headers(self) -> dict[str, str]:
        """What describes the blob in answers."""
        etag = f'"0x{hashlib.sha256(self.content + str(self.metadata).encode()).hexdigest()[:15].upper()}"'
        return {
            "ETag": etag,
            "Last-Modified": _date(self.modified),
            "x-ms-blob-type": "BlockBlob",
            "Content-Type": self.content_type,
            "Accept-Ranges": "bytes",
            **{f"x-ms-meta-{name}": value for name, value in self.metadata.items()},
        }


class StorageError(ServiceError):
    """A refusal of the storage service, which speaks XML and names the code in a header."""

    @property
    def reply(self) -> Reply:
        """The answer that the caller gets."""
        body = f"<Error><Code>{self.code}</Code><Message>{escape(self.message)}</Message></Error>"
        return _xml(self.status, body, {"x-ms-error-code": self.code})


class Blobs:
    """Every storage account's containers: ``find``, ``put`` and ``names`` are for other services and for tests."""

    def __init__(self, arm: ResourceManager) -> None:
        self._identity, self._roles = arm.identity, arm.roles
        self._containers: dict[tuple[str, str], dict[str, Blob]] = {}

    def add_routes(self, router: Router) -> None:
        """Register containers and blobs of every account."""
        router.add("PUT", "/{container}", self._put_container, host=HOST)
        router.add("GET", "/{container}", self._get_container, host=HOST)
        router.add("HEAD", "/{container}", self._get_container, host=HOST)
        router.add("PUT", "/{container}/{name:path}", self._put_blob, host=HOST)
        router.add("GET", "/{container}/{name:path}", self._get_blob, host=HOST)
        router.add("HEAD", "/{container}/{name:path}", self._head_blob, host=HOST)
        router.add("DELETE", "/{container}/{name:path}", self._delete_blob, host=HOST)

    def add_container(self, account: str, container: str) -> None:
        """Make a container, as a workspace does for its datastores."""
        self._containers.setdefault((account, container), {})

    def put(self, account: str, container: str, name: str, content: bytes) -> None:
        """Write a blob, as a job does with its logs and outputs."""
        self.add_container(account, container)
        self._containers[account, container][name] = Blob(content, committed=True)

    def find(self, account: str, container: str, name: str) -> bytes | None:
        """Return a blob's bytes, None where there is none."""
        blob = self._containers.get((account, container), {}).get(name)
        return blob.content if blob and blob.committed else None

    def names(self, account: str, container: str, prefix: str = "") -> list[str]:
        """Return the names of a container's blobs, in order."""
        blobs = self._containers.get((account, container), {})
        return sorted(name for name, blob in blobs.items() if blob.committed and name.startswith(prefix))

    def sign(self, account: str, container: str, name: str = "", *, permissions: str = "rwlcad") -> str:
        """Return a shared access signature, as the query that it is, for a container or one of its blobs."""
        end = (datetime.now(UTC) + timedelta(hours=8)).strftime("%Y-%m-%dT%H:%M:%SZ")
        fields = {"sv": "2022-11-02", "se": end, "sr": "b" if name else "c", "sp": permissions}
        return urlencode({**fields, "sig": _signature(account, container, name, fields)})

    def account_key(self, account: str) -> str:
        """Return an account's key, as listKeys shows it."""
        return base64.b64encode(hashlib.sha512(f"key of {account}".encode()).digest()).decode()

    def _authorize(self, request: Request, container: str, name: str, need: str) -> None:
        if "sig" in request.query:
            _check_signature(request, container, name, need)
            return
        if "authorization" not in request.headers:
            message = (
                "Server failed to authenticate the request. Please refer to the information in the www-authenticate "
            )
            raise StorageError(401, "NoAuthenticationInformation", message + "header.")
        try:
            self._identity.authenticate(request)
        except ServiceError as error:
            raise StorageError(error.status, "InvalidAuthenticationInfo", error.message) from None
        account = _account(request).lower()
        for role, scope in self._roles.of(CALLER):
            kind, _, resource = scope.lower().partition("/providers/microsoft.storage/storageaccounts/")
            if need in _DATA_ROLES.get(role, "") and (resource.split("/")[0] == account or "/providers/" not in kind):
                return
        message = "This request is not authorized to perform this operation using this permission."
        raise StorageError(403, "AuthorizationPermissionMismatch", message)

    def _blobs(self, request: Request, container: str) -> dict[str, Blob]:
        blobs = self._containers.get((_account(request), container))
        if blobs is None:
            raise StorageError(404, "ContainerNotFound", "The specified container does not exist.")
        return blobs

    def _blob(self, request: Request, container: str, name: str) -> Blob:
        blob = self._blobs(request, container).get(name)
        if blob is None or not blob.committed:
            raise StorageError(404, "BlobNotFound", "The specified blob does not exist.")
        return blob

    def _put_container(self, request: Request, container: str) -> Reply:
        self._authorize(request, container, "", "c")
        if request.query.get("restype") != "container":
            raise StorageError(400, "InvalidUri", "The requested URI does not represent any resource on the server.")
        if not _CONTAINER_NAME.fullmatch(container):
            raise StorageError(400, "InvalidResourceName", "The specified resource name contains invalid characters.")
        if (_account(request), container) in self._containers:
            raise StorageError(409, "ContainerAlreadyExists", "The specified container already exists.")
        self.add_container(_account(request), container)
        return Reply(201, None, {"Last-Modified": _date(datetime.now(UTC))})

    def _get_container(self, request: Request, container: str) -> Reply:
        if request.query.get("comp") == "list":
            self._authorize(request, container, "", "l")
            return self._list(request, self._blobs(request, container))
        self._authorize(request, container, "", "r")
        self._blobs(request, container)
        return Reply(200, None, {"Last-Modified": _date(datetime.now(UTC)), "x-ms-lease-state": "available"})

    def _list(self, request: Request, blobs: dict[str, Blob]) -> Reply:
        prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
        entries: dict[str, str] = {}
        for name in sorted(name for name, blob in blobs.items() if blob.committed and name.startswith(prefix)):
            head, is_below, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            if is_below:
                folder = f"{prefix}{head}{delimiter}"
                entries[folder] = f"<BlobPrefix><Name>{escape(folder)}</Name></BlobPrefix>"
            else:
                entries[name] = _entry(name, blobs[name], with_metadata="metadata" in request.query.get("include", ""))
        names = sorted(name for name in entries if name >= request.query.get("marker", ""))
        size = int(request.query.get("maxresults") or _PAGE)
        following = escape(names[size]) if len(names) > size else ""
        body = f"<Blobs>{''.join(entries[name] for name in names[:size])}</Blobs><NextMarker>{following}</NextMarker>"
        return _xml(200, f"<EnumerationResults>{body}</EnumerationResults>")

    def _put_blob(self, request: Request, container: str, name: str) -> Reply:
        self._authorize(request, container, name, "w")
        blobs = self._blobs(request, container)
        component = request.query.get("comp")
        if component == "metadata":
            blob = self._blob(request, container, name)
            blob.metadata, blob.modified = _metadata(request), datetime.now(UTC)
            return Reply(200, None, {"ETag": blob.headers["ETag"], "Last-Modified": _date(blob.modified)})
        _check_content(request)
        if component == "block":
            blobs.setdefault(name, Blob()).blocks[request.query["blockid"]] = request.body
            return Reply(201)
        before = blobs.get(name)
        if before and before.committed and request.headers.get("if-none-match") == "*":
            raise StorageError(409, "BlobAlreadyExists", "The specified blob already exists.")
        if component == "blocklist":
            content = _joined(request, before)
        elif component is None and request.headers.get("x-ms-blob-type") == "BlockBlob":
            content = request.body
        else:
            raise StorageError(400, "InvalidHeaderValue", "The value for one of the HTTP headers is not valid.")
        kind = request.headers.get("x-ms-blob-content-type", "application/octet-stream")
        blob = blobs[name] = Blob(content, _metadata(request), kind, committed=True)
        return Reply(201, None, {"ETag": blob.headers["ETag"], "Last-Modified": _date(blob.modified)})

    def _head_blob(self, request: Request, container: str, name: str) -> Reply:
        self._authorize(request, container, name, "r")
        blob = self._blob(request, container, name)
        return Reply(200, None, {**blob.headers, "Content-Length": str(len(blob.content))})

    def _get_blob(self, request: Request, container: str, name: str) -> Reply:
        self._authorize(request, container, name, "r")
        blob = self._blob(request, container, name)
        span = request.headers.get("x-ms-range") or request.headers.get("range")
        if not span:
            return Reply(200, blob.content, blob.headers)
        first, _, last = span.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(blob.content)), len(blob.content) - 1)
        if start >= len(blob.content):
            message = "The range specified is invalid for the current size of the resource."
            raise StorageError(416, "InvalidRange", message)
        place = {"Content-Range": f"bytes {start}-{end}/{len(blob.content)}"}
        return Reply(206, blob.content[start : end + 1], {**blob.headers, **place})

    def _delete_blob(self, request: Request, container: str, name: str) -> Reply:
        self._authorize(request, container, name, "d")
        self._blob(request, container, name)
        del self._blobs(request, container)[name]
        return Reply(202)


def _signature(account: str, container: str, name: str, fields: dict[str, str]) -> str:
    text = "\n".join([account, container, name, *(fields.get(field, "") for field in ("sv", "se", "sr", "sp"))])
    return base64.b64encode(hmac.digest(f"key of {account}".encode(), text.encode(), "sha256")).decode()


def _check_signature(request: Request, container: str, name: str, need: str) -> None:
    fields = dict(request.query)
    scope = name if fields.get("sr") == "b" else ""
    if not hmac.compare_digest(fields["sig"], _signature(_account(request), container, scope, fields)):
        message = "Server failed to authenticate the request. Make sure the value of Authorization header is formed "
        raise StorageError(403, "AuthenticationFailed", message + "correctly including the signature.")
    if datetime.fromisoformat(fields["se"]) < datetime.now(UTC):
        raise StorageError(403, "AuthenticationFailed", "Signature not valid in the specified time frame.")
    if need not in fields["sp"]:
        message = "This request is not authorized to perform this operation using this permission."
        raise StorageError(403, "AuthorizationPermissionMismatch", message)


def _check_content(request: Request) -> None:
    digest = request.headers.get("content-md5")
    if digest and digest != base64.b64encode(hashlib.md5(request.body).digest()).decode():
        raise StorageError(400, "Md5Mismatch", "The MD5 value specified in the request did not match.")
    if not request.body and "xml" in request.headers.get("content-type", ""):
        raise StorageError(400, "InvalidXmlDocument", "XML specified is not syntactically valid.")


def _joined(request: Request, blob: Blob | None) -> bytes:
    """Return the content that a block list commits."""
    content = b""
    for block in ElementTree.fromstring(request.body):
        if blob is None or (block.text or "") not in blob.blocks:
            raise StorageError(400, "InvalidBlockList", "The specified block list is invalid.")
        content += blob.blocks[block.text or ""]
    return content


def _account(request: Request) -> str:
    return request.host.partition(".")[0]


def _metadata(request: Request) -> dict[str, str]:
    prefix = "x-ms-meta-"
    return {name[len(prefix) :]: value for name, value in request.headers.items() if name.startswith(prefix)}


def _entry(name: str, blob: Blob, *, with_metadata: bool) -> str:
    described = {"Last-Modified": _date(blob.modified), "Etag": blob.headers["ETag"].strip('"')}
    described |= {"Content-Length": str(len(blob.content)), "Content-Type": blob.content_type, "BlobType": "BlockBlob"}
    properties = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in described.items())
    tags = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in blob.metadata.items())
    metadata = f"<Metadata>{tags}</Metadata>" if with_metadata else ""
    return f"<Blob><Name>{escape(name)}</Name><Properties>{properties}</Properties>{metadata}</Blob>"


def _xml(status: int, body: str, headers: dict[str, str] | None = None) -> Reply:
    text = '<?xml version="1.0" encoding="utf-8"?>' + body
    return Reply(status, text.encode(), {"Content-Type": "application/xml", **(headers or {})})


def _date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)

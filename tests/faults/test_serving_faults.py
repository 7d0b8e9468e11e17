"""What the server does when it is told to stop, asked for too much, or left in the middle of an answer."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
import requests

from phi3flow.serving import STOPPED
from phi3flow.serving.batching import MAX_WAITING, SLOTS
from tests.support.folders.tiny_phi3 import save_tiny_phi3
from tests.support.servers.serving import KEY, ServerProcess, body_of

WHOLE_CONTEXT = {"max_tokens": 1000, "temperature": 0, "model": "tiny", "stream": True}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_phi3(tmp_path_factory.mktemp("serving") / "tiny")


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(model, tmp_path_factory.mktemp("server") / "log") as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
def doomed(model: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    """Start a server that the test ends."""
    with ServerProcess(model, tmp_path / "log") as running:
        yield running


class Stream:
    """A long streamed answer that is being read: ``lines`` grows as it comes."""

    def __init__(self, server: ServerProcess) -> None:
        body = WHOLE_CONTEXT | {"messages": [{"role": "user", "content": "Hi"}]}
        headers = {"Authorization": f"Bearer {KEY}"}
        url = f"{server.base_url}/v1/chat/completions"
        self.response = requests.post(url, json=body, headers=headers, stream=True, timeout=60)
        self.lines: list[str] = []
        self._content = self.response.iter_lines(decode_unicode=True)
        self.lines.append(next(self._content))

    def read_to_end(self) -> None:
        """Read what is left."""
        self.lines += self._content


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_a_stop_finishes_what_is_in_flight(doomed: ServerProcess) -> None:
    stream = Stream(doomed)
    doomed.process.send_signal(signal.SIGTERM)
    _wait_for(lambda: requests.get(f"{doomed.base_url}/health", timeout=10).status_code == 503, "draining")
    refused = doomed.score("Hi")
    stream.read_to_end()
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    assert stream.lines[-2:] == ["data: [DONE]", ""]
    assert doomed.process.wait(30) == 0
    assert doomed.log.read_text().splitlines()[-1] == STOPPED


@pytest.mark.slow
def test_a_second_signal_ends_at_once(doomed: ServerProcess) -> None:
    streams = [Stream(doomed) for _ in range(SLOTS)]
    doomed.process.send_signal(signal.SIGINT)
    _wait_for(lambda: requests.get(f"{doomed.base_url}/health", timeout=10).status_code == 503, "draining")
    doomed.process.send_signal(signal.SIGINT)
    assert doomed.process.wait(30) == 0
    for stream in streams:
        stream.response.close()


def test_a_client_that_hangs_up_frees_its_slot(server: ServerProcess) -> None:
    with pytest.raises(requests.ReadTimeout):
        requests.post(
            f"{server.base_url}/score",
            json=body_of("Hi"),
            headers={"Authorization": f"Bearer {KEY}", "x-request-id": "impatient"},
            timeout=0.02,
        )
    Stream(server).response.close()
    _wait_for(lambda: sum(line["path"] != "/health" for line in server.access_log()) >= 2, "both are logged")
    [impatient] = [line for line in server.access_log() if line["request_id"] == "impatient"]
    assert impatient["status"] == 499
    metrics = requests.get(f"{server.base_url}/metrics", timeout=10).text
    assert "phi3flow_requests_in_flight 1.0" in metrics  # this one


def test_too_many_requests_are_told_to_come_back(server: ServerProcess) -> None:
    more = 24

    async def ask(session: aiohttp.ClientSession) -> tuple[int, str | None]:
        async with session.post(f"{server.base_url}/score", json=body_of("Hi")) as response:
            await response.read()
            return response.status, response.headers.get("Retry-After")

    async def ask_all() -> list[tuple[int, str | None]]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer {KEY}"}) as session:
            return await asyncio.gather(*(ask(session) for _ in range(SLOTS + MAX_WAITING + more)))

    replies = asyncio.run(ask_all())
    assert {reply for reply in replies if reply[0] != 200} == {(429, "1")}
    assert 0 < sum(status == 429 for status, _ in replies) <= more
    assert server.score("Hi", max_new_tokens=2).status_code == 200


def test_many_at_once_get_what_each_gets_alone(server: ServerProcess) -> None:
    questions = [f"What does item {number} cost{'?' * (number % 7)}" for number in range(64)]
    alone = [server.score(question, max_new_tokens=12).json()["output"] for question in questions]
    together: dict[str, str] = {}

    def ask(question: str) -> None:
        together[question] = server.score(question, max_new_tokens=12).json()["output"]

    threads = [threading.Thread(target=ask, args=(question,)) for question in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[question] for question in questions] == alone

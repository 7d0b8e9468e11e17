"""The runner over flows that are not ours, against a real endpoint that fails as told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi3flow.errors import ColumnMappingError, ConfigError, DatasetError, FlowError, ResumeMismatchError
from phi3flow.flows import load_flow
from phi3flow.runner import RunPlan, run_flow
from phi3flow.runs.folder import RunFolder
from tests.support.flows.foreign_flows import ASYNC_CLIENT, ECHO, SYNC_CLIENT, connection, write_flow, write_lines
from tests.support.run_options import run_options
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Request

KEY = "key-of-the-test-0123456789"
LINES = [{"question": f"q{number}"} for number in range(12)]


def _run(flow: Path, tmp_path: Path, *, url: str = "http://127.0.0.1:1/", **arguments: Any) -> RunFolder:
    data = arguments.pop("data", None) or write_lines(tmp_path / "lines.jsonl", LINES)
    fresh = arguments.pop("fresh", False)
    options = {"concurrency": 4, "timeout_s": 20, "max_retries": 3, **arguments.pop("options", {})}
    plan = RunPlan(
        load_flow(flow), data, tmp_path / "runs", **{"name": "run", **arguments}, options=run_options(**options)
    )
    return run_flow(plan, connections=lambda name: connection(url, KEY), fresh=fresh)


@pytest.mark.parametrize("code", [ASYNC_CLIENT, SYNC_CLIENT], ids=["async", "sync"])
def test_every_line_reaches_the_endpoint_once_and_its_answer_the_run(tmp_path: Path, code: str) -> None:
    flow = write_flow(tmp_path / "flow", code, connection="endpoint")
    with FaultEndpoint(lambda _: Reply(delay_s=0.2), key=KEY) as endpoint:
        run = _run(flow, tmp_path, url=endpoint.url)
        assert len(endpoint.requests) == len(LINES)
        assert 1 < endpoint.peak_in_flight <= 4
    results = run.results()
    assert [result.line_number for result in results] == list(range(len(LINES)))
    assert [result.outputs for result in results] == [{"answer": f"echo: q{n}"} for n in range(len(LINES))]
    assert run.manifest.status == "Completed"
    assert run.manifest.connections["endpoint"].host == endpoint.url.split("/")[2]


@pytest.mark.parametrize("code", [ASYNC_CLIENT, SYNC_CLIENT], ids=["async", "sync"])
def test_a_busy_endpoint_is_tried_again_and_a_refusal_is_not(tmp_path: Path, code: str) -> None:
    seen: dict[str, int] = {}

    def answer(request: Request) -> Reply | None:
        seen[request.question] = seen.get(request.question, 0) + 1
        if request.question == "q1":
            return Reply(400)
        if request.question in ("q2", "q3") and seen[request.question] == 1:
            return Reply(503, headers={"Retry-After": "0"}) if request.question == "q2" else Reply(fault="reset")
        return None

    flow = write_flow(tmp_path / "flow", code, connection="endpoint")
    with FaultEndpoint(answer) as endpoint:
        run = _run(flow, tmp_path, url=endpoint.url)
    results = run.results()
    failed = [result for result in results if result.status == "Failed"]
    assert [(result.line_number, result.attempts) for result in failed] == [(1, 1)]
    assert failed[0].error is not None
    assert failed[0].error.status_code == 400
    assert [results[n].attempts for n in (0, 2, 3)] == [1, 2, 2]
    assert run.manifest.counts.model_dump() == {"total": 12, "completed": 11, "failed": 1, "retries": 2}
    assert run.manifest.status == "Completed"


def test_the_same_run_again_sends_only_what_failed(tmp_path: Path) -> None:
    flow = write_flow(tmp_path / "flow", ASYNC_CLIENT, connection="endpoint")
    with FaultEndpoint(lambda request: Reply(400) if request.question == "q5" else None) as endpoint:
        assert _run(flow, tmp_path, url=endpoint.url).manifest.counts.failed == 1
    with FaultEndpoint(port=endpoint.port) as endpoint:
        run = _run(flow, tmp_path, url=endpoint.url)
        assert [request.question for request in endpoint.requests] == ["q5"]
    assert run.manifest.counts.completed == len(LINES)
    with FaultEndpoint(port=endpoint.port) as endpoint:
        _run(flow, tmp_path, url=endpoint.url)
        assert endpoint.requests == []


@pytest.mark.parametrize("code", [SYNC_CLIENT, ASYNC_CLIENT], ids=["requests", "aiohttp"])
def test_this_machine_is_reached_without_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    with FaultEndpoint() as endpoint, FaultEndpoint() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.base_url)
        flow = write_flow(tmp_path / "flow", code, connection="endpoint")
        assert _run(flow, tmp_path, url=endpoint.url).manifest.counts.completed == len(LINES)
        assert not proxy.requests


def test_an_attempt_that_takes_too_long_is_given_up_and_tried_again(tmp_path: Path) -> None:
    seen: list[str] = []

    def answer(request: Request) -> Reply | None:
        seen.append(request.question)
        return Reply(fault="hang") if request.question == "q7" and seen.count("q7") == 1 else None

    flow = write_flow(tmp_path / "flow", ASYNC_CLIENT, connection="endpoint")
    with FaultEndpoint(answer) as endpoint:
        run = _run(flow, tmp_path, url=endpoint.url, options={"timeout_s": 1.0})
    assert run.manifest.counts.completed == len(LINES)
    assert run.results()[7].attempts == 2


def test_a_changed_flow_is_refused_and_fresh_starts_over(tmp_path: Path) -> None:
    flow = write_flow(tmp_path / "flow", ECHO)
    _run(flow, tmp_path)
    (flow / "ask.py").write_text(ECHO.replace("upper", "lower"), encoding="utf-8")
    with pytest.raises(ResumeMismatchError, match="flow_fingerprint was"):
        _run(flow, tmp_path)
    run = _run(flow, tmp_path, fresh=True)
    assert run.results()[0].outputs == {"answer": "q0"}


def test_two_flows_with_a_utils_module_do_not_see_each_others(tmp_path: Path) -> None:
    code = "import utils\n" + ECHO.replace("question.upper()", "utils.NAME")
    answers = []
    for name in ("one", "two"):
        flow = write_flow(tmp_path / name, code, files={"utils.py": f"NAME = {name!r}\n"})
        answers.append(_run(flow, tmp_path, name=name).results()[0].outputs)
    assert answers == [{"answer": "one"}, {"answer": "two"}]
    assert "utils" not in sys.modules


def test_a_limit_takes_the_first_lines_and_a_longer_run_goes_on(tmp_path: Path) -> None:
    flow = write_flow(tmp_path / "flow", ASYNC_CLIENT, connection="endpoint")
    with FaultEndpoint() as endpoint:
        assert _run(flow, tmp_path, url=endpoint.url, limit=3).manifest.counts.completed == 3
        run = _run(flow, tmp_path, url=endpoint.url)
        assert len(endpoint.requests) == len(LINES)
    assert run.manifest.counts.completed == len(LINES)


def test_a_malformed_line_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    flow = write_flow(tmp_path / "flow", ASYNC_CLIENT, connection="endpoint")
    data = tmp_path / "broken.jsonl"
    data.write_text('{"question": "a"}\n{"question": \n', encoding="utf-8")
    with FaultEndpoint() as endpoint:
        with pytest.raises(DatasetError, match=r"broken\.jsonl:2: not JSON"):
            _run(flow, tmp_path, url=endpoint.url, data=data)
        assert endpoint.requests == []


def test_an_absent_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    flow = write_flow(tmp_path / "flow", ECHO)
    with pytest.raises(ColumnMappingError, match=r"refers to \$\{data.query\}; the columns are \$\{data.question\}"):
        _run(flow, tmp_path, column_mapping={"question": "${data.query}"})


def test_a_line_without_the_column_fails_alone(tmp_path: Path) -> None:
    flow = write_flow(tmp_path / "flow", ECHO)
    data = write_lines(tmp_path / "some.jsonl", [{"question": "a"}, {"other": 1}])
    results = _run(flow, tmp_path, data=data).results()
    assert [result.status for result in results] == ["Completed", "Failed"]
    assert results[1].error is not None
    assert results[1].error.type == "ColumnMappingError"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nodes: [", "is not YAML"),
        ("inputs: {}", "it has no list of nodes"),
        ("nodes:\n- type: python\n", "a node has no name"),
        ("nodes:\n- name: ask\n  type: python\n  source: {type: code, path: gone.py}\n  inputs: {}\n", "does not load"),
    ],
)
def test_a_flow_that_does_not_parse_is_named(tmp_path: Path, content: str, message: str) -> None:
    flow = write_flow(tmp_path / "flow", ECHO)
    (flow / "flow.dag.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(FlowError) as caught:
        _run(flow, tmp_path)
    assert "flow.dag.yaml" in str(caught.value)
    assert message in str(caught.value)


def test_a_connection_error_keeps_its_own_message(tmp_path: Path) -> None:
    flow = write_flow(tmp_path / "flow", ASYNC_CLIENT, connection="endpoint")

    def unknown(name: str) -> dict[str, Any]:
        raise ConfigError(f"there is no connection {name}")

    with pytest.raises(ConfigError, match="there is no connection endpoint"):
        run_flow(
            RunPlan(load_flow(flow), write_lines(tmp_path / "lines.jsonl", LINES), tmp_path / "runs", name="run"),
            connections=unknown,
        )


def test_what_a_flow_prints_stays_off_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = ECHO.replace("return", "print('noise')\n    return")
    _run(write_flow(tmp_path / "flow", code), tmp_path)
    assert capsys.readouterr().out == ""


def test_the_key_stands_in_no_file_even_where_the_flow_leaks_it(tmp_path: Path) -> None:
    code = ASYNC_CLIENT.replace(
        "async with aiohttp", "if question == 'q1': raise ValueError(connection.key)\n    async with aiohttp"
    )
    code = code.replace('["output"]', '["output"] + connection.key')
    with FaultEndpoint(key=KEY) as endpoint:
        run = _run(write_flow(tmp_path / "flow", code, connection="endpoint"), tmp_path, url=endpoint.url)
    results = run.results()
    assert results[1].error is not None
    assert results[1].error.message == "***"
    assert results[0].outputs == {"answer": "echo: q0***"}
    assert [path for path in run.path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []


def test_numbers_that_json_does_not_know_are_written_as_text(tmp_path: Path) -> None:
    code = ECHO.replace("-> str", "-> dict").replace(
        "return question.upper()", "return {'x': float('nan'), 'p': [1, 1]}"
    )
    run = _run(write_flow(tmp_path / "flow", code), tmp_path)
    line = json.loads((run.path / "results.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert line["outputs"] == {"answer": {"x": "NaN", "p": [1, 1]}}


@pytest.mark.parametrize(
    ("type_", "value", "kind"), [("list", "zz", "InputParseError"), ("int", "x", "InputTypeError")]
)
def test_a_value_of_another_type_fails_with_the_name_of_its_input(
    tmp_path: Path, type_: str, value: str, kind: str
) -> None:
    flow = write_flow(tmp_path / "flow", ECHO)
    file = flow / "flow.dag.yaml"
    dag = yaml.safe_load(file.read_text(encoding="utf-8"))
    dag["inputs"]["question"]["type"] = type_
    file.write_text(yaml.safe_dump(dag, sort_keys=False), encoding="utf-8")
    run = _run(flow, tmp_path, data=write_lines(tmp_path / "odd.jsonl", [{"question": value}]))
    (result,) = run.results()
    assert result.error is not None
    assert result.error.type == kind
    assert "flow input 'question' in line 0" in result.error.message

"""What must travel alone stands in several places, and stays equal there: a mend must reach every copy.

Flows hold copies of each other's functions, and the scoring script of what the server has and cannot share with it.
Copies are compared whole, docstrings included, and found by their names, and where the names differ by their shapes.
What has one name and differs, or one shape and two names, stands in a table here with the reason.
"""

from __future__ import annotations

import ast
import email.utils
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi3flow.flows.source_names import parse_python
from phi3flow.pacing import failures
from phi3flow.serving import protocol
from phi3flow.serving.sampling import SamplingParameters
from tests.support.flows.chat_flow import load_client
from tests.support.paths import FLOWS, ROOT
from tests.support.servers.scoring_server import AZURE, load_script

FLOW_FOLDERS = sorted(path.parent for path in FLOWS.rglob("flow.dag.yaml") if ".runs" not in path.parts)
HTTP_COPIES = [
    FLOWS / "chat_phi3" / "phi3_http.py",
    FLOWS / "eval" / "content_safety" / "content_safety_http.py",
    FLOWS / "eval" / "ground_truth_likelihood" / "likelihood_http.py",
]
SERVING = sorted((ROOT / "src" / "phi3flow" / "serving").glob("*.py"))
RETRIES = ROOT / "src" / "phi3flow" / "pacing" / "failures.py"
FEWEST_LINES = 5

FLOWS_DIFFER = {"METRICS": "each evaluation flow has metrics of its own"}
FLOWS_SAME_SHAPE = {
    ("_max_retries", "max_retries"): "a judge's node has no EndpointError to raise for a setting that is no number",
}
SCRIPT_DIFFERS = {
    "RequestError": "the script's holds the body that run() returns, and never asks a client to come back later",
    "load_model": "Azure mounts whatever was registered: the script looks for the model in it, and takes any family",
}


def _definitions(*modules: Path) -> dict[str, str]:
    """Return each function, class and constant at the top of the modules as its syntax tree, by name."""
    definitions: dict[str, str] = {}
    for module in modules:
        for node in parse_python(module.read_text(encoding="utf-8")).body:
            definitions |= dict.fromkeys(_names(node), ast.dump(node))
    return definitions


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _unequal(holders: Iterable[Mapping[str, str]]) -> tuple[set[str], set[str]]:
    """Return the names that several holders define, and those of them whose definitions differ."""
    versions = defaultdict(list)
    for holder in holders:
        for name, definition in holder.items():
            versions[name].append(definition)
    shared = {name for name, copies in versions.items() if len(copies) > 1}
    return shared, {name for name in shared if len(set(versions[name])) > 1}


class _Shape(ast.NodeTransformer):
    """What is left of a function without its names, texts, numbers, annotations and docstring."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        body = node.body[1:] if ast.get_docstring(node) else node.body
        return self.generic_visit(ast.FunctionDef("_", node.args, body, node.decorator_list, None))

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        body = node.body[1:] if ast.get_docstring(node) else node.body
        return self.generic_visit(ast.AsyncFunctionDef("_", node.args, body, node.decorator_list, None))

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name("_", node.ctx)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return self.generic_visit(ast.Attribute(node.value, "_", node.ctx))

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg("_")

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        return self.generic_visit(ast.keyword("_", node.value))

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant(type(node.value).__name__)


def _functions(module: Path) -> Iterator[tuple[str, ast.AST]]:
    """Yield the functions of a module and of its classes, a method as Class.method."""
    for node in parse_python(module.read_text(encoding="utf-8")).body:
        prefix, inner = (f"{node.name}.", node.body) if isinstance(node, ast.ClassDef) else ("", [node])
        for function in inner:
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                yield prefix + function.name, function


def _alike(flows: Iterable[Iterable[Path]]) -> set[tuple[str, str]]:
    """Return the pairs of names under which functions of one shape stand in different flows."""
    names: dict[str, set[tuple[int, str]]] = defaultdict(set)
    for number, modules in enumerate(flows):
        for name, function in itertools.chain.from_iterable(map(_functions, modules)):
            if function.end_lineno - function.lineno + 1 >= FEWEST_LINES:  # type: ignore[attr-defined]
                names[ast.dump(_Shape().visit(function))].add((number, name))
    return {
        (first, second)
        for holders in names.values()
        for (one_flow, first), (other_flow, second) in itertools.permutations(holders, 2)
        if one_flow != other_flow and first < second
    }


def test_the_http_of_each_flow_is_one_file() -> None:
    assert {path for path in FLOWS.rglob("*.py") if "import aiohttp" in path.read_text(encoding="utf-8")} == set(
        HTTP_COPIES
    )
    assert len({path.read_bytes() for path in HTTP_COPIES}) == 1


def test_what_flows_define_by_one_name_is_equal() -> None:
    shared, unequal = _unequal(_definitions(*folder.rglob("*.py")) for folder in FLOW_FOLDERS)
    assert len(shared) > 40
    assert unequal == set(FLOWS_DIFFER)


def test_what_flows_define_alike_has_one_name() -> None:
    assert _alike(folder.rglob("*.py") for folder in FLOW_FOLDERS) == set(FLOWS_SAME_SHAPE)


def test_a_copy_that_was_mended_alone_or_renamed_is_seen(tmp_path: Path) -> None:
    code = (
        "def wait(error):\n    seconds = error.seconds\n    if seconds:\n        return min(seconds, 30)\n    return 0"
    )
    renamed = code.replace("wait", "pause").replace("seconds", "time").replace("30", "60")
    for name, text in {"first.py": code, "mended.py": code.replace("30", "180"), "renamed.py": renamed}.items():
        (tmp_path / name).write_text(text)
    first, mended, renamed_copy = (tmp_path / name for name in ("first.py", "mended.py", "renamed.py"))
    assert _unequal([_definitions(first), _definitions(mended)]) == ({"wait"}, {"wait"})
    assert _unequal([_definitions(first), _definitions(first)]) == ({"wait"}, set())
    assert _alike([[first], [renamed_copy]]) == {("pause", "wait")}


def test_the_scoring_script_defines_what_the_server_does() -> None:
    shared, unequal = _unequal([_definitions(*AZURE.glob("*.py")), _definitions(*SERVING)])
    assert "MAX_BODY_BYTES" in shared
    assert unequal == set(SCRIPT_DIFFERS)


def test_a_runner_reads_retry_after_as_the_flows_do() -> None:
    shared, unequal = _unequal(
        [_definitions(HTTP_COPIES[0], FLOWS / "chat_phi3/phi3_endpoint.py"), _definitions(RETRIES)]
    )
    assert {
        "requested_wait_s",
        "parse_retry_after",
        "parse_duration",
        "RETRYABLE_STATUS",
        "_RETRYABLE_MODEL_STATUS",
    } <= shared
    assert unequal == set()


RETRY_AFTER = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.integers().map(str),
    st.floats().map(str),
    st.from_regex(r"\s*\d+(\.\d+)?\s*", fullmatch=True),
    st.datetimes().map(email.utils.format_datetime),
    st.datetimes(timezones=st.timezones()).map(email.utils.format_datetime),
    st.datetimes().map(lambda date: date.ctime()),
    st.from_regex(r"(Mon, )?\d{1,12} (Jan|Feb) \d{1,24}( \d\d:\d\d(:\d\d)?)?( GMT| [+-]\d{1,6})?", fullmatch=True),
)


@pytest.fixture(scope="module")
def http() -> ModuleType:
    return load_client()[1]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_any_retry_after_is_no_wait_or_a_time_to_come_for_the_flows_and_the_runner_alike(
    http: ModuleType, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @settings(max_examples=300)
    @given(value=RETRY_AFTER)
    def check(value: str | None) -> None:
        wait_s = http.parse_retry_after(value)
        assert failures.parse_retry_after(value) == (None if wait_s is None else pytest.approx(wait_s, abs=1.0))
        assert wait_s is None or wait_s >= 0.0

    with monkeypatch.context() as local:
        local.setenv("TZ", zone)
        time.tzset()
        check()
        in_a_minute = time.asctime(time.gmtime(time.time() + 60))  # a date that does not say its zone is in UTC
        assert http.parse_retry_after(in_a_minute) == pytest.approx(60, abs=2)
    time.tzset()


TEXT = st.text(st.characters(), max_size=6) | st.sampled_from(["", " ", "Hi", "\ud800", "x" * 200, " x" * 100])
ROLES = ["system", "user", "assistant"]
RIGHT_MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(ROLES), "content": st.sampled_from(["Hi", " What? ", "北京"])}
)
RIGHT_PARAMETERS = {
    "temperature": st.sampled_from([0, 1, 2, 0.7, 2.0, 1e-300, None]),
    "top_p": st.sampled_from([1, 1.0, 0.5, None]),
    "max_new_tokens": st.sampled_from([1, 8, 10**30, None]),
    "do_sample": st.sampled_from([True, False, None]),
    "stop": st.sampled_from(["x", ["x", "y"], ["x"] * 16, [], None]),
    "seed": st.integers() | st.none(),
    "score_last": st.sampled_from([True, False, None]),
}
ODD = (
    TEXT
    | st.sampled_from([None, True, False, 0, 1, 2, 17, -1, 0.0, 1.0, 2.1, 8.0, 10**400, float("nan"), float("inf")])
    | st.sampled_from([[], {}, [[]], ["Hi"], [""], ["x"] * 17, {"role": "user", "content": "Hi"}, [{"type": "text"}]])
)
PARAMETER_NAMES = [*RIGHT_PARAMETERS, "n", "top_k", "presence_penalty", "tools", "stream", "logprobs", "temprature"]
PARAMETER_NAMES += ["details", "return_full_text", "x-é"]


@st.composite
def _bodies(draw: st.DrawFn, oddity: str) -> bytes:
    """Draw a request that is right but for an oddity, which may be none at all."""
    messages: Any = draw(st.lists(RIGHT_MESSAGE, min_size=1, max_size=4))
    parameters: Any = draw(st.fixed_dictionaries({}, optional=RIGHT_PARAMETERS))
    if parameters.get("score_last"):
        messages += [{"role": "user", "content": "And?"}, {"role": "assistant", "content": draw(TEXT)}]
    if oddity == "a parameter":
        parameters[draw(st.sampled_from(PARAMETER_NAMES))] = draw(ODD)
    if oddity == "a message":
        key = draw(st.sampled_from(["role", "content", "name", "tool_calls"]))
        messages[draw(st.integers(0, len(messages) - 1))] |= {key: draw(ODD)}
    if oddity == "nested messages":
        conversation = messages if draw(st.booleans()) else []
        messages = [conversation] * draw(st.integers(1, 3))
    input_data = {"input_string": messages, "parameters": parameters}
    if oddity == "the input":
        input_data[draw(st.sampled_from([*input_data, "params", "details"]))] = draw(ODD)
        del input_data[draw(st.sampled_from(sorted(input_data)))]
    body: Any = {"input_data": input_data}
    if oddity == "the body":
        body = draw(ODD | st.just(body | {"model": "m"}))
    encoded = json.dumps(body, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if oddity == "the bytes":
        end = draw(st.integers(0, len(encoded)))
        return draw(st.sampled_from([encoded[:end], b"\xef\xbb\xbf" + encoded, encoded[:-1] + b', "input_data": {}}']))
    return encoded


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script()


def _read_by_script(script: ModuleType, body: bytes) -> Any:
    """Return the refusal, or the request in the server's form."""
    try:
        request = script.parse(body)
    except script.RequestError as error:
        return error.status, json.dumps(error.body)
    assert request.chat_model is None
    options = request.options
    return protocol.ChatRequest(
        messages=request.messages,
        parameters=SamplingParameters(
            temperature=options.temperature if options.do_sample else 0.0,
            top_p=options.top_p,
            max_new_tokens=1 if options.score_last else options.max_new_tokens,  # the script generates nothing then
            stop=tuple(options.stop),
            seed=options.seed,
        ),
        complete=options.score_last,
        scored="answer" if options.score_last else None,
        ignored=request.ignored,
    )


def _read_by_server(body: bytes) -> Any:
    try:
        return protocol.parse_score(body)
    except protocol.RequestError as error:
        return error.status, json.dumps(protocol.error_body(error))


ODDITIES = ["nothing", "a parameter", "a message", "nested messages", "the input", "the body", "the bytes"]


@pytest.mark.parametrize("oddity", ODDITIES)
def test_the_scoring_script_takes_and_refuses_what_the_server_does_in_the_same_words(
    script: ModuleType, oddity: str
) -> None:
    @settings(max_examples=300)
    @given(body=_bodies(oddity))
    def check(body: bytes) -> None:
        assert _read_by_script(script, body) == _read_by_server(body)

    check()


def test_only_the_scoring_script_takes_mlflows_chat(script: ModuleType) -> None:
    """An MLflow model's clients send it to the deployment's one path; the server has /v1/chat/completions for chats."""
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}]}).encode()
    assert script.parse(body).chat_model == "phi3"
    assert _read_by_server(body)[0] == 422

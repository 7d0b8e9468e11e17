"""Whatever Python object a tool returns: its line ends with a record, at once, and no other line pays for it.

Objects are written as expressions, which travel as the line's question; the tool is a real one, in a real worker.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phi3flow.flows import load_flow
from phi3flow.runner import RunPlan, run_flow
from phi3flow.runs.folder import RunFolder
from tests.support.flows.foreign_flows import write_flow, write_lines
from tests.support.run_options import run_options

HELPERS = """
import asyncio, collections, dataclasses, datetime, decimal, enum, fractions, pathlib, threading, types, uuid
from dataclasses import dataclass
import numpy as np
from promptflow.core import tool

INF, NAN = float("inf"), float("nan")

class Number(enum.Enum):
    ONE = 1
class Whole(enum.IntEnum):
    ONE = 1
class Name(str, enum.Enum):
    ONE = "one"
class Text(str): pass
class Costly(str):
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
class Row(dict): pass
class Rows(list): pass
Pair = collections.namedtuple("Pair", "left right")

@dataclass
class Point:
    x: object = 0
    y: object = None

def raising(name, error="ValueError('odd')"):
    def method(self, *_, **__):
        raise eval(error)
    return type("Odd", (), {name: method})()

class Lazy:
    @property
    def __dict__(self): raise KeyError("lazy")

@dataclass
class LazyPoint:
    x: int = 1
    def __getattribute__(self, name):
        if name == "x": raise RuntimeError("lazy field")
        return super().__getattribute__(name)

class OddError(Exception):
    def __str__(self): raise ValueError("no text")
    __repr__ = __str__
class Waiting(Exception):
    retry_after_s = "soon"; status_code = 10 ** 30; retryable = object(); headers = {"a": raising("__str__")}
    @property
    def response(self): raise ValueError("no response")
class Hidden(Exception):
    def __getattr__(self, name): raise ValueError("no attribute")

def throw(error):
    raise error

def loop():
    value = {}
    value["self"] = [value]
    return value

def deep(levels, kind=list):
    value = 1
    for _ in range(levels):
        value = [value] if kind is list else {"a": value}
    return value

def growing():
    value = {str(number): number for number in range(2000)}
    def grow():
        for number in range(200_000): value[str(number % 5000 + 2000)] = number; value.pop(str(number % 1000), None)
    threading.Thread(target=grow, daemon=True).start()
    return value

def giving(*parts, then=None):
    for part in parts: yield part
    if then: raise then

class Iterates:
    def __init__(self, error): self.error = error
    def __iter__(self): return self
    def __next__(self): raise self.error

class OddRow(dict):
    def items(self): raise ValueError("no items")
class OddRows(list):
    def __iter__(self): raise ValueError("no parts")
    def __len__(self): raise ValueError("no length")
class OddText(str):
    def __str__(self): raise ValueError("no text")
    def encode(self, *_): raise ValueError("no bytes")
    __eq__ = __len__ = __hash__ = __str__
    @property
    def usage(self): raise ValueError("no usage")
class Talking(str):
    messages = [{"content": [{"type": "text"}]}]

@tool
def ask(question: str) -> object:
    return eval(question)
"""
METHODS = "repr str eq hash getattr bool len iter class reduce index float json del contains call getattribute"
ANY_DUNDER = [f"__{name}__" for name in METHODS.split()]
ERRORS = """
ValueError('odd')
SystemExit(3)
KeyboardInterrupt()
StopIteration(1)
GeneratorExit()
RecursionError()
MemoryError()
asyncio.CancelledError()
OddError()
Waiting('x')
Hidden('x')
Exception(object())
UnicodeDecodeError('utf-8', b'x', 0, 1, 'odd')
Exception('\\ud83d')
BaseException()
ExceptionGroup('many', [ValueError(1)])
TimeoutError()
""".strip().splitlines()
LEAVES = r"""
object()
object
INF
-INF
NAN
b'x'
bytearray(b'x')
{1, 2}
frozenset()
1j
...
datetime.datetime.now()
datetime.date.today()
decimal.Decimal('1.5')
fractions.Fraction(1, 3)
Rows([1])
Pair(1, 2)
Point()
Point(1, {2})
Point
LazyPoint()
Lazy()
Costly('c')
np.float64(1.5)
np.int64(3)
np.bool_(True)
np.array([1, 2])
np.array(1.5)
np.str_('s')
np.float64('nan')
np.datetime64('2020')
np.zeros((2, 0))
np.dtype('f8')
np.longdouble(1)
OddRow(a=1)
OddRows([1])
OddText('t')
Talking('t')
range(3)
types.SimpleNamespace(a=1)
collections.OrderedDict(a=1)
collections.Counter('aab')
collections.deque([1])
memoryview(b'x')
giving('a', 'b')
giving(1, None, {})
giving(object())
giving([object()])
giving('\ud83d')
iter([1, 2])
map(str, [1])
zip([1], [2])
open('/dev/null')
type('T', (), {})
NotImplemented
loop()
deep(50)
deep(150)
deep(198)
deep(250)
deep(900, dict)
deep(100_000)
growing()
""".strip().splitlines()

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
plain = json_values.map(repr)
errors = st.sampled_from(ERRORS)
odd_leaves = st.one_of(
    st.sampled_from(LEAVES),
    st.builds("giving('a', then={})".format, errors),
    st.builds("Iterates({})".format, errors),
    st.builds("throw({})".format, errors),
    st.builds("raising({!r}, {!r})".format, st.sampled_from(ANY_DUNDER), errors),
)
keys = st.sampled_from(
    ["1", "None", "True", "1.5", "('a', 1)", "'k'", "b'k'", "Name.ONE", "frozenset({1})", "NAN", "10**30"]
)
objects = st.recursive(
    plain | odd_leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({', '.join(parts)},)"),
        st.lists(st.builds("{}: {}".format, keys, inner), max_size=3).map(lambda pairs: "{" + ", ".join(pairs) + "}"),
        inner.map("Point({})".format),
        inner.map("Row(a={})".format),
        inner.map("giving('a', {})".format),
    ),
    max_leaves=4,
)  # fmt: skip


def _run(folder: Path, expressions: list[str], code: str = HELPERS, **options: Any) -> RunFolder:
    flow = load_flow(write_flow(folder / "flow", code))
    lines = write_lines(folder / "lines.jsonl", [{"question": text} for text in expressions])
    options = {"concurrency": 8, "timeout_s": 60.0, "max_retries": 0, **options}
    plan = RunPlan(flow, lines, folder / "runs", name="run", options=run_options(**options))
    return run_flow(plan, connections=dict)


def _check(run: RunFolder, expressions: list[str]) -> None:
    results = run.results()
    assert [result.inputs["question"] for result in results] == expressions
    for result, text in zip(results, expressions, strict=True):
        said = result.model_dump_json()
        assert " at 0x" not in said, (text, said[:400])
        assert (result.outputs is None) is (result.error is not None), text
        if result.error:
            assert result.error.message.strip(), text
            assert result.error.type not in ("WorkerDied", "NoAnswer"), (text, result.error)
            assert result.error.type != "TimeoutError" or "TimeoutError" in text, (text, result.error)
    assert run.manifest.status == "Completed"


CODES = {
    "sync": HELPERS,
    "async": HELPERS.replace("@tool\ndef ask", "@tool\nasync def ask"),
}


@pytest.mark.parametrize("kind", ["sync", pytest.param("async", marks=pytest.mark.slow)])
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, print_blob=False)
@given(expressions=st.lists(objects, min_size=60, max_size=90))
def test_each_line_ends_with_a_record_whatever_its_tool_returns(
    kind: str, tmp_path_factory: pytest.TempPathFactory, expressions: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    started_s = time.monotonic()
    run = _run(folder, expressions, CODES[kind])
    assert time.monotonic() - started_s < 60  # no line waited for its time-out
    _check(run, expressions)


def test_what_is_json_is_the_answer(tmp_path: Path) -> None:
    expressions = [
        "{1: {None: True, 1.5: (1, 2)}}",
        "[Name.ONE, Whole.ONE, Text('t'), Row(a=Rows([1])), Pair(1, 2)]",
        "Point(Point(1, [Point()]), 'é')",
        "2 ** 70",
        "giving('a', 1, None, {'b': 2})",
        "np.float64(1.5)",
        "collections.OrderedDict(b=1, a=2)",
    ]
    answers = [result.outputs and result.outputs["answer"] for result in _run(tmp_path, expressions).results()]
    assert answers == [
        {"1": {"null": True, "1.5": [1, 2]}},
        ["one", 1, "t", {"a": [1]}, [1, 2]],
        {"x": {"x": 1, "y": [{"x": 0, "y": None}]}, "y": "é"},
        2**70,
        "a1None{'b': 2}",
        1.5,
        {"b": 1, "a": 2},
    ]


FAILURES = {
    "giving('a', then=ValueError('midway'))": "midway",
    "giving(object())": "yielded a object",
    "throw(StopIteration(1))": "StopIteration",
    "throw(SystemExit(3))": "SystemExit: 3",
    "throw(BaseException('base'))": "BaseException: base",
    "throw(asyncio.CancelledError())": "CancelledError",
    "throw(OddError())": "no text",
    "LazyPoint()": "the output 'answer' is no JSON: lazy field",
    "OddRow(a=1)": "no JSON: no items",
    "10 ** 5000": "Exceeds the limit",
    "deep(250)": "recursion limit",
    "Exception(object())": "Exception is not JSON",
    "[1, (2, {3})]": "Object of type set is not JSON",
}


@pytest.mark.parametrize("kind", CODES)
def test_what_is_none_is_a_failure_that_says_why(tmp_path: Path, kind: str) -> None:
    run = _run(tmp_path, list(FAILURES), CODES[kind])
    messages = {result.inputs["question"]: result.error and result.error.message for result in run.results()}
    missing = {text: (said, messages[text]) for text, said in FAILURES.items() if said not in (messages[text] or "")}
    assert not missing


def test_the_record_says_what_the_tool_was_given_not_what_it_made_of_it(tmp_path: Path) -> None:
    code = (
        HELPERS
        + "\n@tool\ndef ask(question: object) -> object:\n    question.append(object())\n    return len(question)\n"
    )
    code = code.replace("@tool\ndef ask(question: str)", "def unused(question: str)")
    flow = write_flow(tmp_path / "flow", code)
    dag = (flow / "flow.dag.yaml").read_text().replace("type: string", "type: list", 1)
    (flow / "flow.dag.yaml").write_text(dag, encoding="utf-8")
    lines = write_lines(tmp_path / "lines.jsonl", [{"question": [1, 2]}])
    run = run_flow(RunPlan(load_flow(flow), lines, tmp_path / "runs", name="run"), connections=dict)
    (result,) = run.results()
    assert (result.inputs, result.outputs) == ({"question": [1, 2]}, {"answer": 3})


def test_an_output_that_changes_later_is_recorded_as_it_was(tmp_path: Path) -> None:
    code = HELPERS.replace("    return eval(question)", "    KEPT.append(question)\n    return KEPT") + "\nKEPT = []\n"
    results = _run(tmp_path, [str(number) for number in range(10)], code, concurrency=1).results()
    assert [json.loads(json.dumps(result.outputs))["answer"] for result in results] == [
        [str(number) for number in range(count + 1)] for count in range(10)
    ]

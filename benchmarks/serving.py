"""Requests a second of ``phi3flow serve`` and of azureml-inference-server-http, side by side with the same model.

Both serve the same folder over the same wire contract in the same run; every request asks for the same number of
new tokens at temperature 0. azmlinfsrv runs a scoring script as Azure ML's documents have it: load in ``init``, one
``generate`` a request in ``run``, one worker. It is measured twice: as it comes, and with torch on one thread, which
suits a small model better (phi3flow serve chooses that by itself). The model has random weights in the size of
quickstart's; it never ends an answer early, so that both servers do the same work. The questions are those of
data/validation.jsonl.

    python benchmarks/serving.py
    python benchmarks/serving.py --model .quickstart/model --seconds 20 --in-flight 1 8 32
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

OURS = "phi3flow serve"
KEY = secrets.token_hex(16)
DATA = Path(__file__).parents[1] / "data"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}"
    "{% endfor %}{{ '<|assistant|>\n' }}"
)
SCORING_SCRIPT = """
import json, os
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

def init():
    global model, tokenizer
    folder = os.environ["AZUREML_MODEL_DIR"]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

def run(raw_data):
    data = json.loads(raw_data)["input_data"]
    inputs = tokenizer.apply_chat_template(
        data["input_string"], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    parameters = data["parameters"]
    with torch.inference_mode():
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=parameters["max_new_tokens"])
    return {"output": tokenizer.decode(tokens[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True)}
"""


@dataclass(frozen=True)
class Result:
    """What one server did at one number of requests in flight."""

    server: str
    in_flight: int
    requests_per_s: float
    p50_ms: float
    p95_ms: float
    cpu_ms: float
    """CPU time of the server's processes a request: unlike the others hardly touched by what else the machine does."""


def _contents(file: Path) -> list[str]:
    """Return the users' messages of a chat file, in its order."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [message["content"] for row in rows for message in row["messages"] if message["role"] == "user"]


def save_random_model(folder: Path) -> Path:
    """Save a random Phi-3 of quickstart's size (hidden 96, 4 layers, vocabulary 2,500) that never ends an answer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import Phi3Config, Phi3ForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_contents(DATA / "train.jsonl"), trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=CHAT_TEMPLATE).save_pretrained(folder)
    config = Phi3Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=96,
        intermediate_size=288,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        original_max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    Phi3ForCausalLM(config).save_pretrained(folder)
    return folder


@contextlib.contextmanager
def running(command: list[str], port: int, environment: dict[str, str], log: Path) -> Iterator[psutil.Process]:
    """Start a server, yield its process once its root answers, and end it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        asyncio.run(_until_up(f"http://127.0.0.1:{port}/", process, log))
        yield psutil.Process(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


async def _until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    async with aiohttp.ClientSession() as session:
        while process.poll() is None:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.2)
    raise SystemExit(f"{process.args} ended:\n{log.read_text()[-2000:]}")


def _cpu_s(server: psutil.Process) -> float:
    times = [process.cpu_times() for process in (server, *server.children(recursive=True))]
    return sum(spent.user + spent.system for spent in times)


async def measure(
    name: str, server: psutil.Process, url: str, *, in_flight: int, seconds: float, new_tokens: int
) -> Result:
    """Keep ``in_flight`` requests going for ``seconds``, after a warm-up; a failed request ends the benchmark."""
    questions = itertools.cycle(_contents(DATA / "validation.jsonl"))
    latencies_s: list[float] = []
    ends_at = [float("inf")]

    async def ask(session: aiohttp.ClientSession) -> None:
        message = {"role": "user", "content": next(questions)}
        parameters = {"temperature": 0.0, "max_new_tokens": new_tokens}
        async with session.post(
            url, json={"input_data": {"input_string": [message], "parameters": parameters}}
        ) as response:
            if response.status != 200 or "output" not in await response.json(content_type=None):
                raise SystemExit(f"{url} answered {response.status}: {await response.text()}")

    async def keep_asking(session: aiohttp.ClientSession) -> None:
        while time.perf_counter() < ends_at[0]:
            started_s = time.perf_counter()
            await ask(session)
            latencies_s.append(time.perf_counter() - started_s)

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer {KEY}"}) as session:
        await asyncio.gather(*(ask(session) for _ in range(in_flight)))
        started_s, started_cpu_s = time.perf_counter(), _cpu_s(server)
        ends_at[0] = started_s + seconds
        await asyncio.gather(*(keep_asking(session) for _ in range(in_flight)))
        elapsed_s = time.perf_counter() - started_s
    quantiles = statistics.quantiles([1000 * latency_s for latency_s in latencies_s], n=20, method="inclusive")
    cpu_ms = 1000 * (_cpu_s(server) - started_cpu_s) / len(latencies_s)
    return Result(name, in_flight, len(latencies_s) / elapsed_s, quantiles[9], quantiles[18], cpu_ms)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _commands(model: Path, folder: Path) -> dict[str, tuple[list[str], int, dict[str, str]]]:
    """Return each server's command, port and environment; azmlinfsrv's health port must not be its port."""
    script = folder / "score.py"
    script.write_text(SCORING_SCRIPT)
    ports = [_free_port() for _ in range(3)]
    azmlinfsrv = [str(Path(sys.executable).with_name("azmlinfsrv")), "--entry_script", str(script)]
    azmlinfsrv += ["--model_dir", str(model), "--port", str(ports[0]), "--health_port", str(ports[1])]
    ours = [sys.executable, "-m", "phi3flow.cli.main", "serve", str(model), "--port", str(ports[2])]
    return {
        "azureml-inference-server-http": (azmlinfsrv, ports[0], {}),
        "the same, torch on 1 thread": (azmlinfsrv, ports[0], {"OMP_NUM_THREADS": "1"}),
        OURS: (ours, ports[2], {"PHI3_KEY": KEY}),
    }


def main() -> None:
    """Measure the servers at each number in flight, and print a table with ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="model folder (default: random weights in quickstart's size)")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=10.0, help="a measurement (default: %(default)g)")
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = args.model.resolve() if args.model else save_random_model(folder / "model")
        for name, (command, port, environment) in _commands(model, folder).items():
            with running(command, port, environment, folder / "server.log") as server:
                for in_flight in args.in_flight:
                    load = {"in_flight": in_flight, "seconds": args.seconds, "new_tokens": args.new_tokens}
                    url = f"http://127.0.0.1:{port}/score"
                    results.append(asyncio.run(measure(name, server, url, **load)))
    _print(results, as_json=args.json)


def _print(results: list[Result], *, as_json: bool) -> None:
    ours = {result.in_flight: result.requests_per_s for result in results if result.server == OURS}
    ratios = {result: ours[result.in_flight] / result.requests_per_s for result in results}
    if as_json:
        rows = [{**vars(result), "ours_by_this": ratio} for result, ratio in ratios.items()]
        sys.stdout.write(json.dumps(rows) + "\n")
        return
    headers = ("in flight", "req/s", "p50 ms", "p95 ms", "CPU ms", "ratio")
    sys.stdout.write("server".ljust(32) + "".join(header.rjust(10) for header in headers) + "\n")
    for result, ratio in ratios.items():
        figures = (result.in_flight, result.requests_per_s, result.p50_ms, result.p95_ms, result.cpu_ms, ratio)
        sys.stdout.write(result.server.ljust(32) + "".join(f"{figure:>10.4g}" for figure in figures) + "\n")
    sys.stdout.write(f"ratio: requests a second of {OURS} by this server's\n")


if __name__ == "__main__":
    main()

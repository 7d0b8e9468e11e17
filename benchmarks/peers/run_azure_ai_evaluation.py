"""The questions by azure-ai-evaluation: evaluate() over an async target, and the cheapest evaluator it accepts.

How many are in flight is PF_WORKER_COUNT's, as its batch engine reads it.

    python benchmarks/peers/run_azure_ai_evaluation.py QUESTIONS URL OUTPUT
"""

import sys

import aiohttp
from azure.ai.evaluation import evaluate

QUESTIONS, URL, OUTPUT = sys.argv[1:]
SYSTEM = {"role": "system", "content": "You are an AI assistant that helps people find information."}

_session: aiohttp.ClientSession | None = None


async def ask(question: str) -> dict[str, str]:
    """The target. One session for all calls, which evaluate() makes in one event loop; nothing tells it the end."""
    global _session
    if _session is None:
        connector = aiohttp.TCPConnector(limit=0)
        _session = aiohttp.ClientSession(connector=connector, headers={"Authorization": "Bearer key"})
    messages = [SYSTEM, {"role": "user", "content": question}]
    body = {"input_data": {"input_string": messages, "parameters": {"temperature": 0.7, "max_new_tokens": 128}}}
    async with _session.post(URL, json=body) as response:
        return {"answer": (await response.json())["output"]}


def exact_match(answer: str, ground_truth: str) -> dict[str, float]:
    """The evaluator."""
    return {"exact_match": float(answer == ground_truth)}


if __name__ == "__main__":
    evaluate(data=QUESTIONS, target=ask, evaluators={"exact_match": exact_match}, output_path=OUTPUT)

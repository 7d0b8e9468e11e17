"""The floor: the same questions by a bare aiohttp loop, answers to a file. No flow, no checks, no retries.

python benchmarks/peers/run_aiohttp.py QUESTIONS URL IN_FLIGHT OUTPUT
"""

import asyncio
import json
import sys
from pathlib import Path

import aiohttp

SYSTEM = {"role": "system", "content": "You are an AI assistant that helps people find information."}


async def main(questions: Path, url: str, in_flight: int, output: Path) -> None:
    """Ask every question; the workers share one iterator."""
    rows = iter([json.loads(line) for line in questions.read_text(encoding="utf-8").splitlines()])
    headers = {"Authorization": "Bearer key"}
    connector = aiohttp.TCPConnector(limit=in_flight)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        with output.open("w", encoding="utf-8") as answers:

            async def keep_asking() -> None:
                for row in rows:
                    messages = [SYSTEM, {"role": "user", "content": row["question"]}]
                    parameters = {"temperature": 0.7, "max_new_tokens": 128}
                    body = {"input_data": {"input_string": messages, "parameters": parameters}}
                    async with session.post(url, json=body) as response:
                        answer = (await response.json())["output"]
                    answers.write(json.dumps({**row, "answer": answer}) + "\n")

            await asyncio.gather(*(keep_asking() for _ in range(in_flight)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])))

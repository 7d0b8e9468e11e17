"""The questions by inspect_ai: generate() from an OpenAI-compatible endpoint, scored by exact().

python benchmarks/peers/run_inspect_ai.py QUESTIONS BASE_URL IN_FLIGHT LOG_FOLDER
"""

import sys

from inspect_ai import Task, eval
from inspect_ai.dataset import FieldSpec, json_dataset
from inspect_ai.model import get_model
from inspect_ai.scorer import exact
from inspect_ai.solver import generate, system_message

QUESTIONS, BASE_URL, IN_FLIGHT, LOG_FOLDER = sys.argv[1:]
SYSTEM = "You are an AI assistant that helps people find information."


def main() -> int:
    """Return 0 where the log says success."""
    dataset = json_dataset(QUESTIONS, FieldSpec(input="question", target="ground_truth"))
    task = Task(dataset=dataset, solver=[system_message(SYSTEM), generate()], scorer=exact())
    model = get_model("openai-api/local/phi3", base_url=BASE_URL, api_key="key")
    options = {"temperature": 0.7, "max_tokens": 128}
    logs = eval(task, model=model, max_connections=int(IN_FLIGHT), display="none", log_dir=LOG_FOLDER, **options)
    return 0 if all(log.status == "success" for log in logs) else 1


if __name__ == "__main__":
    sys.exit(main())

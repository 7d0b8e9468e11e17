"""Where things lie in a project, relative to the folder that a command works in."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path()
SETTINGS_FILE = Path("phi3flow.toml")
ENVIRONMENT_FILE = Path(".env")

CHAT_FLOW = Path("flows/chat_phi3")
ANSWER_MATCH = Path("flows/eval/answer_match")
ANSWER_PREFERENCE = Path("flows/eval/answer_preference")
CONNECTIONS = Path("connections")

DATA = Path("data")
TRAIN_FILE = DATA / "train.jsonl"
VALIDATION_FILE = DATA / "validation.jsonl"
TEST_LINES_FILE = DATA / "test_lines.jsonl"

RUNS = Path(".runs")
FINE_TUNED_MODEL = Path("models/fine-tuned")
QUICKSTART = Path(".quickstart")
TRACKING_FILE = Path("mlflow.db")

OWN = Path(".phi3flow")
"""What phi3flow keeps for itself: it may be deleted, at the price of what is remembered or kept there."""
STATE_FILE = OWN / "state.json"
ANSWERS_FILE = OWN / "answers.sqlite"
BASE_MODELS = OWN / "models"
UPLOADS = OWN / "upload"
SPLITS = OWN / "splits"
FINE_TUNES = OWN / "fine-tunes"
"""A folder for each fine-tune that a service ran, with what it told of it."""
CHAT_LINES = OWN / "lines"

"""Chat datasets: read them from anywhere, check them, split them without leakage, write them with a card.

It knows rows and files, never runs or models.
"""

from phi3flow.datasets.chat import Breach, LocatedRow, read_chats
from phi3flow.datasets.evaluation import evaluation_lines
from phi3flow.datasets.splitting import Splits, normalise, question_key

__all__ = [
    "Breach",
    "LocatedRow",
    "Splits",
    "evaluation_lines",
    "normalise",
    "question_key",
    "read_chats",
]

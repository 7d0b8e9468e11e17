"""One self-contained HTML file about runs: what they show, and every line behind it; or a page that follows them.

It shows what is in run folders and computes no verdict of its own. What models and data said is escaped, always.
"""

from __future__ import annotations

from phi3flow.report.page import write_report
from phi3flow.report.training_view import read_training

__all__ = ["read_training", "write_report"]

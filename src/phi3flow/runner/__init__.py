"""The batch runner: every line of a file through a flow, as fast as the endpoint takes them, nothing lost.

The flow is executed by promptflow's FlowExecutor in worker processes (``workers``). Which line is tried when, how
often, and that every outcome is on disk before the next line takes its place, is decided in one place (``batch``);
the rate and the wait for an endpoint that is down are ``pacing``'s. It never looks into an answer: an answer is a
record. Design: docs/decisions/0008-batch-runs.md.
"""

from phi3flow.runner.estimate import RunEstimate, estimate_run
from phi3flow.runner.options import RunOptions
from phi3flow.runner.plan import RunPlan, default_run_name
from phi3flow.runner.progress import RunProgress
from phi3flow.runner.run import run_flow
from phi3flow.runner.stop_rule import StopRule

__all__ = [
    "RunEstimate",
    "RunOptions",
    "RunPlan",
    "RunProgress",
    "StopRule",
    "default_run_name",
    "estimate_run",
    "run_flow",
]

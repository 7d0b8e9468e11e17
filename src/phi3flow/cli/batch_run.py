"""Run a flow over every line of its data and keep what comes out in a run folder.

Lines run concurrently, as many as the endpoint takes; a line that fails is recorded and the run goes on. The same
command given again finishes an interrupted run, or tries its failed lines once more. With several variants, each gets
a run, all are scored by flows/eval/answer_match, and each is compared with the first.

Chats ({"messages": …}, as in data/validation.jsonl) are made lines first, one for each answer.

An input takes the column of its name, else its default. A sample default, such as a chat input's, is no data: without a
column the run is refused with the mapping to type, and a line without a value fails (docs/flow-inputs.md).

--stop-when-decided ends a run once a metric is shown better or worse than --baseline's, at level 5 % although it is
watched; several variants share that level, and are compared with the baseline. The same command with a larger --limit
goes on with the same test. docs/statistics.md says what it saves, and where conversations are too long for it.

--engine azureml executes the flow on the workspace's cluster, --engine foundry in the AI Foundry project: the command
asks first, submits one job, follows it, and brings its answers here. Ctrl-C leaves the job running; the same command
follows it again. docs/scaling.md says what it costs.

Examples:
  phi3flow batch-run flows/chat_phi3 --data data/test_lines.jsonl
  phi3flow batch-run flows/chat_phi3 --data data/validation.jsonl --name validation
  phi3flow batch-run flows/chat_phi3 --variant concise --variant few_shot --limit 50
  phi3flow batch-run flows/chat_phi3 --run flows/chat_phi3/run.yml --connections chat.connection=phi3_base
  phi3flow batch-run flows/chat_phi3 --data test.jsonl --column-mapping question='${data.prompt}' temperature=0
  phi3flow batch-run flows/chat_phi3 --dry-run --tokenizer models/support --price-in 0.13 --price-out 0.52
  phi3flow batch-run flows/chat_phi3 --rpm 600 --fail-fast 20
  phi3flow batch-run flows/chat_phi3 --name tuned --baseline base --stop-when-decided answer_match.f1
  phi3flow batch-run flows/chat_phi3 --engine ray --workers 8
  phi3flow batch-run flows/chat_phi3 --engine azureml --connections chat.connection=phi3_azure --workers 2 --yes

A flow with an aggregation node has it executed over the completed lines when they are done; its metrics are printed
and stand in the run's metrics.json. In Azure it is not executed.

Exit codes: 0 every line completed; 1 some failed, or the aggregation did; 2 usage, configuration or data;
3 the endpoint stayed down; 130 interrupted (143 by SIGTERM, 129 by SIGHUP).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi3flow.cli.arguments import (
    add_pace,
    add_pairs,
    add_runs_dir,
    percentage,
    positive_float,
    positive_int,
)
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.engines.table import DEFAULT, ENGINES, pick_engine
from phi3flow.errors import ConfigError
from phi3flow.project.paths import ANSWER_MATCH, ANSWERS_FILE, CHAT_LINES, CONNECTIONS, TEST_LINES_FILE
from phi3flow.text import money, plural

if TYPE_CHECKING:
    from phi3flow.engines.engine import Engine
    from phi3flow.flows.run_file import RunConfig
    from phi3flow.pacing.limits import Limits
    from phi3flow.records.runs import Manifest, Prices
    from phi3flow.runner import RunEstimate, RunPlan, StopRule
    from phi3flow.runs.folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("flow", type=Path, help="the flow's folder")
    _add_flow(parser.add_argument_group("flow"))
    _add_lines(parser.add_argument_group("lines"))
    _add_run(parser.add_argument_group("run"))
    _add_engine(parser.add_argument_group("engine"))
    _add_pace(parser.add_argument_group("pace"))
    _add_stops(parser.add_argument_group("when to stop"))
    _add_tokens(parser.add_argument_group("tokens and cost"))


def _add_flow(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--variant", action="append", default=[], help="a variant; repeat it for a run each")
    add_pairs(group, "--connections", metavar="NODE.INPUT=NAME", help="another connection for a node's input")
    add_pairs(group, "--init", metavar="NAME=VALUE", help="an argument for the class of a flex flow")


def _add_lines(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="JSON Lines, JSON, CSV, TSV or Parquet, also .gz, or a folder of these: a line is a row "
        "(default: the run.yml's, else data/test_lines.jsonl)",
    )
    add_pairs(
        group,
        "--column-mapping",
        metavar="INPUT=VALUE",
        help="an input's column, '${data.COLUMN}', or its value (default: the column of its name)",
    )
    group.add_argument(
        "--limit",
        type=positive_int,
        metavar="N",
        help="only the first N lines (with --stop-when-decided: of the random order, which a larger N goes on with)",
    )
    group.add_argument(
        "--repeats", type=positive_int, default=1, metavar="K", help="run each line K times (default: 1)"
    )
    group.add_argument(
        "--history",
        choices=["given", "own"],
        default="given",
        help="a line's chat history: the data's, or the model's own earlier answers (default: given)",
    )


def _add_run(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--run", type=Path, metavar="FILE", help="a run.yml, as for pf run create --file")
    group.add_argument("--name", help="the run's name (default: after flow, variant and fingerprint)")
    group.add_argument("--fresh", action="store_true", help="start the run over")
    group.add_argument("--dry-run", action="store_true", help="say how many lines and tokens, and run nothing")
    group.add_argument(
        "--trace", action="store_true", help="keep what each node was given and gave, and what a model was sent"
    )
    add_runs_dir(group)


def _add_engine(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--engine",
        choices=list(ENGINES),
        default=DEFAULT,
        help="where lines run: this machine, the Ray cluster of RAY_ADDRESS, or Azure (default: %(default)s)",
    )
    group.add_argument(
        "--workers", type=positive_int, default=1, metavar="N", help="processes, in Azure nodes (default: 1)"
    )
    group.add_argument("--yes", action="store_true", help="submit to Azure without asking")


def _add_pace(group: argparse._ArgumentGroup) -> None:
    add_pace(group, concurrency_help="attempts in flight (default: auto, what the endpoint takes)")
    group.add_argument(
        "--timeout-s", type=float, default=180.0, metavar="S", help="seconds for one attempt (default: 180)"
    )
    group.add_argument(
        "--max-retries", type=int, metavar="N", help="retries of a line (default: 5; with --engine azureml 2)"
    )


def _add_stops(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--fail-fast", type=positive_int, metavar="N", help="stop after N failed lines")
    group.add_argument("--max-failures", type=percentage, metavar="PCT", help="stop once more of the lines failed")
    group.add_argument("--baseline", metavar="RUN", help="the run that --stop-when-decided compares with")
    group.add_argument(
        "--stop-when-decided",
        metavar="METRIC",
        help="run lines in random order, score them as --baseline's, and stop once this one is shown better or worse",
    )


def _add_tokens(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--tokenizer",
        type=Path,
        metavar="PATH",
        help="a model folder or tokenizer.json: counts the tokens that the endpoint does not report",
    )
    group.add_argument("--price-in", type=positive_float, metavar="PRICE", help="of a million tokens in")
    group.add_argument("--price-out", type=positive_float, metavar="PRICE", help="of a million tokens out")
    group.add_argument("--cache", action="store_true", help="reuse answers at temperature 0 (.phi3flow/answers.sqlite)")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.cli.terminal.run_display import TerminalRunDisplay
    from phi3flow.cli.terminal.run_summary import describe_run
    from phi3flow.flows.run_file import RunConfig, load_run_config

    config = load_run_config(args.run) if args.run else RunConfig()
    if config.ignored:
        terminal.note(f"{args.run}: {', '.join(config.ignored)}: of no meaning here, ignored")
    variants = args.variant or [config.variant]
    if len(variants) > 1 and args.name:
        raise ConfigError("--name names one run, but there are several variants: leave it out")
    engine = pick_engine(args.engine)
    rule = _stop_rule(args, candidates=len(variants))
    plans = [_of_lines(_plan(args, config, variant, engine, rule), terminal) for variant in variants]
    if args.dry_run:
        return _estimate(plans, terminal)
    _check_flags(args, engine)
    runs = engine.run(plans, fresh=args.fresh, display=TerminalRunDisplay(terminal, yes=args.yes))
    if not runs:
        return 1
    if len(runs) == 1:
        terminal.result(_summary(runs[0]), describe_run(runs[0]))
    else:
        _compare_variants(runs, rule, terminal)
    return 1 if any(_is_incomplete(run.manifest) for run in runs) else 0


def _is_incomplete(manifest: Manifest) -> bool:
    return bool(manifest.counts.failed or (manifest.aggregation and manifest.aggregation.error))


def _plan(
    args: argparse.Namespace, config: RunConfig, variant: str | None, engine: Engine, rule: StopRule | None
) -> RunPlan:
    from phi3flow.flows import load_flow
    from phi3flow.flows.run_file import parse_pairs
    from phi3flow.runner import RunOptions, RunPlan, default_run_name

    overrides = {f"{node}.{key}": name for node, keys in config.connections.items() for key, name in keys.items()}
    flow = load_flow(args.flow, variant=variant).with_init({**config.init, **parse_pairs(args.init, flag="--init")})
    flow = flow.with_connections({**overrides, **parse_pairs(args.connections, flag="--connections")})
    return RunPlan(
        flow=flow,
        data=args.data or (Path(config.data) if config.data else TEST_LINES_FILE),
        runs_dir=args.runs_dir,
        column_mapping={**config.column_mapping, **parse_pairs(args.column_mapping, flag="--column-mapping")},
        name=args.name or config.name or default_run_name(flow, args.history),
        environment=config.environment_variables,
        options=RunOptions(
            limits=_limits(args, engine),
            fail_fast=args.fail_fast,
            max_failures_percent=args.max_failures,
            workers=args.workers,
            tokenizer=args.tokenizer,
            prices=_prices(args),
            trace=args.trace,
        ),
        limit=args.limit,
        cache=ANSWERS_FILE if args.cache else None,
        stop_rule=rule,
        history=args.history,
        repeats=args.repeats,
    )


def _of_lines(plan: RunPlan, terminal: Terminal) -> RunPlan:
    """Return the plan with evaluation lines in place of chats, unless the flow takes a chat's messages itself."""
    from phi3flow.datasets.chat_lines import holds_chats, lines_of_chats

    takes_messages = "messages" in plan.flow.inputs or "${data.messages}" in plan.column_mapping.values()
    if takes_messages or not plan.data.exists() or not holds_chats(plan.data):
        return plan
    chats = lines_of_chats(plan.data, folder=CHAT_LINES)
    counts = f"{plural(chats.conversations, 'conversation')}, whose answers are {plural(chats.lines, 'line')}"
    terminal.note(f"{plan.data}: {counts}: {chats.path}")
    return replace(plan, data=chats.path)


def _limits(args: argparse.Namespace, engine: Engine) -> Limits:
    from phi3flow.pacing.limits import Limits

    return Limits(
        concurrency=args.concurrency,
        rpm=args.rpm,
        tpm=args.tpm,
        timeout_s=args.timeout_s,
        max_retries=engine.max_retries if args.max_retries is None else args.max_retries,
    )


def _stop_rule(args: argparse.Namespace, *, candidates: int) -> StopRule | None:
    """Return when the runs may end: the candidates of one command share the level."""
    if args.stop_when_decided is None and args.baseline is None:
        return None
    from phi3flow.comparison.confirmatory import resolve_metrics
    from phi3flow.runner import StopRule
    from phi3flow.runs.promptflow_runs import open_run
    from phi3flow.stats import ALPHA

    if args.stop_when_decided is None or args.baseline is None:
        raise ConfigError("--baseline RUN and --stop-when-decided METRIC come together")
    if args.repeats > 1:
        raise ConfigError("--stop-when-decided tests each line once: leave --repeats out")
    baseline = open_run(args.baseline, args.runs_dir)
    names = [f"{flow}.{name}" for flow in baseline.evaluations() for name in baseline.metrics(flow).metrics]
    if not names:
        raise ConfigError(f"run {baseline.name} is not scored: phi3flow score {baseline.name}")
    (metric,) = resolve_metrics([args.stop_when_decided], names)
    return StopRule.of(baseline, metric, level=ALPHA / candidates)


def _prices(args: argparse.Namespace) -> Prices | None:
    from phi3flow.records.runs import Prices

    if args.price_in is None and args.price_out is None:
        return None
    return Prices(tokens_in=args.price_in or 0.0, tokens_out=args.price_out or 0.0)


def _check_flags(args: argparse.Namespace, engine: Engine) -> None:
    """Raise ConfigError for a flag that the engine cannot follow."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    for flag in engine.refuses:
        name = flag[2:].replace("-", "_")
        if getattr(args, name) != parser.get_default(name):
            raise ConfigError(f"{flag} does not go with --engine {engine.name}, which executes lines in its own way")


def _estimate(plans: list[RunPlan], terminal: Terminal) -> int:
    from phi3flow.runner import estimate_run

    estimates = [estimate_run(plan) for plan in plans]
    text = "\n".join(_describe_estimate(estimate) for estimate in estimates)
    terminal.result({"estimates": [estimate.model_dump() for estimate in estimates]}, text)
    return 0


def _describe_estimate(estimate: RunEstimate) -> str:
    line = f"{estimate.name}: {estimate.to_run} of {estimate.total} lines to run"
    if estimate.tokens_in is None:
        return f"{line}; --tokenizer PATH estimates their tokens"
    tokens_out = "unknown" if estimate.tokens_out is None else f"{estimate.tokens_out:,}"
    most = "at most " if estimate.based_on == "tokenizer" else ""
    line += f", about {estimate.tokens_in:,} tokens in, {most}{tokens_out} out"
    if estimate.cost is not None:
        line += f", {most}{money(estimate.cost)} at the given prices"
    return f"{line} (from {'this run' if estimate.based_on == 'earlier lines' else 'the tokenizer'})"


def _summary(run: RunFolder) -> dict[str, Any]:
    keep = {"name", "status", "flow", "variant", "data", "counts", "duration_s", "connections", "tokens", "cache_hits"}
    keep |= {name for name in ("stopped_early", "aggregation") if getattr(run.manifest, name)}
    summary = run.manifest.model_dump(mode="json", include=keep)
    return {**summary, "metrics": run.logged_metrics()} if run.manifest.aggregation else summary


def _compare_variants(runs: list[RunFolder], rule: StopRule | None, terminal: Terminal) -> None:
    """Score every run, and compare each with the baseline that it was tested against, else with the first."""
    from rich.console import Group

    from phi3flow.cli.terminal.comparison_tables import render_comparison
    from phi3flow.cli.terminal.run_summary import describe_run
    from phi3flow.comparison.compare import compare_with_baseline

    for run in runs:
        _score(run, rule, terminal)
    if rule:
        comparisons = compare_with_baseline(rule.baseline, runs, metrics=[rule.name])
    else:
        comparisons = compare_with_baseline(runs[0], runs[1:])
    data = {
        "runs": [_summary(run) for run in runs],
        "comparisons": [comparison.model_dump(mode="json") for comparison in comparisons],
    }
    texts = [describe_run(run) for run in runs]
    terminal.result(data, Group(*texts, *(render_comparison(comparison) for comparison in comparisons)))


def _score(run: RunFolder, rule: StopRule | None, terminal: Terminal) -> None:
    from phi3flow.cli.terminal.scoring_line import ScoringLine, note_failures
    from phi3flow.connections.resolve import connection_source
    from phi3flow.flows import load_flow
    from phi3flow.scoring import score_run

    flow = rule.flow if rule else load_flow(ANSWER_MATCH)
    with ScoringLine(terminal, run, flow.name) as line:
        score_run(
            run,
            flow=flow,
            connections=connection_source(CONNECTIONS.resolve()),
            column_mapping=rule.ruler.column_mapping if rule else None,
            failed_lines=rule.measured.failed_lines if rule else "least",
            on_start=line.start,
            on_line=line.advance,
        )
    note_failures(run, run.evaluation_of(flow), terminal)

"""Writes the page: reads the runs, fills the template, seals it with a Content-Security-Policy.

The file asks the network for nothing: style, script and data are inside. The policy names the one script and
the one style by their hash, so that nothing else can run even where a text slipped through the escaping; and
it forbids the script itself to turn text into HTML (``require-trusted-types-for``). Only the page that follows a
running run may ask a server, its own, whether there is a newer one.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from phi3flow import __version__
from phi3flow.errors import ConfigError
from phi3flow.records.comparisons import Comparison
from phi3flow.records.lines import LineResult
from phi3flow.records.training import TrainingRecord
from phi3flow.records.validation import first_problem
from phi3flow.report import wording
from phi3flow.report.embedded_lines import LONGEST_TEXT, embed, to_json
from phi3flow.report.figures import histograms
from phi3flow.report.gains import GainsFigure, gains_figure
from phi3flow.report.run_view import RunView, view_run
from phi3flow.report.slice_tables import SliceTable, compared_slices, run_slices
from phi3flow.report.tables import MetricTable, metric_table, provenance
from phi3flow.report.tokens_view import token_rows
from phi3flow.report.training_view import view_training
from phi3flow.report.verdict import Verdict, compare_verdict, headline, single_verdict, unscored_verdict
from phi3flow.storage.files import write_file
from phi3flow.text import shorten, visible

if TYPE_CHECKING:
    from jinja2 import Environment

    from phi3flow.runs.folder import RunFolder

_SCRIPTS = ("text.js", "data.js", "line.js", "conversation.js", "list.js", "export.js", "page.js")
_STYLES = ("report.css", "lines.css", "narrow.css")


def write_report(
    runs: Sequence[RunFolder],
    *,
    comparison: Comparison | Sequence[Comparison] | None = None,
    training: Sequence[TrainingRecord] = (),
    by: Sequence[str] = (),
    output: Path,
) -> Path:
    """Write one HTML file about ``runs`` to ``output``, atomically, and return its path.

    The first run is the baseline. ``comparison`` is the other run's with it, or one for each of the others; a run
    without one is shown beside the baseline all the same. ``by`` are the columns of the data that slice a single
    run; comparisons bring their own slices. Raises ConfigError where ``output`` cannot be written or a column is
    unknown, DatasetError where a run's files are damaged.
    """
    comparisons = [comparison] if isinstance(comparison, Comparison) else list(comparison or ())
    html = render([view_run(run) for run in runs], comparisons=comparisons, training=training, by=by)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_file(output, html.encode())
    except OSError as error:
        raise ConfigError(
            f"{output} cannot be written ({error.strerror}): choose another file with --output"
        ) from error
    return output


def render(
    runs: Sequence[RunView],
    *,
    comparisons: Sequence[Comparison] = (),
    training: Sequence[TrainingRecord] = (),
    by: Sequence[str] = (),
    live: int | None = None,
) -> str:
    """Return the page's HTML; with ``live``, the version of a served page that looks for newer ones."""
    from markupsafe import Markup

    by_candidate = {comparison.candidate: comparison for comparison in comparisons}
    tables = _tables(runs, by_candidate)
    verdicts = _verdicts(runs, by_candidate)
    data = embed(runs, by=by)
    script = "".join(_asset(name) for name in (*_SCRIPTS, *(() if live is None else ("live.js",))))
    style = "".join(_asset(name) for name in _STYLES)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            policy=_policy(script, style, live=live is not None),
            script=Markup(script),
            style=Markup(style),
            data=Markup(to_json(data | {"metrics": _line_metrics(tables, data), "live": live})),
            title=str(verdicts[0]),
            verdicts=verdicts,
            leaks=_leaks(runs),
            runs=runs,
            tables=tables,
            gains=[_gains(table) for table in tables],
            slices=_slices(runs, tables, by),
            latency=histograms([run.latencies for run in runs]),
            tokens=token_rows(runs),
            provenance=provenance(runs),
            training=[view_training(record) for record in training],
            text_limit=data["text_limit"] if data["text_limit"] < LONGEST_TEXT else None,
            line_count=len(data["lines"]["id"]),
            live=live,
            written=datetime.now(UTC),
            version=__version__,
        )
    )


def read_training(path: Path) -> TrainingRecord:
    """Read the training.json of a fine-tune's output folder. Raises ConfigError where there is none."""
    file = path / "training.json" if path.is_dir() else path
    try:
        return TrainingRecord.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be read ({error.strerror}): --training takes the output folder of phi3flow fine-tune"
        ) from error
    except ValidationError as error:
        problem = first_problem(error)
        raise ConfigError(
            f"{file}: {problem.key}: {problem.message}: it is not a training record, or damaged"
        ) from error


def _tables(runs: Sequence[RunView], by_candidate: dict[str, Comparison]) -> list[MetricTable]:
    if len(runs) == 1:
        tables = [metric_table(runs, None)]
    else:
        tables = [metric_table([runs[0], run], by_candidate.get(run.name)) for run in runs[1:]]
    return [table for table in tables if table.groups]


def _gains(table: MetricTable) -> list[GainsFigure]:
    """Return the figures of the line by line differences of a comparison's confirmatory metrics."""
    if table.comparison is None:
        return []
    figures = [gains_figure(row.name, table.comparison, table.runs) for row in table.rows if row.confirmatory]
    return [figure for figure in figures if figure]


def _slices(runs: Sequence[RunView], tables: Sequence[MetricTable], by: Sequence[str]) -> list[SliceTable]:
    if len(runs) == 1:
        return run_slices(runs[0], by)
    return [found for table in tables if table.comparison for found in compared_slices(table.runs, table.comparison)]


def _leaks(runs: Sequence[RunView]) -> list[tuple[Path, list[LineResult]]]:
    """Return the data of which training has seen lines that the runs answered, and those lines, each once."""
    seen: dict[Path, dict[str, LineResult]] = {}
    for run in runs:
        for line in run.results.values():
            if line.line_number in run.data.leaked and line.line_number < max(run.manifest.lines, 1):
                seen.setdefault(run.data.path, {}).setdefault(line.line_id, line)
    return [(path, list(lines.values())) for path, lines in seen.items()]


def _verdicts(runs: Sequence[RunView], by_candidate: dict[str, Comparison]) -> list[Verdict]:
    if len(runs) == 1:
        return [single_verdict(runs[0])]
    compared = [
        compare_verdict(by_candidate[run.name], baseline=runs[0], candidate=run)
        for run in runs[1:]
        if run.name in by_candidate
    ]
    return compared or [unscored_verdict(runs)]


def _line_metrics(tables: Sequence[MetricTable], data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the metrics that lines have scores of, the one to open with first."""
    rows = {row.name: row for table in tables for row in table.rows}
    names = [name for name in rows if any(name in run["scores"] for run in data["runs"])]
    confirmatory = [name for name in names if rows[name].confirmatory]
    first = confirmatory[0] if confirmatory else headline(names)
    names.sort(key=lambda name: name != first)
    return [{"name": name, "digits": rows[name].scale.digits, "lower": rows[name].lower_is_better} for name in names]


def _policy(script: str, style: str, *, live: bool) -> str:
    connect = "connect-src 'self'; " if live else ""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; {connect}"
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return (resources.files("phi3flow.report") / "assets" / name).read_text(encoding="utf-8")


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("phi3flow", "report/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = ("number", "signed", "interval", "p_value", "latency", "duration", "metric_name", "plural")
    environment.filters.update({name: getattr(wording, name) for name in filters} | {"shorten": shorten})
    return environment


def _finalize(value: object) -> object:
    """Show what is invisible in every text that the template prints (markup made by the template is kept)."""
    return visible(value) if type(value) is str else value

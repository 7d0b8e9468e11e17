"""Writes the page: reads the runs, fills the template with what they show, and puts its code and policy in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from phi3flow import __version__
from phi3flow.errors import ConfigError
from phi3flow.records.comparisons import Comparison
from phi3flow.records.lines import LineResult
from phi3flow.records.training import TrainingRecord
from phi3flow.report import wording
from phi3flow.report.bounded_texts import LONGEST_TEXT, to_json
from phi3flow.report.embedded_lines import EmbeddedLines, embed
from phi3flow.report.figures import histograms
from phi3flow.report.gains import GainsFigure, gains_figure
from phi3flow.report.headline import Headline, comparison_headline, leading_metric, run_headline, unscored_headline
from phi3flow.report.notes import run_notes
from phi3flow.report.page_code import read_page_code
from phi3flow.report.run_view import RunView, view_runs
from phi3flow.report.slice_tables import SliceTable, compared_slices, run_slices
from phi3flow.report.tables import MetricTable, metric_table, provenance
from phi3flow.report.tokens_view import token_rows
from phi3flow.report.training_view import view_training
from phi3flow.storage.files import write_file
from phi3flow.text import confidence, duration, plural, shorten, visible

if TYPE_CHECKING:
    from jinja2 import Template

    from phi3flow.runs.folder import RunFolder


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
    html = render(view_runs(runs), comparisons=comparisons, training=training, by=by)
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
    headlines = _headlines(runs, by_candidate)
    lines = embed(runs, by=by)
    return _template().render(
        code=read_page_code(live=live is not None),
        data=Markup(to_json({**lines, "metrics": _line_metrics(tables, lines), "live": live})),
        title=str(headlines[0]),
        headlines=headlines,
        leaks=_leaks(runs),
        notes=_notes(runs, by_candidate),
        texts=list(dict.fromkeys(name for run in runs for name in run.texts)),
        runs=runs,
        tables=tables,
        gains=[_gains(table) for table in tables],
        slices=_slices(runs, tables, by),
        latency=histograms([run.latencies for run in runs]),
        tokens=token_rows(runs),
        provenance=provenance(runs),
        training=[view_training(record) for record in training],
        text_limit=lines["text_limit"] if lines["text_limit"] < LONGEST_TEXT else None,
        traces_left_out=lines["traces_left_out"],
        line_count=len(lines["lines"]["id"]),
        live=live,
        written=datetime.now(UTC),
        version=__version__,
    )


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
    compared = [(table.runs, table.comparison) for table in tables if table.comparison]
    return [sliced for pair, comparison in compared for sliced in compared_slices(pair, comparison)]


def _leaks(runs: Sequence[RunView]) -> list[tuple[Path, list[LineResult]]]:
    """Return the data of which training has seen lines that the runs answered, and those lines, each once."""
    seen: dict[Path, dict[str, LineResult]] = {}
    for run in runs:
        for line in run.results.values():
            if line.line_number in run.data.leaked and line.line_number < max(run.manifest.lines, 1):
                seen.setdefault(run.data.path, {}).setdefault(line.line_id, line)
    return [(path, list(lines.values())) for path, lines in seen.items()]


def _headlines(runs: Sequence[RunView], by_candidate: dict[str, Comparison]) -> list[Headline]:
    if len(runs) == 1:
        return [run_headline(runs[0])]
    compared = [
        comparison_headline(by_candidate[run.name], baseline=runs[0], candidate=run)
        for run in runs[1:]
        if run.name in by_candidate
    ]
    return compared or [unscored_headline(runs)]


def _notes(runs: Sequence[RunView], by_candidate: dict[str, Comparison]) -> list[tuple[str | None, str]]:
    """Return what is to be known of each run, under its name, then what comparisons say of their two, each once."""
    baseline = runs[0]
    notes: list[tuple[str | None, str]] = []
    for run in runs:
        other = next(iter(by_candidate), None) if run is baseline else baseline.name
        is_compared = bool(by_candidate) if run is baseline else run.name in by_candidate
        notes += [(run.name, note) for note in run_notes(run, compared_with=other if is_compared else None)]
    compared = dict.fromkeys(note for comparison in by_candidate.values() for note in comparison.notes)
    return notes + [(None, f"{note}.") for note in compared]


def _line_metrics(tables: Sequence[MetricTable], lines: EmbeddedLines) -> list[dict[str, str | int | bool]]:
    """Return the metrics that lines have scores of, the one to open with first."""
    rows = {row.name: row for table in tables for row in table.rows}
    names = [name for name in rows if any(name in run["scores"] for run in lines["runs"])]
    confirmatory = [name for name in names if rows[name].confirmatory]
    first = confirmatory[0] if confirmatory else leading_metric(names)
    names.sort(key=lambda name: name != first)
    return [{"name": name, "digits": rows[name].scale.digits, "lower": rows[name].lower_is_better} for name in names]


def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("phi3flow", "report/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = ("number", "signed", "interval", "p_value", "latency", "metric_name")
    environment.filters.update({name: getattr(wording, name) for name in filters})
    environment.filters.update({"confidence": confidence, "duration": duration, "plural": plural, "shorten": shorten})
    return environment.get_template("page.html.j2")


def _finalize(value: object) -> object:
    """Show what is invisible in every text that the template prints (markup made by the template is kept)."""
    return visible(value) if type(value) is str else value

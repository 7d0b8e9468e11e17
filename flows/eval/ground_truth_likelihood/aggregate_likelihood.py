"""Aggregate the lines' likelihoods into the run's metrics."""

from math import fsum
from statistics import fmean

from likelihood_figures import perplexity
from promptflow.core import log_metric, tool


@tool
def aggregate_likelihood(line_likelihoods: list) -> dict[str, float]:
    """Log the perplexity over all tokens of the run, and the mean of each of the lines' figures."""
    told = [line for line in line_likelihoods if line["perplexity_statistics"] is not None]
    if not told:
        return {}
    metrics = {}
    for name in ("log_likelihood", "tokens", "perplexity"):
        values = [line[name] for line in told if line[name] is not None]
        if values:
            metrics[name] = fmean(values)
    log_likelihoods, tokens = zip(*(line["perplexity_statistics"] for line in told), strict=True)
    over_the_run = perplexity(fsum(log_likelihoods), sum(tokens))
    if over_the_run is not None:
        metrics["corpus_perplexity"] = over_the_run
    for name, value in metrics.items():
        log_metric(name, value)
    return metrics

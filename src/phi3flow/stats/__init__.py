"""Estimates and paired comparisons: numbers in, numbers out; no files, no clock, no hidden randomness.

It never knows what a run or a flow is. Every interval is 95 % (``simultaneous``: 95 % over several tests together),
every p is two-sided, power is 80 %. ``clusters`` labels each line with its conversation; it matters only where lines
share one.

Sources, as cited in the modules:
    Bell, McCaffrey 2002, Survey Methodology 28:169 (CR2 and its degrees of freedom)
    Chamandy, Muralidharan, Najmi, Naidu 2012, Estimating uncertainty for massive data streams (Poisson bootstrap)
    Clopper, Pearson 1934, Biometrika 26:404 (exact interval of a share)
    Efron 1979, Annals of Statistics 7:1 (the bootstrap)
    Fagerland, Lydersen, Laake 2013, BMC Medical Research Methodology 13:91 (mid-p McNemar test)
    Fleiss, Levin, Paik 2003, Statistical Methods for Rates and Proportions, 3rd ed., chapter 2 (lines for a share)
    Franco, Little, Louis, Slud 2019, J. Survey Statistics and Methodology 7:334 (Wilson for clustered data)
    Hall 1992, J. Royal Statistical Society B 54:221 (t corrected for skewness)
    Hesterberg 2015, The American Statistician 69:371 (expanded percentile interval)
    Holm 1979, Scandinavian J. Statistics 6:65
    Julious 2004, Statistics in Medicine 23:1921 (lines for non-inferiority)
    Miller 2024, arXiv 2411.00640 (clustered standard errors and paired differences of evaluations)
    Phipson, Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39 (p of a permutation test with random draws)
    Pustejovsky, Tipton 2018, J. Business & Economic Statistics 36:672 (the same, for any regression)
    Riezler, Maxwell 2005, ACL workshop on evaluation measures (approximate randomisation of corpus metrics)
    Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15:657 (equivalence by two one-sided tests)
    Tango 1998, Statistics in Medicine 17:891 (score interval of a paired difference of proportions)
    Waudby-Smith, Ramdas 2024, J. Royal Statistical Society B 86:1 (means of bounded variables by betting)
    Wilson 1927, J. American Statistical Association 22:209
"""

from __future__ import annotations

from phi3flow.stats.bounded_means import BoundedMean, infer_bounded_difference, infer_bounded_mean
from phi3flow.stats.corpus import CORPUS_METRICS, corpus_bleu, corpus_chrf
from phi3flow.stats.corpus_inference import compare_corpora, estimate_corpora
from phi3flow.stats.decisions import decide
from phi3flow.stats.estimates import (
    ALPHA,
    LEAST_CONVERSATIONS,
    UNIT,
    enough_lines,
    known_range,
    standard_error,
    t_interval,
    t_test,
    unbounded_error,
)
from phi3flow.stats.means import clustered_share_interval, estimate_mean
from phi3flow.stats.paired_shares import mcnemar_mid_p, share_difference_tail, tango_interval
from phi3flow.stats.pairs import PairedComparison, compare_pairs, holm
from phi3flow.stats.power import POWER, Discordance, Share, Spread
from phi3flow.stats.resampling import sign_flip_p
from phi3flow.stats.sequential import SequentialTest, anytime_p
from phi3flow.stats.shares import (
    MOST_ONE_SIDED,
    clustered_wilson_interval,
    share_interval,
    share_tail,
    wilson_interval,
)

__all__ = [
    "ALPHA",
    "CORPUS_METRICS",
    "LEAST_CONVERSATIONS",
    "MOST_ONE_SIDED",
    "POWER",
    "UNIT",
    "BoundedMean",
    "Discordance",
    "PairedComparison",
    "SequentialTest",
    "Share",
    "Spread",
    "anytime_p",
    "clustered_share_interval",
    "clustered_wilson_interval",
    "compare_corpora",
    "compare_pairs",
    "corpus_bleu",
    "corpus_chrf",
    "decide",
    "enough_lines",
    "estimate_corpora",
    "estimate_mean",
    "holm",
    "infer_bounded_difference",
    "infer_bounded_mean",
    "known_range",
    "mcnemar_mid_p",
    "share_difference_tail",
    "share_interval",
    "share_tail",
    "sign_flip_p",
    "standard_error",
    "t_interval",
    "t_test",
    "tango_interval",
    "unbounded_error",
    "wilson_interval",
]

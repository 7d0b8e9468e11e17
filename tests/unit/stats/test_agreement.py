"""Agreement of repeated verdicts: Krippendorff's alpha against his own example, and what is left out."""

from __future__ import annotations

import pytest

from phi3flow.stats.agreement import measure_agreement, ordinal_alpha

# Krippendorff 2011, section C: four observers, twelve units, some not judged.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
UNITS = [[float(one) for one in unit if one is not None] for unit in zip(*OBSERVERS, strict=True)]


def test_alpha_is_that_of_krippendorffs_example() -> None:
    assert ordinal_alpha(UNITS) == pytest.approx(0.815, abs=0.0005)


def test_alpha_is_one_where_every_line_agrees_and_lines_differ() -> None:
    assert ordinal_alpha([[1, 1, 1], [4, 4, 4]]) == 1.0


def test_alpha_depends_on_the_order_of_the_verdicts_not_on_their_distance() -> None:
    lines = [[1.0, 2.0], [2.0, 2.0], [5.0, 5.0], [1.0, 1.0], [5.0, 2.0]]
    stretched = [[{1.0: 1.0, 2.0: 4.0, 5.0: 5.0}[one] for one in line] for line in lines]
    assert ordinal_alpha(lines) == pytest.approx(ordinal_alpha(stretched))


def test_where_all_verdicts_are_the_same_there_is_no_alpha() -> None:
    agreement = measure_agreement([[4, 4], [4, 4]])
    assert agreement is not None
    assert (agreement.alpha, agreement.exact, agreement.within_sd) == (None, 1.0, 0.0)


def test_a_line_with_one_verdict_says_nothing_of_agreement() -> None:
    agreement = measure_agreement([[1], [2, 3], []])
    assert agreement is not None
    assert (agreement.n, agreement.exact) == (1, 0.0)
    assert agreement.within_sd == pytest.approx(0.5**0.5)
    assert measure_agreement([[1], []]) is None

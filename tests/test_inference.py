"""The statistics of the suites on data made by hand, and the law of total variance."""

import math

import pytest
import torch
from scipy import stats

from odebridge.bench import inference
from odebridge.bench.refinement import depths, exponent, stages
from odebridge.metrics import variance_shares

A, B = [3.0, 5.0, 7.0, 10.0], [1.0, 4.0, 5.0, 7.0]  # differences 2, 1, 2, 3: mean 2, variance 2/3


def test_an_interval_by_hand():
    found = inference.interval([2.0, 1.0, 2.0, 3.0])
    reach = 3.182446305 * math.sqrt(2 / 3 / 4)  # t of three degrees of freedom
    assert found.mean == 2.0
    assert found.low == pytest.approx(2.0 - reach)
    assert found.high == pytest.approx(2.0 + reach)
    assert found.n == 4
    assert math.isnan(inference.interval([1.0]).low)
    with pytest.raises(ValueError, match="at least one"):
        inference.interval([])


def test_paired_differences_are_those_of_scipy():
    found, theirs = inference.paired(A, B), stats.ttest_rel(A, B)
    assert found.p == pytest.approx(float(theirs.pvalue))
    bounds = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high))
    assert inference.paired(B, A).mean == -2.0
    assert math.isnan(inference.paired([1.0], [0.0]).p)
    assert math.isnan(inference.paired([1.0, 2.0], [0.5, 1.5]).p)  # equal differences: no spread to judge by
    with pytest.raises(ValueError, match="pairs"):
        inference.paired(A, B[:3])


@pytest.mark.parametrize(
    ("ps", "corrected"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.9], [1.0, 1.0]),
        ([], []),
        ([0.02, math.nan, 0.01], [0.02, math.nan, 0.02]),  # what was not tested does not count
    ],
)
def test_holm_by_hand(ps, corrected):
    assert inference.holm(ps) == pytest.approx(corrected, nan_ok=True)


def test_equivalence_needs_a_small_difference_and_a_small_spread():
    t = (2.5 - 2.0) / math.sqrt(2 / 3 / 4)
    assert inference.equivalent(A, B, 2.5) == pytest.approx(float(stats.t.sf(t, 3)))  # the nearer bound decides
    tight = [0.01, -0.01, 0.02, 0.0]
    assert inference.equivalent(tight, [0.0] * 4, 0.5) < 0.001
    assert inference.equivalent([v + 1.0 for v in tight], [0.0] * 4, 0.5) > 0.99
    assert inference.equivalent([0.9, -0.9, 0.1, -0.1], [0.0] * 4, 0.5) > 0.05
    with pytest.raises(ValueError, match="margin"):
        inference.equivalent(A, B, 0.0)


def test_ranks_are_spearmans_and_leave_out_what_is_not_finite():
    x, y = [1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]
    assert inference.rank(x, y) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert inference.rank([*x, math.nan], [*y, 0.0]) == pytest.approx(0.8)
    assert math.isnan(inference.rank(x, [1.0] * 4))
    long = [float(i % 7) + 0.1 * i for i in range(30)]
    found = inference.rank_interval(long, list(range(30)))
    assert -1 < found.low < found.mean < found.high < 1
    assert (inference.known(math.nan), inference.known(0.0)) == (None, 0.0)
    assert inference.mean_known([1.0, math.nan, 3.0]) == 2.0
    assert inference.mean_known([math.nan]) is None


@pytest.mark.parametrize("where", ["samples", "channels", "blocks"])
def test_shares_of_the_variance_find_where_it_is(where):
    one = torch.zeros(4, 6, 1, 1)
    noise = torch.tensor([-1.0, 1.0, -1.0, 1.0])
    if where == "samples":
        steps = [one + noise[:, None, None, None]] * 2
    elif where == "channels":
        steps = [one + torch.arange(6.0)[None, :, None, None]] * 2
    else:
        steps = [one, one + 1.0]
    found = variance_shares([*steps, None])
    assert found is not None
    assert found[where] == pytest.approx(1.0)
    assert found["samples"] + found["channels"] + found["blocks"] == pytest.approx(1.0)


def test_shares_add_up_for_blocks_of_any_size_and_are_none_for_equal_steps():
    torch.manual_seed(0)
    steps = [torch.rand(5, 3, 1, 1), torch.rand(5, 8, 1, 1), torch.rand(5, 8, 1, 1)]
    found, every = variance_shares(steps), torch.cat([s.flatten() for s in steps]).double()
    assert found is not None
    assert found["sd"] == pytest.approx(float(every.std(correction=0)), rel=1e-6)
    assert variance_shares([torch.full((5, 3, 1, 1), 0.5), torch.ones(5) * 0.5]) is None
    assert variance_shares([None]) is None


def test_the_null_model_has_exponent_one_half():
    names = [f"body.{s}[{i}]" for s, count in ((0, 3), (2, 2), (4, 2)) for i in range(count)]
    assert stages(names) == [(0, 3), (3, 5), (5, 7)]
    assert depths(names) == [1, 2, 3, 2, 3, 2, 3]
    heights = [2.0] * 3 + [1.0] * 2 + [0.5] * 2
    assert exponent(names, [c * n**-0.5 for c, n in zip(heights, depths(names), strict=True)]) == pytest.approx(-0.5)
    assert math.isnan(exponent(["a[0]", "b[0]"], [1.0, 2.0]))

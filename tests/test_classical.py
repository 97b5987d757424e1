"""The classical laws are their formulas, with the numbers of the literature."""

import dataclasses
import math
from itertools import pairwise

import pytest
import torch

from odebridge.control import CONTROLLERS, Filter
from odebridge.control.classical import H211B, H312, PI, PI34, PI42, PID, PREDICTIVE, I, Smaller
from odebridge.core.protocols import Observation

D = torch.float64
X = torch.ones(3, 2, dtype=D)

# b (of the errors), a (of the step ratios): Gustafsson, ACM TOMS 17, 1991 (PI34); Soderlind, ACM TOMS 29, 2003 (H211b with
# b = 4, H312PID, PI42); Kennedy & Carpenter, Appl. Numer. Math. 44, 2003 (PID).
PUBLISHED = {
    "i": (I, (1.0, 0.0, 0.0), (0.0, 0.0)),
    "pi": (PI, (0.7, -0.4, 0.0), (0.0, 0.0)),
    "pi34": (PI34, (0.7, -0.4, 0.0), (0.0, 0.0)),
    "pi42": (PI42, (0.6, -0.2, 0.0), (0.0, 0.0)),
    "pid": (PID, (0.49, -0.34, 0.10), (0.0, 0.0)),
    "h211b": (H211B, (1 / 4, 1 / 4, 0.0), (1 / 4, 0.0)),
    "h312": (H312, (1 / 18, 2 / 18, 1 / 18), (0.0, 0.0)),
}
USUAL = {
    "safety": 0.9,
    "lowest": 0.2,
    "highest": 10.0,
    "floor": 1e-10,
    "threshold": 1.0,
    "retry": 1.0,
    "retry_safety": 0.9,
    "scale": 1.0,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_law_has_the_numbers_of_its_source(name):
    law, b, a = PUBLISHED[name]
    assert CONTROLLERS[name] == law
    numbers = law.coefficients._asdict()
    assert [numbers.pop(k) for k in ("b1", "b2", "b3")] == list(b)
    assert [numbers.pop(k) for k in ("a2", "a3")] == list(a)
    assert numbers == USUAL


def test_the_predictive_law_is_that_of_gustafsson_and_never_above_the_integral_one():
    """ACM TOMS 20, 1994: h' = h e0^(-1/k) (h / h1) (e1 / e0)^(1/k)."""
    assert CONTROLLERS["predictive"] == PREDICTIVE == Smaller(I, PREDICTIVE.second)
    numbers = PREDICTIVE.second.coefficients._asdict()
    assert [numbers.pop(k) for k in ("b1", "b2", "b3", "a2", "a3")] == [2.0, -1.0, 0.0, -1.0, 0.0]
    assert numbers == {**USUAL, "floor": 1e-2}


def by_hand(law, k, tries):
    """Sizes after (h, error, accepted), by the formula of the docstring in plain numbers; the first h begins the history."""
    b1, b2, b3 = (*law.b, 0.0, 0.0)[:3]
    a2, a3 = (*law.a, 0.0, 0.0)[:2]
    e1 = e2 = r1 = 1.0
    before = tries[0][0]
    retry_safety = law.safety if law.retry_safety is None else law.retry_safety
    for h, error, accepted in tries:
        e0 = max(error * law.scale, law.floor)
        if accepted:
            r0 = h / before
            factor = law.safety * e0 ** (-b1 / k) * e1 ** (-b2 / k) * e2 ** (-b3 / k) * r0**-a2 * r1**-a3
            factor = min(max(factor, law.lowest), law.highest)
            e1, e2, r1, before = e0, e1, r0, h
        else:
            factor = min(max(retry_safety * e0 ** (-law.retry / k), law.lowest), retry_safety)
            r1, before = 1.0, h * factor
        yield h * factor


def seen(h, error, accepted, order=4):
    h, error = (torch.full((3,), v, dtype=D) for v in (h, error))
    return Observation(1, torch.zeros(3, dtype=D), X, X, h, error, torch.full((3,), accepted), order)


def by_law(law, order, tries):
    memory = law.start(X, None)
    h, memory = law(seen(*tries[0])._replace(error=None), memory)
    assert torch.equal(h, torch.full((3,), tries[0][0], dtype=D))
    for one in tries:
        h, memory = law(seen(*one, order), memory)
        assert h.shape == (3,)
        assert h.dtype == D
        yield float(h[0])


TRIES = {
    "kept": [(0.1, 0.5, True), (0.13, 0.9, True), (0.12, 0.2, True), (0.2, 0.7, True), (0.21, 0.4, True)],
    "some rejected": [
        (0.1, 0.5, True),
        (0.2, 3.0, False),
        (0.1, 0.8, True),
        (0.11, 1.4, False),
        (0.09, 0.3, True),
        (0.1, 0.6, True),
    ],
    "far off": [
        (0.1, 1e-14, True),
        (1.0, 1e9, False),
        (0.1, 1e-3, True),
        (0.3, 1e9, True),
        (0.01, 1e-12, True),
        (0.02, 0.5, True),
    ],
}
OTHERS = {
    "three errors and two ratios": Filter(b=(0.3, 0.2, -0.1), a=(0.3, -0.2)),
    "one error and two ratios": Filter(b=(0.5,), a=(0.1, 0.4)),
    "all else": Filter((0.4, -0.1), (0.2,), 0.8, 0.3, 3.0, 1e-3, 1.5, 0.7, 0.6, 2.0),
    "a smaller scale": Filter((0.4,), scale=0.25, retry_safety=0.5),
}
LAWS = {**{name: law for name, (law, *_) in PUBLISHED.items()}, **OTHERS}


@pytest.mark.parametrize("order", [1, 4])
@pytest.mark.parametrize("tries", TRIES.values(), ids=TRIES)
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_filter_is_its_formula(law, tries, order):
    assert list(by_law(law, order, tries)) == pytest.approx(list(by_hand(law, order + 1, tries)), rel=1e-13)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_what_is_not_measured_leaves_the_size_and_begins_the_history(law):
    memory = law.start(X, None)
    whole = seen(0.25, 0.5, True)
    for missing in ("error", "order", "accepted"):
        h, after = law(whole._replace(**{missing: None}), memory)
        assert torch.equal(h, whole.h)
        assert torch.equal(after.size, whole.h.log())
        assert all(torch.equal(getattr(after, k), getattr(memory, k)) for k in ("error1", "error2", "ratio"))
    h, after = law(whole._replace(h=0.25), memory)  # a grid
    assert h == 0.25
    assert after is memory


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_try_is_kept_up_to_the_threshold_in_units_of_the_scale(law):
    edge = law.threshold / law.scale
    errors = torch.tensor([0.0, edge, math.nextafter(edge, math.inf), math.inf, math.nan], dtype=D)
    assert law.accepts(errors, None).tolist() == [True, True, False, False, False]


def test_a_filter_with_a_scale_is_the_same_at_smaller_tolerances():
    """Errors measured at tolerances divided by s are s times as large."""
    law = Filter(b=(0.7, -0.4), a=(0.1,))
    scaled = dataclasses.replace(law, scale=8.0)
    tries = TRIES["some rejected"]
    larger = [(h, 8.0 * e, kept) for h, e, kept in tries]
    assert list(by_law(scaled, 4, tries)) == pytest.approx(list(by_law(law, 4, larger)), rel=1e-14)


def test_the_smaller_of_two_laws():
    first = Filter((1.0, -0.3), (0.2,), threshold=2.0, retry_safety=0.5)
    second = Filter((0.2, 0.1), (0.6,), threshold=0.5, floor=1e-2)
    law = Smaller(first, second)
    tries = [(0.1, 1e-4, True), (0.1, 3.0, False), (0.05, 0.9, True), (0.06, 1e-4, True), (0.2, 0.02, True), (0.2, 0.9, True)]
    lengths = [list(by_law(one, 4, tries)) for one in (first, second)]
    assert {a < b for a, b in zip(*lengths, strict=True)} == {True, False}  # each is the smaller one somewhere
    apart = zip(by_law(law.first, 4, tries), by_law(law.second, 4, tries), strict=True)
    assert list(by_law_of_two(law, tries)) == [min(pair) for pair in apart]
    assert law.accepts(torch.tensor([0.5, 0.6, 2.1]), (None, None)).tolist() == [True, False, False]
    turned = Smaller(law.second, law.first)
    assert turned.accepts(torch.tensor([0.5, 0.6, 2.1]), (None, None)).tolist() == [True, False, False]
    h, memory = law(seen(0.25, 0.5, True)._replace(h=0.25), law.start(X, None))
    assert h == 0.25
    assert len(memory) == 2


def by_law_of_two(law, tries):
    memory = law.start(X, None)
    _, memory = law(seen(*tries[0])._replace(error=None), memory)
    for one in tries:
        h, memory = law(seen(*one), memory)
        yield float(h[0])


@pytest.mark.parametrize(("b", "a"), [((), ()), ((0.1,) * 4, ()), ((1.0,), (0.1,) * 3)])
def test_a_filter_of_more_terms_than_it_has_is_refused(b, a):
    with pytest.raises(ValueError, match="Filter: b"):
        Filter(b, a)


class Says(Filter):
    """A law that answers b and keeps errors up to its memory."""

    def __call__(self, seen, memory):
        return self.b[0], memory

    def accepts(self, error, memory):
        return error <= memory


def test_on_a_grid_the_smaller_number_is_taken():
    for pair in pairwise([(2.0,), (1.0,), (3.0,)]):
        assert Smaller(*map(Says, pair))(seen(0.1, 0.5, True), (None, None)) == (min(pair)[0], (None, None))


def test_each_of_two_laws_accepts_by_its_own_memory():
    law = Smaller(Says((1.0,)), Says((1.0,)))
    for memory in ((1.0, 2.0), (2.0, 1.0)):
        assert law.accepts(torch.tensor([0.5, 1.5, 2.5]), memory).tolist() == [True, False, False]


@pytest.mark.parametrize("law", [PI, PREDICTIVE], ids=["filter", "smaller"])
def test_laws_do_not_change(law):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(law, dataclasses.fields(law)[0].name, None)

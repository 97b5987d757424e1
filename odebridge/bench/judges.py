"""The rules by which rows judge the claims of `claims.py`: each finds its figure with its interval, and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from odebridge.bench import attention_page, inference, refine_page, tickets_page
from odebridge.bench.attention_page import CONTROL, LEVEL, MARGIN, PLAIN, Compared
from odebridge.bench.grouped import ByGate, Row, groups, points, said, shared, values
from odebridge.bench.inference import Difference, Interval
from odebridge.bench.refinement import SUBSTEPS, UNTRAINED
from odebridge.bench.words import GATES, between, listed, signed

HOLDS, FAILS, OPEN, GPU, UNRECORDED = "holds", "does not hold at this scale", "open", "open, needs GPU", "open, no record yet"


@dataclass(frozen=True)
class Found:
    """What the rows say of a claim. figure: with its interval."""

    data: str
    n: str
    figure: str
    verdict: str


Judge = Callable[[Sequence[Row]], Found | None]
Numbers = tuple[float, float, float, int]  # mean, low, high, n


def _numbers(v: Difference | Interval) -> Numbers:
    return v.mean, v.low, v.high, v.n


def _by_bounds(v: Numbers, above: float) -> str:
    """Does the interval lie above the bound, below it, or on both sides?"""
    _, low, high, _ = v
    return HOLDS if low > above else FAILS if high < above else OPEN


def _figure(v: Numbers, unit: str = "", digits: int = 2) -> str:
    return f"{between(*v[:3], digits)}{unit}"


def attention(judge: Callable[[dict[str, Compared]], tuple[str, int, str] | None]) -> Judge:
    """A judge of the first group of the attention rows; it returns figure, n and verdict."""

    def go(rows: Sequence[Row]) -> Found | None:
        for about, by in groups(rows, "attention"):
            found = judge({c.controller: c for c in attention_page.compared(by)})
            return None if found is None else Found(said(about), f"{found[1]} pairs of seeds", found[0], found[2])
        return None

    return go


def gate_gains(table: dict[str, Compared]) -> tuple[str, int, str] | None:
    """Every gate that looks at the state against a step of 1."""
    looking = [c for name, c in table.items() if name not in (PLAIN, "half", CONTROL) and c.to_plain is not None]
    if not looking:
        return None
    better = [c for c in looking if c.holm_plain < LEVEL and c.to_plain and c.to_plain.mean > 0]
    told = "; ".join(f"{GATES[c.controller]} {_figure(_numbers(c.to_plain))}" for c in looking if c.to_plain)
    verdict = HOLDS if len(better) == len(looking) else OPEN if better else _excluded([c.to_plain for c in looking])
    some = f" (holds for {listed(GATES[c.controller] for c in better)})" if better and verdict == OPEN else ""
    return f"{told} points", max(c.to_plain.n for c in looking if c.to_plain), verdict + some


def adapts(table: dict[str, Compared]) -> tuple[str, int, str] | None:
    """Every gate that looks at the state against the learned constant."""
    looking = [c for name, c in table.items() if name not in (PLAIN, "half", CONTROL) and c.to_constant is not None]
    if not looking:
        return None
    better = [c for c in looking if c.holm_constant < LEVEL and c.to_constant and c.to_constant.mean > 0]
    equal = [c for c in looking if c.equal < LEVEL]
    told = "; ".join(f"{GATES[c.controller]} {_figure(_numbers(c.to_constant))}" for c in looking if c.to_constant)
    same = f"; equal within {MARGIN:g}: {listed(GATES[c.controller] for c in equal) if equal else 'not shown for any'}"
    some = f"{HOLDS} for {listed(GATES[c.controller] for c in better)}"
    verdict = some if better else _excluded([c.to_constant for c in looking])
    return f"{told} points{same}", max(c.to_constant.n for c in looking if c.to_constant), verdict


def half(table: dict[str, Compared]) -> tuple[str, int, str] | None:
    """The step of 1/2 against both."""
    c = table.get("half")
    if c is None or c.to_constant is None or c.to_plain is None:
        return None
    told = f"minus step 1 {_figure(_numbers(c.to_plain))}, minus learned constant {_figure(_numbers(c.to_constant))} points"
    gains = _significant(c.to_plain, c.holm_plain)
    return told, c.to_plain.n, OPEN if gains == HOLDS and not c.equal < LEVEL else gains


def constant(table: dict[str, Compared]) -> tuple[str, int, str] | None:
    """The learned constant against a step of 1."""
    c = table.get(CONTROL)
    if c is None or c.to_plain is None:
        return None
    return f"{_figure(_numbers(c.to_plain))} points", c.to_plain.n, _significant(c.to_plain, c.holm_plain)


def _significant(d: Difference, p: float) -> str:
    """A gain: shown, excluded, or neither."""
    return HOLDS if p < LEVEL and d.mean > 0 else _excluded([d])


def _excluded(some: Sequence[Difference | None]) -> str:
    """No gain was shown. Do the intervals leave out one of the margin, or do they leave it open?"""
    return FAILS if all(d is not None and d.high < MARGIN for d in some) else OPEN


def looks_at_samples(table: dict[str, Compared]) -> tuple[str, int, str] | None:
    """The share of the samples in the variance of SE's steps."""
    se = table.get("se")
    if se is None or se.shares is None:
        return None
    told = f"samples {se.shares['samples']:.2f}, channels {se.shares['channels']:.2f}, blocks {se.shares['blocks']:.2f}"
    return told, se.accuracy.n, HOLDS if se.shares["samples"] > 0.5 else FAILS


def _pair(
    rows: Sequence[Row], part: str, one: str, other: str, of: Callable[[dict[int, Row], Sequence[int]], Sequence[float]],
    unit: str, above: float = 0.0,
) -> Found | None:  # fmt: skip
    """A value of the one kind minus that of the other, paired by seed, against a bound."""
    for about, by in groups(rows, part):
        if one in by and other in by and (seeds := shared(by[one], by[other])):
            v = _numbers(inference.paired(of(by[one], seeds), of(by[other], seeds)))
            return Found(said(about), f"{v[3]} pairs of seeds", _figure(v, unit), _by_bounds(v, above))
    return None


def _value(key: str) -> Callable[[dict[int, Row], Sequence[int]], list[float]]:
    return lambda rows, seeds: [rows[s]["values"][key] for s in seeds]


def _peak(rows: dict[int, Row], seeds: Sequence[int]) -> list[float]:
    return [max(v) / median(v) for v in _value("nsi")(rows, seeds)]  # type: ignore[type-var,arg-type]


def stepnet(rows: Sequence[Row]) -> Found | None:
    """StepNet (reconstruction) against SE."""
    return _pair(rows, "attention", "stepnet", "se", points, " points")


def tns_of_se(rows: Sequence[Row]) -> Found | None:
    """TNS of SE against that of step 1."""
    return _pair(rows, "attention", "se", PLAIN, _value("tns"), "")


def peaks_are_learned(rows: Sequence[Row]) -> Found | None:
    """Peak over median block, trained against untrained."""
    return _pair(rows, "refine", PLAIN, UNTRAINED, _peak, " (largest over median block)")


def training_lowers(rows: Sequence[Row]) -> Found | None:
    """TNS untrained against trained."""
    return _pair(rows, "refine", UNTRAINED, PLAIN, _value("tns"), "")


def tns_predicts(rows: Sequence[Row]) -> Found | None:
    """TNS and accuracy over networks."""
    for about, by in groups(rows, "attention"):
        pairs = [(r["values"]["tns"], r["values"]["accuracy"]) for mine in by.values() for r in mine.values()]
        gated = [(r["values"]["tns"], r["values"]["accuracy"]) for c, mine in by.items() if c != PLAIN for r in mine.values()]
        if len(gated) < 5:
            return None
        v = _numbers(inference.rank_interval(*zip(*pairs, strict=True)))
        inner = f"; gated networks alone {_figure(_numbers(inference.rank_interval(*zip(*gated, strict=True))))}"
        return Found(said(about), f"{v[3]} networks", f"rank correlation {_figure(v)}{inner}", _by_bounds(v, 0.0))
    return None


def follows(rows: Sequence[Row]) -> Found | None:
    """The gate of SE and stiffness."""
    for about, by in groups(rows, "attention"):
        found = {k: values(by.get("se", {}), f"gate_{k}") for k in ("blocks", "samples")}
        control = values(by.get(CONTROL, {}), "gate_blocks")
        if not all(found.values()):
            return None
        se = {k: _numbers(inference.interval(v)) for k, v in found.items()}
        beside = f"; learned constant over blocks {_figure(_numbers(inference.interval(control)))}" if control else ""
        told = f"SE over blocks {_figure(se['blocks'])}, over samples in a block {_figure(se['samples'])}{beside}"
        # Over blocks a constant that sees nothing may correlate as well: only what goes beyond it has looked.
        more = inference.paired(found["blocks"], control) if len(found["blocks"]) == len(control) else None
        ahead, (_, low, high, _) = more is not None and (more.low > 0 or more.high < 0), se["samples"]
        clear = low > 0.3 or high < -0.3 or (ahead and (se["blocks"][1] > 0.3 or se["blocks"][2] < -0.3))
        weak = low > -0.3 and high < 0.3 and not ahead
        return Found(said(about), f"{se['blocks'][3]} seeds", told, HOLDS if clear else FAILS if weak else OPEN)
    return None


def easy_samples_move(rows: Sequence[Row]) -> Found | None:
    """TNS and the probability of the right class, over samples."""
    for about, by in groups(rows, "attention"):
        found = [v for mine in by.values() for v in values(mine, "tns_and_right")]
        if found:
            v = _numbers(inference.interval(found))
            return Found(said(about), f"{v[3]} networks", f"rank correlation {_figure(v)}", _by_bounds(v, 0.0))
    return None


def refine(judge: Callable[[ByGate], tuple[str, str, str] | None], group: int = 0) -> Judge:
    """A judge of a group of the refinement rows, 0: the smaller images, 1: the larger; it returns figure, n and verdict."""

    def go(rows: Sequence[Row]) -> Found | None:
        for about, by in groups(rows, "refine")[group : group + 1]:
            found = judge(by)
            return None if found is None else Found(said(about), found[1], found[0], found[2])
        return None

    return go


def error_across(by: ByGate) -> tuple[str, str, str] | None:
    """NSI and local error over blocks."""
    v = refine_page.correlation(by, "error_blocks")
    if v is None:
        return None
    return f"rank correlation {_figure(_numbers(v))}", f"{v.n} networks", _by_bounds(_numbers(v), 0.75)


def error_inside(by: ByGate) -> tuple[str, str, str] | None:
    """NSI and local error over the samples in a block."""
    v = refine_page.correlation(by, "error_samples")
    if v is None:
        return None
    return f"rank correlation {_figure(_numbers(v))}", f"{v.n} networks", _by_bounds(_numbers(v), 0.5)


def plain_loses(by: ByGate) -> tuple[str, str, str] | None:
    """Points that plain networks lose at the most substeps."""
    some = refine_page.lost(by).get(PLAIN)
    if some is None:
        return None
    v = some[SUBSTEPS[-1]]
    every = [run[-1] for run in values(by[PLAIN], "lost")]
    told = f"{_figure(_numbers(v), ' points', 1)}, {min(every):.1f} to {max(every):.1f}"
    return told, f"{v.n} seeds", HOLDS if v.mean > 10 and min(every) > 10 else FAILS if v.mean < 10 else OPEN


def gated_keep(by: ByGate) -> tuple[str, str, str] | None:
    """Points that the others lose."""
    gated = {c: some[SUBSTEPS[-1]] for c, some in refine_page.lost(by).items() if c != PLAIN}
    if not gated:
        return None
    told = "; ".join(f"{GATES[c]} {_figure(_numbers(v), '', 1)}" for c, v in gated.items())
    below = [v.mean < 7 for v in gated.values()]
    return f"{told} points", f"{max(v.n for v in gated.values())} seeds", HOLDS if all(below) else FAILS


def error_ranks(by: ByGate) -> tuple[str, str, str] | None:
    """What says best which network loses."""
    if not refine_page.lost(by):
        return None
    by_error, by_tns, n = refine_page.error_ranks_loss(by)
    told = f"rank correlation with the summed local error {signed(by_error)}, with TNS {signed(by_tns)}"
    return told, f"{n} networks", HOLDS if by_error > max(by_tns, 0.5) else FAILS


def null(by: ByGate) -> tuple[str, str, str] | None:
    """The exponent of NSI in untrained networks; it holds where the interval is also no wider than 0.6."""
    found = values(by.get(UNTRAINED, {}), "exponent")
    if not found:
        return None
    v = inference.interval(found)
    inside = v.low <= -0.5 <= v.high
    verdict = FAILS if v.high < -0.5 or v.low > -0.5 else HOLDS if inside and v.high - v.low <= 0.6 else OPEN
    return f"exponent {_figure(_numbers(v))}", f"{v.n} seeds", verdict


def top(other: str) -> Judge:
    """SE in the blocks of highest NSI against another choice of as many."""

    def go(rows: Sequence[Row]) -> Found | None:
        for about, by in tickets_page.tickets(rows):
            d = tickets_page.against(by, "top", other)
            if d is None:
                return None
            return Found(said(about), f"{d.n} pairs of seeds", f"{_figure(_numbers(d))} points", _significant(d, d.p))
        return None

    return go


def part_is_enough(rows: Sequence[Row]) -> Found | None:
    """SE in a random 40 per cent of the blocks against SE everywhere."""
    for about, by in tickets_page.tickets(rows):
        seeds = sorted(by.get(("random", 0.4), {}).keys() & by.get(("all", 1.0), {}).keys())
        if not seeds:
            return None
        a, b = ([by[key][s] for s in seeds] for key in (("random", 0.4), ("all", 1.0)))
        d, p = inference.paired(a, b), inference.equivalent(a, b, MARGIN)
        worse = d.high < 0
        told = f"{_figure(_numbers(d))} points, p of a difference of {MARGIN:g} or more {p:.2g}"
        return Found(said(about), f"{d.n} pairs of seeds", told, HOLDS if p < LEVEL else FAILS if worse else OPEN)
    return None

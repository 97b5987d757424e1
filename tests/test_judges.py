"""The rules that judge claims, on rows made by hand: each verdict where its rule says so, and none without rows for it."""

from statistics import fmean

import pytest

from odebridge.bench import attention_page, depth_page, judges, judges_depth, judges_equations, refine_page, tickets_page
from odebridge.bench.claims import PAPER, TRIAL, judged
from odebridge.bench.judges import FAILS, HOLDS, OPEN, UNRECORDED
from odebridge.bench.refinement import SUBSTEPS, UNTRAINED
from odebridge.bench.words import DASH
from tests.rows import row, texts

SEEDS = range(5)
NOISE = (0.0, 0.001, -0.001, 0.0005, -0.0005)  # of an accuracy: a tenth of a point between seeds
ABOUT = {"data": "digits", "train": None, "depth": 20, "width": 16, "stem": 1, "epochs": 4}


def attention(gains, **values):
    """Five seeds of every kind of step: points over step 1, seed by seed with a little noise; values: of every row."""
    same = {"parameters": 10, "train_seconds": 1.0, **values}
    return [
        row("attention", {**ABOUT, "controller": c}, {"accuracy": 0.8 + (gain + 10 * i * NOISE[s]) / 100, **same}, seed=s)
        for i, (c, gain) in enumerate(gains.items(), 1)
        for s in SEEDS
    ]


def of_se(key, found):
    """Rows of SE alone with a value of their own each."""
    return [row("attention", {**ABOUT, "controller": "se"}, {key: v}, seed=i) for i, v in enumerate(found)]


def refine(lost=None, controllers=("fixed",), **values):
    ends = {} if lost is None else {"lost": [0.0] * (len(SUBSTEPS) - 1) + [lost]}
    return [
        row("refine", {**ABOUT, "controller": c}, {k: v + 0.01 * seed for k, v in values.items()} | ends, seed=seed)
        for c in controllers for seed in SEEDS
    ]  # fmt: skip


def tickets(points):
    about = {k: v for k, v in ABOUT.items()}
    return [
        row("tickets", {**about, "choice": c, "ratio": r}, {"accuracy": 0.8 + (p + 10 * i * NOISE[s]) / 100}, seed=s)
        for i, ((c, r), p) in enumerate(points.items(), 1) for s in SEEDS
    ]  # fmt: skip


def depth(steps, lost):
    about = {**ABOUT, "depth_weights": "tied", "steps": steps, "method": "dopri5", "rtol": 1e-2}
    return [row("depth", about, {"lost": lost + 10 * NOISE[s], "f_evals": [6.0]}, seed=s) for s in SEEDS]


def equation(method, **values):
    about = {"what": "equation", "problem": "van_der_pol", "settings": {"mu": 50.0}, "method": method}
    return row("stiffness", about, {"steps": 100, "reached": 1.0, **values})


def network(share):
    return row("stiffness", {**ABOUT, "what": "network", "controller": "fixed"}, {"share_beyond_2": share, "pairs": 8}, seed=0)


@pytest.mark.parametrize("claim", [*PAPER, *TRIAL], ids=lambda claim: claim.text)
def test_a_claim_has_no_verdict_where_the_rows_do_not_have_it(claim):
    """None of the part; those that ended badly; and good ones without what the rule asks for."""
    bare = {
        "attention": attention({"fixed": 0.0}, tns=1.0), "refine": refine(), "depth": depth(None, 0.0),
        "stiffness": [equation("rk4")], "tickets": tickets({("top", 0.4): 0.0}),
    }[claim.suite]  # fmt: skip
    spoilt = [{**r, "status": "failed", "values": {}} for r in bare]
    for rows in ([], [row("other", {}, {})], spoilt, bare):
        assert claim.judge(rows) is None
        ((_, found),) = judged([claim], {claim.suite: rows})
        assert found.verdict == UNRECORDED


FLAT = {"fixed": 0.0, "constant": 0.0}
CASES = [
    (judges.attention(judges.gate_gains), attention({**FLAT, "se": 2.0, "eca": 3.0}), HOLDS),
    (judges.attention(judges.gate_gains), attention({**FLAT, "se": 2.0, "eca": 0.0}), f"{OPEN} (holds for SE)"),
    (judges.attention(judges.gate_gains), attention({**FLAT, "se": 0.0, "eca": -2.0}), FAILS),
    (judges.attention(judges.adapts), attention({**FLAT, "se": 2.0, "eca": 0.0}), f"{HOLDS} for SE"),
    (judges.attention(judges.adapts), attention({**FLAT, "se": 0.0}), FAILS),
    (judges.attention(judges.constant), attention({"fixed": 0.0, "constant": 2.0}), HOLDS),
    (judges.attention(judges.constant), attention({"fixed": 0.0, "constant": -1.0}), FAILS),
    (judges.attention(judges.half), attention({"fixed": 0.0, "constant": 2.0, "half": 2.0}), HOLDS),
    (judges.attention(judges.half), attention({"fixed": 0.0, "constant": 9.0, "half": 2.0}), OPEN),
    (judges.attention(judges.half), attention({**FLAT, "half": 0.0}), FAILS),
    (judges.stepnet, attention({"se": 0.0, "stepnet": 2.0}), HOLDS),
    (judges.stepnet, attention({"se": 0.0, "stepnet": -2.0}), FAILS),
    (judges.stepnet, attention({"se": 0.0, "stepnet": 0.0}), OPEN),
    (judges.easy_samples_move, of_se("tns_and_right", [0.3, 0.35, 0.4]), HOLDS),
    (judges.easy_samples_move, of_se("tns_and_right", [-0.3, -0.35, -0.4]), FAILS),
    (judges.refine(judges.error_across), refine(error_blocks=0.9), HOLDS),
    (judges.refine(judges.error_across), refine(error_blocks=0.2), FAILS),
    (judges.refine(judges.error_inside), refine(error_samples=0.7), HOLDS),
    (judges.refine(judges.error_inside), refine(error_samples=0.48), OPEN),
    (judges.refine(judges.plain_loses), refine(lost=20.0), HOLDS),
    (judges.refine(judges.plain_loses), refine(lost=5.0), FAILS),
    (judges.refine(judges.gated_keep), refine(lost=5.0, controllers=("se", "constant")), HOLDS),
    (judges.refine(judges.gated_keep), refine(lost=8.0, controllers=("se", "constant")), FAILS),
    (judges.refine(judges.gated_keep, 1), refine(lost=5.0, controllers=("se",)), None),
    (judges.refine(judges.null), refine(controllers=(UNTRAINED,), exponent=-0.52), HOLDS),
    (judges.refine(judges.null), refine(controllers=(UNTRAINED,), exponent=0.0), FAILS),
    (judges.training_lowers, refine(controllers=(UNTRAINED,), tns=3.0) + refine(tns=1.0), HOLDS),
    (judges.top("random"), tickets({("top", 0.4): 2.0, ("random", 0.4): 0.0}), HOLDS),
    (judges.top("bottom"), tickets({("top", 0.4): 0.0, ("bottom", 0.4): 1.0}), FAILS),
    (judges.part_is_enough, tickets({("random", 0.4): 0.0, ("all", 1.0): 0.0}), HOLDS),
    (judges.part_is_enough, tickets({("random", 0.4): 0.0, ("all", 1.0): 3.0}), FAILS),
    (judges.part_is_enough, tickets({("random", 0.4): 3.0, ("all", 1.0): 0.0}), OPEN),
    (judges_depth.solver_free, depth(8, 0.0), HOLDS),
    (judges_depth.solver_free, depth(8, 3.0), OPEN),
    (judges_depth.solver_bound, depth(1, 3.0), HOLDS),
    (judges_depth.solver_bound, depth(1, 0.0), FAILS),
    (judges_depth.solver_bound, depth(8, 3.0), None),
    (judges_equations.radius_explicit, [equation("dopri5", **{"radius_and_1/h": 0.9})], HOLDS),
    (judges_equations.not_explicit, [equation("dopri5", **{"index_and_1/h": 0.9})], FAILS),
    (judges_equations.not_stiff, [network(0.01), network(0.02)], HOLDS),
    (judges_equations.not_stiff, [network(0.5)], FAILS),
]  # fmt: skip


@pytest.mark.parametrize(("judge", "rows", "verdict"), CASES)
def test_verdicts_follow_their_rules(judge, rows, verdict):
    found = judge(rows)
    assert (None if found is None else found.verdict) == verdict


@pytest.mark.parametrize(("samples", "verdict"), [(0.6, HOLDS), (0.2, FAILS)])
def test_steps_look_at_samples_where_half_of_their_variance_lies_there(samples, verdict):
    shares = {"samples": samples, "channels": 0.9 - samples, "blocks": 0.1}
    found = judges.attention(judges.looks_at_samples)(attention({"se": 0.0}, variance=shares))
    assert found is not None
    assert (found.verdict, found.figure) == (verdict, ", ".join(f"{k} {v:.2f}" for k, v in shares.items()))


def gates(blocks, samples, constant=()):
    def rows(controller, seen):
        return [row("attention", {**ABOUT, "controller": controller}, v, seed=i) for i, v in enumerate(seen)]

    both = zip(blocks, samples, strict=True)
    return rows("se", [{"gate_blocks": b, "gate_samples": s} for b, s in both]) + rows(
        "constant", [{"gate_blocks": b} for b in constant]
    )


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        (gates([0.1, 0.11], [0.8, 0.81]), HOLDS),  # inside a block
        (gates([0.8, 0.81], [0.0, 0.01], [0.0, 0.02]), HOLDS),  # over blocks, beyond the constant
        (gates([0.8, 0.81], [0.0, 0.01], [0.8, 0.805]), FAILS),  # over blocks, as the constant does
        (gates([0.1, 0.11], [-0.5, 0.9]), OPEN),
    ],
)
def test_gates_follow_stiffness_where_they_go_beyond_a_constant(rows, verdict):
    found = judges.follows(rows)
    assert found is not None
    assert found.verdict == verdict
    assert ("learned constant" in found.figure) == any(r["configuration"]["controller"] == "constant" for r in rows)


def test_tns_is_judged_over_networks_only_where_there_are_five_with_a_gate():
    gated = [("se", 1.0 + v, 0.5 + 0.1 * v) for v in (3, 1, 6, 2, 5, 4, 0)]
    rows = [
        row("attention", {**ABOUT, "controller": c}, {"tns": t, "accuracy": a}, seed=i)
        for i, (c, t, a) in enumerate([("fixed", 9.0, 0.1), *gated])
    ]
    assert judges.tns_predicts(rows[:4]) is None
    found = judges.tns_predicts(rows)
    assert found is not None
    assert (found.n, found.verdict) == ("8 networks", OPEN)  # the plain one spoils it
    assert "gated networks alone +1.00" in found.figure


def test_what_ranks_the_losses_is_told_beside_what_does_not():
    rows = []
    for c, lost, error, tns in (("fixed", 20.0, 3.0, 1.0), ("se", 5.0, 2.0, 3.0), ("constant", 1.0, 1.0, 2.0)):
        values = {"lost": [0.0] * (len(SUBSTEPS) - 1) + [lost], "summed_error": error, "tns": tns}
        rows.append(row("refine", {**ABOUT, "controller": c}, values, seed=0))
    found = judges.refine(judges.error_ranks)(rows)
    assert found is not None
    assert (found.n, found.verdict) == ("3 networks", HOLDS)
    assert found.figure == "rank correlation with the summed local error +1.00, with TNS -0.50"


def test_gates_that_are_ahead_and_behind_are_told_with_their_intervals():
    said = attention_page.sentences(attention({**FLAT, "se": 2.0, "eca": -2.0}))
    better, worse = (next(s for s in said if s.startswith(f"Points {what} than a step of 1")) for what in ("better", "worse"))
    assert "SE +2.00 [" in better
    assert "ECA" not in better
    assert "ECA -2.00 [" in worse


def test_one_kind_alone_is_compared_with_nothing():
    rows = attention({"fixed": 0.0})
    said = attention_page.sentences(rows)
    assert len(said) == 1
    assert said[0].startswith("digits, all training images, depth 20, width 16, 4 epochs; 5 seeds; the backbone of a seed")
    section = attention_page.section(rows, rows, False)
    assert list(section.figures) == []
    assert len(section.tables) == 2


def test_one_pair_has_a_mark_and_no_interval():
    rows = [r for r in attention({"fixed": 0.0, "se": 2.0}) if r["seed"] == 0]
    (figure,) = attention_page.section(rows, rows, False).figures
    assert len(figure.panels) == 1  # there is no constant to compare with
    (shown,) = [r for r in texts(attention_page.section(rows, rows, False).tables[0]) if r["steps"] == "SE"]
    assert shown["minus step 1"] == "+2.00"
    assert shown["p (Holm)"] == DASH


def test_refinement_rows_that_measured_little_are_told_as_far_as_they_go():
    bare = refine()
    (head,) = refine_page.sentences(bare)
    assert head.endswith("5 seeds.")
    section = refine_page.section(bare[:0], bare, False)
    assert list(section.figures) == []
    assert refine_page.curves(0, {"fixed": {r["seed"]: r for r in bare}}) is None
    assert refine_page.envelopes(0, {"eca": {}}) is None
    assert len(refine_page.sentences(refine(lost=3.0, exponent=-0.5))) == 3


def test_rows_that_failed_are_no_ticket_and_no_scheme():
    good, bad = tickets({("top", 0.4): 0.0}), [{**r, "status": "failed", "values": {}} for r in tickets({("none", 0.0): 0.0})]
    ((_, by),) = tickets_page.tickets(good + bad)
    assert set(by) == {("top", 0.4)}
    assert tickets_page.sentences(good) == ["digits, all training images, depth 20, width 16, 4 epochs; 5 seeds."]
    section = tickets_page.section(good, good + bad, False)
    assert len(section.tables[0].rows) == 10
    assert "random" not in section.figures[0].panels[0]
    lost = [{**r, "status": "failed", "values": {}} for r in depth(8, 1.0)]
    assert depth_page.section(lost, lost, False).findings == []
    ((_, schemes),) = depth_page.schemes(depth(1, 2.0) + lost)
    assert [depth_page.lost(mine).mean for mine in schemes.values()] == [pytest.approx(2.0 + fmean(10 * v for v in NOISE))]

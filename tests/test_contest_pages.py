"""The sections on contests and on calibrated laws, from rows made by hand: sentences, cells, troubles, pictures."""

import math

import pytest

from odebridge.bench import compare_page, contest_page, controllers_page
from odebridge.bench.words import DASH
from odebridge.peers.faults import KNOWN_FAULTS
from tests.rows import row, texts


def verdict(who, target, per_second, ratio=None, interval=None, at_least=False, status="ok", lanes=10):
    out = {"contender": who, "target": target, "status": status, "lanes": lanes, "compile_seconds": 0.5}
    if status == "ok":
        out["per_second"] = {"median": per_second, "low": per_second, "high": per_second}
    if ratio is not None:
        out |= {"ratio": {"median": ratio, "low": ratio, "high": ratio}, "at_least": at_least, "interval": interval}
    return out


def measured(who, rtol, error, cpu, failed=0):
    return {
        "contender": who, "rtol": rtol, "lanes": 10, "error": error, "worst": error, "failed": failed, "compile_seconds": 0.0,
        "cpu": cpu, "counts": {}, "message": "",
    }  # fmt: skip


PEER = KNOWN_FAULTS[0].peer
VERDICTS = [
    verdict("odebridge:rodas5p", 1e-4, 200.0),
    verdict(PEER, 1e-4, 50.0, 4.0, [3.0, 5.0]),
    verdict("slow:one", 1e-4, 10.0, 20.0, None, at_least=True),
    verdict("odebridge:rodas5p", 1e-6, 90.0),
    verdict("slow:one", 1e-6, 0.0, status="did not reach this error"),
]
CELLS = [
    measured("odebridge:rodas5p", 1e-3, 2e-4, [0.004, 0.006]),
    measured("odebridge:rodas5p", 1e-4, 2e-5, [0.01, 0.01]),
    measured(PEER, 1e-3, 1e-3, [0.02]),
    measured("slow:one", 1e-3, None, [], failed=10),
]
HELD = row(
    "ensembles", {"contest": "hires, B=10"}, {"verdicts": VERDICTS, "cells": CELLS, "missing": ["x: not installed."] * 2}
)
BROKEN = row("ensembles", {"contest": "pollu, B=10"}, {}, "error", message="out of order")


def test_the_finding_is_told_at_the_tightest_error_that_both_sides_reach():
    said = contest_page.sentences_of("ensembles")([HELD, BROKEN, HELD])
    assert said == [
        "hires, B=10, error 10⁻⁴: ours (rodas5p) makes 200 a second; the fastest peer, "
        f"{PEER}, is slower: it takes 4 [3, 5] times the time, the slowest of 2 at least 20 times.",
        "x: not installed.",
    ]


def test_a_peer_that_is_ahead_is_called_faster():
    ahead = row("single", {"contest": "c"}, {"verdicts": [verdict("odebridge:a", 1e-4, 1.0), verdict("b", 1e-4, 2.0, 0.5)]})
    (said,) = contest_page.sentences_of("single")([ahead, HELD])
    assert "the fastest peer, b, is faster: it takes 0.50 times the time" in said


@pytest.mark.parametrize("status", ["did not reach this error", "not run"])
def test_nothing_is_said_where_ours_did_not_get_there(status):
    lost = {"verdicts": [verdict("odebridge:a", 1e-4, 1.0, status=status), verdict("b", 1e-4, 1.0)]}
    assert contest_page.sentences_of("single")([row("single", {"contest": "c"}, lost)]) == []


@pytest.mark.parametrize("part", contest_page.TITLES)
def test_a_part_has_a_section_of_its_own_rows(part):
    rows = [{**BROKEN, "part": other} for other in contest_page.TITLES]
    section = contest_page.section_of(part)(rows, rows, False)
    assert section.title == contest_page.TITLES[part]
    assert [len(table.rows) for table in section.tables] == [1, 0]


def test_a_section_shows_verdicts_cells_faults_and_a_curve_for_each_solver():
    rows = [HELD, BROKEN]
    section = contest_page.section_of("ensembles")(rows, rows, True)
    assert any(text.startswith(f"{PEER} (") for text in section.about["faults"])
    (figure,) = section.figures
    (picture,) = figure.panels  # the broken contest has none
    assert f"{PEER}, rtol 1e-03: error 0.0010, 20 ms" in picture
    assert "slow:one" not in picture  # it never arrived
    verdicts, cells = section.tables
    shown = texts(verdicts)
    assert [r["their time / our best"] for r in shown] == [DASH, "4 [3, 5] times", "at least 20 times", DASH, DASH, DASH]
    assert [r["solver"] for r in shown][-1] == DASH
    assert verdicts.troubles == (
        "hires, B=10, slow:one, error 10⁻⁶: failed: did not reach this error",
        "pollu, B=10: error: out of order",
    )
    assert [r["ms for one"] for r in texts(cells)] == ["5", "10", "20", DASH]
    assert [r["error, median"] for r in texts(cells)][-1] == DASH
    assert {r["from run"] for r in shown} == {"a"}


def test_without_cells_there_is_no_picture():
    section = contest_page.section_of("single")([row("single", {"contest": "c"}, {"cells": [], "verdicts": []})], [], False)
    assert (list(section.figures), section.findings) == ([], [])
    assert all(table.rows == () for table in section.tables)


@pytest.mark.parametrize("part", contest_page.OTHERS)
def test_a_plain_section_has_a_column_for_whatever_the_rows_have(part):
    rows = [
        row(part, {"b": 100, "device": "cpu"}, {"cpu": 0.5, "peak": 10, "runs": [1.0]}),
        row(part, {"b": 200, "device": "cpu"}, {"cpu": None}, "failed", message="gave up"),
        row("single", {"contest": "other"}, {"x": 1.0}),
    ]
    (table,) = contest_page.plain(part)(rows, rows, False).tables
    assert table.headings == ("b", "device", "cpu", "peak", "status")
    assert [list(r.values()) for r in texts(table)] == [
        ["100", "cpu", "0.500", "10", "ok"], ["200", "cpu", DASH, DASH, "failed"],
    ]  # fmt: skip
    assert table.troubles == ("b 200, cpu: failed: gave up",)


def law(family, method, ratio, kept="learned", failed=0):
    about = {"family": family, "method": method, "instances": 4, "fresh": 8}
    ratios = {name: {"ratio": ratio * by, "low": ratio / 2, "high": ratio * 2} for name, by in RIVALS.items()}
    values = {
        "ratios": ratios, "report": {"kept": kept, "seconds": 12.0}, "failed": failed,
        "rejected": {"calibrated": 0.1, controllers_page.TUNED: 0.255}, "time_per_f": {"ratio": 2.0},
    }  # fmt: skip
    return row("controllers", about, values)


RIVALS = {controllers_page.TUNED: 1.0, "pi42": 0.5, "predictive": 1.5}
LAWS = [
    law("lotka_volterra", "tsit5", 0.5),
    law("kepler", "tsit5", 2.0, kept="tuned", failed=3),
    law("hires", "rodas5p", 0.9),
    row("controllers", {"family": "orego", "method": "rodas5p"}, {}, "failed", message="no solve ended well"),
]


def test_the_mean_over_families_is_geometric_and_reciprocal_ratios_cancel():
    middle, low, high, n = controllers_page.over_families(LAWS, "tsit5", controllers_page.TUNED)
    assert (middle, n) == (pytest.approx(1.0), 2)
    assert low < 1.0 < high
    assert math.isclose(low * high, 1.0)
    assert controllers_page.methods(LAWS) == ["tsit5", "rodas5p"]
    assert controllers_page.in_time(LAWS[0]) == 1.0


def test_what_calibrated_laws_save_is_told_with_what_speaks_against_them():
    said = controllers_page.sentences(LAWS)
    assert len(said) == 4
    assert said[0].startswith("Tsit5: 1 [")
    assert said[0].endswith("0.50 times those of PI42; from lotka volterra 0.50 to kepler 2.")
    assert said[1:3] == [
        "Tsit5: the classical law was kept for kepler.",
        "Tsit5: of the solves of calibrated laws, 3 failed.",
    ]
    assert said[3].startswith("Rodas5P: 0.900 [0.900, 0.900] times the f evaluations")


def test_the_table_of_laws_has_every_row_and_the_picture_every_method():
    section = controllers_page.section(LAWS, LAWS, False)
    (table,) = section.tables
    shown = texts(table)
    assert shown[0] == {
        "family": "lotka_volterra", "method": "Tsit5", "kept": "learned", "f / tuned": "0.500", "interval": "0.250 to 1",
        "f / PI42": "0.250", "f / predictive": "0.750", "time / tuned": "1", "rejected": "10.0 %", "rejected, tuned": "25.5 %",
        "failed": "0", "calibration, s": "12", "status": "ok",
    }  # fmt: skip
    assert set(list(shown[3].values())[2:-1]) == {DASH}
    assert table.troubles == ("orego, Rodas5P: failed: no solve ended well",)
    (figure,) = section.figures
    assert len(figure.panels) == 2
    assert "lotka volterra" in figure.panels[0]
    assert section.about["fresh"] == 8


def test_a_run_without_a_finished_law_has_a_table_and_no_more():
    section = controllers_page.section(LAWS[3:], LAWS[3:], False)
    assert (section.findings, list(section.figures), section.about["fresh"]) == ([], [], 0)
    assert len(section.tables[0].rows) == 1


def solve(run, evaluations, time=None, method="tsit5", **more):
    values = {"f_evals": evaluations, **({} if time is None else {"time": time}), **more}
    return row("solvers", {"problem": "hires", "method": method, "rtol": 1e-3}, values, run=run)


def test_runs_with_nothing_in_common_are_not_set_beside_each_other():
    assert compare_page.section([solve("a", 1)]) is None
    assert compare_page.section([solve("a", 1), solve("b", 1, method="dopri5")]) is None


def test_counts_that_differ_between_two_runs_are_rows_and_third_runs_are_compared_with_the_first():
    rows = [
        solve("a", 100, 1.0), solve("a", 7, method="bdf"), solve("b", 100, 3.0), solve("b", 8, method="bdf"),
        solve("c", 1, method="dopri5"),
    ]  # fmt: skip
    section = compare_page.section(rows)
    assert section is not None
    assert section.findings[0] == "b and a have 2 cases in common; the counts of 1 are equal."
    assert "takes 3 times as long as a" in section.findings[1]
    assert not any(text.startswith("c and") for text in section.findings)
    (table,) = section.tables
    assert table.troubles == ("solvers, hires, bdf, 0.001: differs: f_evals: 7 and 8",)


def test_runs_without_times_are_compared_by_their_counts_alone():
    section = compare_page.section([solve("a", 1), solve("b", 1)])
    assert section is not None
    assert section.findings == ["b and a have 1 cases in common; the counts of 1 are equal."]


def test_counts_of_a_contest_are_those_of_its_cells():
    one = {"cells": [{"contender": "x", "rtol": 0.1, "counts": {"b": 2, "a": 1}}, {"contender": "y", "rtol": 0.1}]}
    assert dict(compare_page.counts_of(one)) == {"x 0.1": [("a", 1), ("b", 2)], "y 0.1": []}
    long = {"cells": [{"contender": "x", "rtol": 0.1, "counts": {str(i): i for i in range(20)}}]}
    rows = [row("ensembles", {"contest": "c"}, v, run=r) for v, r in ((one, "a"), (long, "b"))]
    section = compare_page.section(rows)
    assert section is not None
    (text,) = section.tables[0].troubles
    assert text.startswith("ensembles, c: differs: x 0.1: [('a', 1), ('b', 2)] and [('0', 0)")
    assert text.endswith("...")

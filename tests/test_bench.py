"""Records that survive a crash, the parts of the quick suite in a tiny size, and the page made of them."""

from __future__ import annotations

import json
import math
import re
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from odebridge.bench import findings, flowmap, library_page, networks, quick, solvers, svg, words
from odebridge.bench.quick import run_suite, threads
from odebridge.bench.record import (
    REPORT,
    RESULTS,
    RUN,
    Row,
    RunFolder,
    canonical,
    configuration_hash,
    finite,
    read,
    read_run,
)
from odebridge.bench.report import latest, render, sentences, write_report
from odebridge.bench.runner import Case, Outcome, Part, affordable, best_of, run_part
from odebridge.core.files import write_atomic
from odebridge.peers import PEERS, base, list_peers
from odebridge.problems import problem

TINY_SOLVERS = solvers.Settings(problems=("hires",), rtols=(1e-3, 1e-4), failing_steps=60)
TINY_NETWORKS = networks.Settings(seeds=2, controllers=("fixed", "constant", "se", "stepnet"), epochs=1, depth=14, width=4)
TINY_FLOWMAP = flowmap.Settings(
    seeds=1, steps=(("euler", (4, 64)), ("tsit5", (2,))), adaptive=(1e-3,), blocks=(2,), controllers=("fixed", "stepnet"),
    epochs=2, train=512, held_out=64,
)  # fmt: skip


def ignore(_anything: object) -> None:
    """Nobody writes, nobody watches."""


def strict(text: str) -> dict:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path, "test", {"seed": 1}, "odebridge bench test")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The three parts in a tiny size, through the same path as `odebridge bench quick`."""
    events = []
    todo = [solvers.part(TINY_SOLVERS), networks.part(TINY_NETWORKS), flowmap.part(TINY_FLOWMAP)]
    path = run_suite("tiny", todo, tmp_path_factory.mktemp("runs"), {"seed": 0}, events.append, "a test")
    return path, events


def test_rows_are_strict_json_and_name_what_was_not_finite(folder):
    folder.append(Row("a", {"rtol": 1e-3}, {"error": math.nan, "list": [1.0, math.inf], "good": 2.0}, seed=3))
    (line,) = (folder.path / RESULTS).read_text().splitlines()
    row = strict(line)
    assert row["values"] == {"error": None, "list": [1.0, None], "good": 2.0}
    assert row["status"] == "not finite"
    assert row["not_finite"] == ["error", "list[1]"]
    wanted = {
        "schema",
        "suite",
        "part",
        "configuration",
        "hash",
        "versions",
        "device",
        "cpu",
        "threads",
        "seed",
        "seconds",
        "utc",
    }
    assert wanted <= row.keys()
    assert {"odebridge", "torch", "numpy", "scipy", "python"} <= row["versions"].keys()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["utc"])


def test_a_failure_keeps_its_status_beside_null_values(folder):
    assert folder.append(Row("a", {}, {"error": math.nan}, "failed", "gave up"))["status"] == "failed"


def test_what_json_cannot_hold_is_refused_before_anything_is_written(folder):
    with pytest.raises(TypeError):
        folder.append(Row("a", {}, {"tensor": torch.ones(1)}))
    assert not (folder.path / RESULTS).exists()


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_skipped_and_counted(folder, cut):
    for i in range(3):
        folder.append(Row("a", {"i": i}, {"x": float(i)}))
    path = folder.path / RESULTS
    path.write_bytes(path.read_bytes()[:-cut])
    found = read(folder.path)
    complete = cut == 1  # only the line feed is missing: the row itself is whole
    assert len(found.rows) == (3 if complete else 2)
    assert found.torn == (0 if complete else 1)
    assert found.damaged == 0


def test_a_damaged_line_in_the_middle_costs_only_itself(folder):
    for i in range(3):
        folder.append(Row("a", {"i": i}))
    path = folder.path / RESULTS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\xff{\n" + lines[2])
    found = read(folder.path)
    assert [row["configuration"]["i"] for row in found.rows] == [0, 2]
    assert (found.torn, found.damaged) == (0, 1)


def test_a_newer_schema_is_refused(folder):
    folder.append(Row("a", {}))
    path = folder.path / RESULTS
    newer = {k: v for k, v in json.loads(path.read_text()).items() if k != "check"} | {"schema": 99}
    path.write_text(json.dumps(newer) + "\n")
    with pytest.raises(ValueError, match="schema 99"):
        read(folder.path)


def test_missing_results_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=RESULTS):
        read(tmp_path)


def test_hashes_do_not_depend_on_the_order_of_keys_and_never_change():
    assert configuration_hash({"a": 1, "b": [1e-3, "x"]}) == configuration_hash({"b": [1e-3, "x"], "a": 1})
    # Written down, because old results must stay comparable.
    assert configuration_hash({"a": 1, "b": [1e-3, "x"]}).startswith("536c3757d7ca")
    assert configuration_hash({"a": 1}) != configuration_hash({"a": 2})
    with pytest.raises(ValueError, match="JSON"):
        canonical({"a": math.nan})


def test_finite_leaves_everything_else_alone():
    assert finite({"a": (1, "x", None, True, -0.5)}) == ({"a": [1, "x", None, True, -0.5]}, [])


def test_run_json_is_there_first_and_is_strict(folder):
    page = strict((folder.path / RUN).read_text())
    assert page["id"] == folder.path.name
    assert page["settings"] == {"seed": 1}
    assert page["command"] == "odebridge bench test"
    assert [p.name for p in folder.path.iterdir()] == [RUN]  # no temporary file is left
    assert read_run(folder.path) == page


def test_two_runs_in_one_second_get_two_folders(tmp_path):
    paths = {RunFolder(tmp_path, "test", {}, "").path for _ in range(3)}
    assert len(paths) == 3


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    write_atomic(path, b"old")

    def full(_handle: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("odebridge.core.files.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_rows_are_on_the_disk_before_the_next_case_begins_and_ctrl_c_keeps_them(folder):
    def stop(_left: float) -> Outcome:
        assert len(read(folder.path).rows) == 1
        raise KeyboardInterrupt

    part = Part("p", 10.0, [Case("good", {"i": 0}, lambda left: Outcome({"left": left})), Case("stopped", {"i": 1}, stop)])
    with pytest.raises(KeyboardInterrupt):
        run_part(part, folder.append, ignore)
    (row,) = read(folder.path).rows
    assert 9.0 < row["values"]["left"] <= 10.0


def test_a_fault_in_one_case_does_not_take_the_others_and_a_spent_budget_skips_the_rest():
    def broken(_left: float) -> Outcome:
        raise ZeroDivisionError("oops")

    def slow(_left: float) -> Outcome:
        time.sleep(0.06)
        return Outcome()

    rows = run_part(Part("p", 0.05, [Case("a", {}, broken), Case("b", {}, slow), Case("c", {}, slow)]), ignore, ignore)
    assert [row.status for row in rows] == ["error", "ok", "skipped"]
    assert rows[0].message == "ZeroDivisionError: oops"
    assert "0.05 s" in rows[2].message


def test_the_best_of_several_times_is_bounded():
    assert len(best_of(lambda: None, most=4)[1]) == 4
    assert len(best_of(lambda: time.sleep(0.02), enough=0.01)[1]) == 1


def test_epochs_are_cut_for_all_alike():
    assert affordable(10, 100.0, [lambda: 1.0], repeats=3) == 10
    assert affordable(10, 10.0, [lambda: 1.0, lambda: 0.5], repeats=1) == 5
    assert affordable(10, 0.1, [lambda: 1.0], repeats=1) == 1


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("name", list_peers("scipy:*"))  # the optional ones: test_peers.py
def test_every_peer_solves_or_says_why_not(name):
    peer, system = PEERS[name], problem("hires")
    out = peer(system, 1e-6, 1e-9, max_steps=600)
    if name == "scipy:RK45":  # not stiff: stopped by the step limit, as an answer and not as an exception
        assert not out.ok
        assert "max_steps=600" in out.message
        assert np.isnan(out.x1).all()
        return
    assert out.ok, out.message
    assert system.reference is not None
    assert np.abs(out.x1 / system.reference.numpy() - 1).max() < 1e-3
    assert out.counts["jacobians"] > 0
    assert list_peers("scipy:R*") == ["scipy:RK45", "scipy:Radau"]


def test_a_peer_stops_at_its_time_limit():
    out = PEERS["scipy:RK45"](problem("robertson"), 1e-6, 1e-10, time_limit=0.02)
    assert not out.ok
    assert "time_limit" in out.message
    assert out.seconds < 2.0


def test_a_missing_peer_is_a_row_that_says_so(monkeypatch):
    monkeypatch.setattr("odebridge.methods.borrowed_sundials.library", lambda: None)
    rows = run_part(solvers.part(replace(TINY_SOLVERS, rtols=(1e-3,), peers=("sundials:BDF",))), ignore, ignore)
    row = next(r for r in rows if r.configuration["method"] == "sundials:BDF")
    assert row.status == "failed"
    assert "not installed" in row.message
    assert isinstance(PEERS["sundials:BDF"](problem("hires"), 1e-3, 1e-6), base.PeerRun)


def test_mescd_is_the_published_formula():
    errors = solvers.errors(np.array([1.0, 2.002]), np.array([1.0, 2.0]), 1.0)
    assert errors["mescd"] == pytest.approx(-math.log10(0.002 / 3.0))
    assert errors["relative"] == pytest.approx(1e-3)
    assert math.isnan(solvers.errors(np.array([math.nan, 1.0]), np.array([1.0, 1.0]), 1.0)["mescd"])


def test_flow_errors_count_overflows_as_infinite():
    zeros, ones = torch.zeros(10, 2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    flow = flowmap.Flow(zeros, zeros, zeros, zeros, 0 * ones, ones, 0 * ones, 2 * ones, 0, 0.0)
    x1 = zeros.clone()
    x1[0] = torch.nan
    x1[1:6] = 1.0
    assert flowmap.judged(x1, flow) == {"median": 0.5, "p90": math.inf, "not_finite_states": 1, "states": 10}


def test_the_tiny_suite_measures_everything(tiny):
    path, events = tiny
    found = read(path)
    assert (found.torn, found.damaged) == (0, 0)
    by = {part: findings.of_part(found.rows, part) for part in ("solvers", "networks", "flowmap")}
    assert [row for row in found.rows if row["status"] == "error"] == []

    ours = [r for r in by["solvers"] if r["configuration"]["method"] == "rodas5p" and "lanes" not in r["configuration"]]
    assert all(r["status"] == "ok" and r["values"]["relative"] < 0.01 for r in ours)
    assert {"time", "mescd", "accepted", "rejected", "f_evals", "jacobians"} <= ours[0]["values"].keys()
    (dopri5,) = [r for r in by["solvers"] if r["configuration"]["method"] == "dopri5"]
    assert dopri5["status"] == "failed"
    assert "MAX_STEPS" in dopri5["message"]
    (batch,) = [r for r in by["solvers"] if "lanes" in r["configuration"]]
    assert batch["values"]["x1"] == [r["values"]["x1"] for r in ours]  # promise 2: bits do not depend on the batch

    assert len(by["networks"]) == 8
    step_of = {r["configuration"]["controller"]: r["values"] for r in by["networks"]}
    assert set(step_of["fixed"]["step_mean"]) == {1.0}
    assert all(0 < h < 1 for h in step_of["stepnet"]["step_mean"])
    assert max(step_of["constant"]["step_sd_samples"]) == 0.0
    assert len(step_of["se"]["nsi_median"]) == len(step_of["se"]["blocks"])

    nets = [r for r in by["flowmap"] if r["configuration"]["what"] == "network"]
    assert [r["values"]["evaluations"] for r in nets] == [2, 2]
    euler = {r["configuration"]["steps"]: r["values"] for r in by["flowmap"] if r["configuration"].get("method") == "euler"}
    assert euler[64]["evaluations"] == 64
    assert euler[64]["median"] < 0.1 < euler[4]["median"]
    assert next(r for r in by["flowmap"] if r["configuration"]["what"] == "data")["values"]["data_f_evals"] > 0

    assert sum(e.row is not None for e in events) == len(found.rows)
    assert events[0].done == 0
    assert {e.part for e in events} == set(by)


def test_the_page_stands_alone(tiny):
    path, _ = tiny
    page = (path / REPORT).read_text()
    assert "http:" not in page
    assert "https:" not in page
    assert not re.search(r'\b(src|href)="(?!#)', page)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert page.count("<svg") == 8
    assert "StepNet (reconstruction)" in page
    assert "MAX_STEPS" in page
    assert "prefers-color-scheme: dark" in page
    assert "torch " in page
    assert str(path.parent) not in page


def test_sentences_come_from_the_rows(tiny):
    said = sentences([tiny[0]])
    assert len(said) == 3
    text = "\n".join(s for some in said.values() for s in some)
    assert "Dopri5, an explicit method, does not finish within 60 tries" in text
    assert "2 of 2 lanes with the same bits as alone" in text
    assert "nan" not in text.lower().split()


def test_a_run_that_was_killed_early_still_makes_a_page(tiny, tmp_path):
    lines = (tiny[0] / RESULTS).read_bytes().splitlines(keepends=True)
    for n in (1, 5, len(lines) - 1):
        (tmp_path / RESULTS).write_bytes(b"".join(lines[:n]) + lines[n - 1][:30])
        page = render([tmp_path])
        assert "the last line was cut off by a crash" in page


def test_merged_runs_take_the_later_row_and_show_both(tmp_path):
    runs = []
    for i, relative in enumerate((1e-3, 2e-3)):
        run = RunFolder(tmp_path, "test", {"i": i}, "a test")
        configuration = {"problem": "hires", "method": "rodas5p", "rtol": 1e-3, "atol": 1e-6, "max_steps": 10}
        values = {"relative": relative, "mescd": 3.0, "time": 0.1, "f_evals": 10, "accepted": 5, "rejected": 1}
        run.append(Row("solvers", configuration, values))
        runs.append(run.path)
    page = render(runs)
    assert "largest relative error of its tightest run: HIRES 0.0020" in page
    assert page.count("from run") == 1
    assert all(run.name in page for run in runs)
    assert "1 rows have a later one" in page


def test_latest_keeps_seeds_apart():
    rows = [{"part": "p", "hash": "h", "seed": s, "utc": t} for s, t in ((0, "1"), (1, "1"), (0, "2"))]
    assert [(r["seed"], r["utc"]) for r in latest(rows)] == [(0, "2"), (1, "1")]


def test_an_empty_run_is_refused_in_a_sentence(folder):
    (folder.path / RESULTS).write_bytes(b'{"half')
    with pytest.raises(ValueError, match="holds no finished run"):
        write_report([folder.path], folder.path / REPORT)


def test_a_message_cannot_break_the_page(folder):
    configuration = {"problem": "<script>", "method": "rodas5p", "rtol": 1e-3, "atol": 1e-6}
    folder.append(Row("solvers", configuration, {}, "failed", "</td><script>alert(1)</script>"))
    page = render([folder.path])
    assert "<script>alert" not in page
    assert page.count("<script>") == 1


def test_pictures_follow_the_page_and_keep_their_ids_apart():
    pictures = []
    for name in ("one", "two"):
        with svg.panel(name, "Title", 'a "quoted" <description>') as drawn:
            drawn.axes.plot([1, 2], [1, 2], color=svg.SERIES[0])
        pictures.append(drawn.svg)
    assert all("currentColor" in p and "var(--blue" in p and "xmlns" not in p for p in pictures)
    assert "&quot;quoted&quot; &lt;description&gt;" in pictures[0]
    clips = [set(re.findall(r'clipPath id="([^"]+)"', p)) for p in pictures]
    assert clips[0]
    assert not clips[0] & clips[1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234567, "1\u202f234\u202f567"),
        (0.001234, "0.00123"),
        (1.5e-7, "1.50·10⁻⁷"),
        (math.nan, words.DASH),
        (None, words.DASH),
    ],
)
def test_numbers_read_well(value, text):
    assert words.number(value) == text


def test_times_read_well():
    assert [words.seconds(v) for v in (2.0, 0.0123, 4.5e-6, None)] == ["2 s", "12 ms", "4.5 µs", words.DASH]


@pytest.mark.slow
def test_bench_quick_in_full_stays_inside_two_minutes(tmp_path):
    began = time.monotonic()
    path = quick(tmp_path)
    assert time.monotonic() - began < 120
    rows = read(path).rows
    assert not [row["message"] for row in rows if row["status"] == "error"]
    assert (path / REPORT).stat().st_size > 100_000


def test_the_largest_error_is_told_with_its_problem_and_what_others_have_there():
    def row(problem, method, errors, codes=("OK", "OK"), stiff=True):
        about = {"problem": problem, "method": method, "rtols": [1e-3, 1e-5], "stiff": stiff}
        values = {
            "rtol": [1e-3, 1e-5],
            "error_over_rtol": errors,
            "result": list(codes),
            "mescd": [3.0, 5.0],
            "f_evals": [9, 9],
        }
        return {"part": "library", "configuration": about, "values": values, "status": "ok"}

    rows = [
        row("hires", "bdf", [2.0, 70.0]),
        row("hires", "rodas5p", [0.5, 0.25]),
        row("hires", "scipy:BDF", [5.0, 400.0]),
        row("orego", "bdf", [3.0, 1e9], ("OK", "MAX_STEPS")),
        row("lorenz", "dopri8", [1.0, 8.0], stiff=False),
    ]
    ended, stiff, other = library_page.sentences(rows)
    assert ended == "Of 10 solves 9 ended well; the error of ours at the end is in the median 2 tolerances."
    assert stiff.startswith(
        "The largest on stiff problems is 70 tolerances (rtol 10⁻⁵), by BDF on HIRES, where Rodas5P has 0.25"
    )
    assert stiff.endswith("the peers have up to 400 (SciPy BDF).")
    assert other == "The largest on other problems is 8 tolerances (rtol 10⁻⁵), by Dopri8 on Lorenz."

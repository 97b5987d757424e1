"""The suites of the network side in a tiny size: what is equal between gates, resuming, sentences, pictures, claims."""

import json
import re
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from odebridge.bench import attention, depth, paired, refinement, stiffness, suites, tickets
from odebridge.bench.claims import PAPER, TRIAL, judged
from odebridge.bench.judges import FAILS, GPU, HOLDS, OPEN, UNRECORDED
from odebridge.bench.paired import Settings
from odebridge.bench.pool import How
from odebridge.bench.progress import _left
from odebridge.bench.quick import run_suite
from odebridge.bench.record import REPORT, RESULTS, read
from odebridge.bench.report import in_order, sentences
from odebridge.bench.resume import finished, remaining
from odebridge.bench.runner import Case, Event, Outcome, Part
from odebridge.cli import app
from odebridge.control.attention import ATTENTION, SE
from odebridge.nets import Stage
from odebridge.train import fit

TINY = Settings("digits", None, 0, 2, depth=20, width=4, stem=1, epochs=1, batch_size=128, probes=8)
GATES = ("fixed", "half", "constant", "se", "stepnet")
ROOT = Path(__file__).parent.parent


def silent(_event):
    """Nobody watches."""


def tiny_parts():
    """The part of every suite."""
    few = replace(TINY, seeds=1)
    equations = stiffness.Equations((("van_der_pol", {"mu": 50.0}),), 1e-4, 1e-8, 600)
    return {
        "attention": attention.part(TINY, GATES),
        "refine": refinement.part(few, ("fixed", "constant", "se"), wider=replace(few, stem=2)),
        "stiffness": stiffness.part(equations, replace(few, probes=2, depth=14)),
        "tickets": tickets.part(TINY, ratios=(0.4,)),
        "depth": depth.part(few, (depth.Trained("tied", 1), depth.Trained("tied", 8), depth.Trained("linear", None))),
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder for every suite."""
    out = tmp_path_factory.mktemp("runs")
    return {
        name: run_suite(name, [part], out, {"seed": 0}, silent, f"odebridge bench {name}")
        for name, part in tiny_parts().items()
    }


def counted(row):
    """What a row says, but for its times."""
    return row["order"], row["hash"], row["status"], {k: v for k, v in row["values"].items() if "seconds" not in k}


def test_processes_give_the_rows_of_one_process_in_the_same_order(runs, tmp_path):
    """Two cases of every suite; of the tickets one that needs the network of the other."""
    wanted = {"attention": (0, 3), "refine": (0, 2), "stiffness": (0, 2), "tickets": (1, 2), "depth": (0, 1)}
    parts = [part.without(lambda i, _, name=name: i not in wanted[name]) for name, part in tiny_parts().items()]
    folder = run_suite("five", parts, tmp_path, {"seed": 0}, silent, "a test", how=How(jobs=2))
    found = in_order(read(folder).rows)
    for name in wanted:
        alone = [counted(r) for r in read(runs[name]).rows if r["order"] in wanted[name]]
        assert [counted(r) for r in found if r["part"] == name] == alone
        assert [status for _, _, status, _ in alone] == ["ok", "ok"]


@pytest.mark.parametrize("name", suites.NETWORKS)
def test_the_command_line_says_where_the_cases_run(name, tmp_path, monkeypatch, runs):
    seen = []
    monkeypatch.setattr(suites, "run_suite", lambda *given: seen.append(given[-1]) or runs[name])
    words = ["bench", name, "--quick", "--out", str(tmp_path), "--jobs", "3", "--cluster", "tcp://a:1", "--minutes", "2"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert seen == [How(3, "dask", "tcp://a:1", None, 2.0)]


@pytest.mark.parametrize("gate", ATTENTION)
def test_the_backbone_is_that_of_the_plain_network(gate):
    plain, gated = (paired.build(TINY, name, 3).state_dict() for name in ("fixed", gate))
    backbone = [v for name, v in gated.items() if ".controller." not in name]
    assert all(torch.equal(a, b) for a, b in zip(backbone, plain.values(), strict=True))
    other = paired.build(TINY, "fixed", 4).state_dict()
    assert not torch.equal(other["stem.0.weight"], plain["stem.0.weight"])


def test_the_order_of_the_images_is_the_same_for_every_gate():
    def seen(gate, seed):
        net, data, batches = paired.build(TINY, gate, seed), paired.images("digits", None), []
        net.register_forward_pre_hook(lambda m, args: batches.append(args[0].clone()) if m.training else None)
        fit(net, data, epochs=1, batch_size=512, optimiser="muon", lr=0.01, seed=seed, device="cpu")
        return torch.cat(batches)

    first = seen("fixed", 0)
    assert torch.equal(first, seen("se", 0))
    assert torch.equal(first, seen("srm", 0))
    assert not torch.equal(first, seen("fixed", 1))


def test_attention_measures_every_gate(runs):
    rows = read(runs["attention"]).rows
    assert [r["message"] for r in rows if r["status"] != "ok"] == []
    by = {r["configuration"]["controller"]: r["values"] for r in rows if r["seed"] == 0}
    assert set(by) == set(GATES)
    assert by["half"]["parameters"] == by["fixed"]["parameters"] < by["constant"]["parameters"] < by["se"]["parameters"]
    assert by["half"]["variance"] is None
    assert by["constant"]["variance"]["samples"] == pytest.approx(0.0, abs=1e-9)
    assert by["se"]["variance"]["samples"] > 0
    assert by["half"]["step_mean"] == pytest.approx([0.5] * 7)
    assert by["fixed"]["tns"] > by["half"]["tns"]
    assert by["constant"]["gate_samples"] is None


def test_refinement_begins_with_the_network_itself(runs):
    rows = read(runs["refine"]).rows
    assert [r["message"] for r in rows if r["status"] != "ok"] == []
    for r in rows:
        v = r["values"]
        assert len(v["nsi"]) == 7
        assert all(a <= b <= c for a, b, c in zip(v["nsi_low"], v["nsi"], v["nsi_high"], strict=True))
        if r["configuration"]["controller"] != refinement.UNTRAINED:
            assert v["refined"][0] == pytest.approx(v["accuracy"])
            assert v["lost"][0] == 0.0
            assert v["error_blocks"] is not None


def test_the_index_goes_with_the_implicit_steps_and_the_radius_with_the_explicit(runs):
    rows = read(runs["stiffness"]).rows
    assert [r["message"] for r in rows if r["status"] != "ok"] == []
    by = {r["configuration"].get("method", "network"): r["values"] for r in rows}
    assert by["dopri5"]["reached"] < 0.9 < 0.99 < by["radau5"]["reached"]
    assert by["dopri5"]["index_and_1/h"] < 0.0 < by["radau5"]["index_and_1/h"]
    assert by["dopri5"]["radius_and_1/h"] > 0.7
    assert by["network"]["pairs"] == 8
    assert len(by["network"]["radius"]) == 4


def test_tickets_keep_what_the_index_says(runs):
    rows = read(runs["tickets"]).rows
    assert [r["message"] for r in rows if r["status"] != "ok"] == []
    for seed in (0, 1):
        by = {r["configuration"]["choice"]: r["values"] for r in rows if r["seed"] == seed}
        index = by["all"]["nsi"]
        assert by["top"]["kept"] == sorted(sorted(range(7), key=lambda i: -index[i])[:3])
        assert by["bottom"]["kept"] == sorted(sorted(range(7), key=lambda i: index[i])[:3])
        assert len(by["random"]["kept"]) == 3
        assert by["none"]["parameters"] < by["top"]["parameters"] < by["all"]["parameters"]


def test_se_sits_in_the_blocks_that_were_chosen():
    net = paired.build(TINY, tickets.some(TINY, (0, 4)), 0)
    steps = [gate for m in net.modules() if isinstance(m, Stage) for gate in m.controller.controllers]
    assert [i for i, gate in enumerate(steps) if isinstance(gate, SE)] == [0, 4]
    assert tickets.chosen([1.0, 3.0, 2.0], "top", 0.1, 0) == (1,)
    assert len({tickets.chosen(list(range(20)), "random", 0.4, seed) for seed in range(5)}) > 1


@pytest.mark.parametrize("name", ["attention", "refine", "stiffness", "tickets", "depth"])
def test_every_suite_has_a_page_with_sentences_and_pictures(runs, name):
    page = (runs[name] / REPORT).read_text()
    assert "<svg" in page
    text = re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    assert "StepNet" not in text.replace("StepNet (reconstruction)", "").replace("StepNet is a reconstruction", "")
    (said,) = sentences([runs[name]]).values()
    assert len(said) >= 3
    assert "nan" not in " ".join(said).lower().split()


def test_claims_are_judged_from_rows_or_have_no_record(runs):
    for _, found in judged((*PAPER, *TRIAL), {}):
        assert found.verdict == UNRECORDED
    records = {name: read(path).rows for name, path in runs.items()}
    for claim, found in judged((*PAPER, *TRIAL), records):
        assert found.verdict.startswith((HOLDS, FAILS, OPEN)), claim.text
        assert found.verdict != UNRECORDED, claim.text
        assert "nan" not in found.figure


def test_a_stopped_suite_goes_on_where_it_was(runs, tmp_path):
    ran = []

    def case(i):
        def run(_left):
            ran.append(i)
            if i == 1 and len(ran) == 2:
                raise ZeroDivisionError("oops")
            return Outcome({"i": i})

        return Case(str(i), {"i": i}, run, seed=0)

    part = Part("p", 100.0, [case(i) for i in range(3)])
    folder = run_suite("attention", [part], tmp_path, {"seed": 0}, silent, "a test")
    path = folder / RESULTS
    path.write_bytes(path.read_bytes()[:-20])  # the third row is torn, the second a fault
    again = run_suite("attention", [part], tmp_path, {"seed": 0}, silent, "a test", resume=folder)
    assert again == folder
    assert ran == [0, 1, 2, 1, 2]
    rows = read(folder)
    assert (rows.torn, rows.damaged) == (0, 0)
    assert len(finished(folder)) == 3
    assert remaining(part, finished(folder)).cases == []


def test_resume_takes_the_settings_of_the_run(monkeypatch, tmp_path):
    asked = []

    def make(data, quick, seed):
        asked.append((data, quick, seed))
        return Part(
            "attention", 9.0, [Case("a", {"data": data or "digits", "i": i}, lambda _left: Outcome({})) for i in (0, 1)]
        )

    folder = suites.run("attention", make, tmp_path, 5, None, None, True, None)
    suites.run("attention", make, tmp_path, 0, None, None, False, folder)
    assert asked == [(None, True, 5), ("digits", True, 5)]
    assert len(read(folder).rows) == 2
    page = json.loads((folder / "run.json").read_text())
    assert page["command"] == "odebridge bench attention --seed 5 --data digits --quick"
    with pytest.raises(ValueError, match="'attention'"):
        suites.run("tickets", make, tmp_path, 0, None, None, False, folder)
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        suites.run("tickets", make, tmp_path, 0, None, None, False, tmp_path)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("quick", "--quick"), "does not have it"),
        (("attention", "--data", "spirals"), "spirals"),
        (("attention", "--resume", "nowhere"), "not a run folder"),
        (("attention", "--resume", "nowhere", "--seed", "3"), "leave out --seed"),
        (("attentoin",), "attention"),
        (("stiffness", "--data", "digits"), "does not have it"),
    ],
)
def test_mistakes_on_the_command_line_are_one_sentence(typed, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = CliRunner().invoke(app, ["bench", *typed])
    assert outcome.exit_code == 2
    assert said in outcome.output
    assert not (tmp_path / "runs").exists()


def test_progress_tells_the_time_left():
    assert _left(10.0, Event("p", "a", 2, 6)) == ", about 20 s left"
    assert _left(10.0, Event("p", "a", 0, 6)) == ""


def test_the_full_suites_are_as_large_as_they_say():
    full = paired.settings_for("digits", quick=False)
    assert len(attention.part(full).cases) == 7 * 5
    assert len(tickets.part(paired.settings_for("digits", False, 0, tickets.SEEDS)).cases) == 14 * 4
    assert len(stiffness.part().cases) == 5 * 2 + 3
    assert len(depth.part(paired.settings_for("digits", False, 0, depth.SEEDS)).cases) == 5 * 3
    larger = refinement.larger(Settings())
    assert (Settings().stem, larger.stem) == (4, 2)
    assert len(refinement.part(Settings(), wider=larger).cases) == 6 * 5 + 3 * 5


def test_the_claims_page_says_what_the_rows_say(runs):
    namespace = runpy.run_path(str(ROOT / "benchmarks" / "claims_page.py"), run_name="script")
    make = namespace["page"]
    assert GPU in make()
    folders = next(iter(runs.values())).parent
    fake = folders / "record"
    fake.mkdir(exist_ok=True)
    for name, path in runs.items():
        (fake / name).symlink_to(path)
    make.__globals__["FOLDERS"] = fake
    text = make()
    assert UNRECORDED not in text
    assert "odebridge bench tickets" in text
    assert "StepNet (reconstruction)" in text

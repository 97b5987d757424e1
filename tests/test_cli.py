"""Every console command, and that every mistake is one sentence with exit code 2."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import torch
from typer.testing import CliRunner

from odebridge import cli
from odebridge.bench import Row, RunFolder, training
from odebridge.bench.record import RESULTS
from odebridge.bench.runner import Event
from odebridge.train import load_checkpoint
from tests.kernels import needs_kernels

runner = CliRunner()


def run(*words: str):
    return runner.invoke(cli.app, list(words))


def good(*words: str) -> str:
    outcome = run(*words)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def refused(*words: str) -> str:
    """The one sentence of a refused command."""
    outcome = run(*words)
    assert outcome.exit_code == 2, outcome.output
    assert "Traceback" not in outcome.output
    lines = outcome.output.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("odebridge: ")
    return lines[0]


def test_help_lists_every_command_and_no_suite_that_does_not_exist():
    text = good()
    assert all(name in text for name in ("doctor", "solve", "list", "bench", "report", "train"))
    assert good("--help") == text
    suites = good("bench", "--help")
    suites = " ".join(suites.split())
    assert all(name.replace("network", "") in suites for name in cli.SUITES)  # a long name may be broken over two lines
    assert "sensitivity" not in suites


def test_doctor_names_versions_devices_peers_and_data():
    text = good("doctor")
    assert all(word in text for word in ("torch", "cpu", "cuda", "float64", "scipy:Radau", "digits", "fashion-mnist"))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("methods", "rodas5p"),
        ("controllers", "stepnet"),
        ("problems", "robertson"),
        ("models", "resnet20_se"),
        ("data", "digits"),
    ],
)
def test_list(kind, name):
    assert name in good("list", kind).split()
    assert good("list", kind, f"{name[:4]}*").split()[0].startswith(name[:4])


def test_solve_says_how_it_went(tmp_path):
    picture = tmp_path / "hires.svg"
    text = good("solve", "hires", "--rtol", "1e-4", "--plot", str(picture))
    assert "by rodas5p, controller" in text
    assert "OK: reached t = 321.812" in text
    assert "largest relative error" in text
    assert picture.read_text().startswith("<?xml")


def test_solve_hands_on_the_mass_of_a_differential_algebraic_system():
    """Without its mass matrix the system is another one."""
    text = good("solve", "chemical_akzo_nobel", "--rtol", "1e-5")
    assert "OK: reached t = 180" in text
    assert float(re.search(r"mescd ([\d.]+)", text)[1]) > 4


@needs_kernels
def test_solve_by_a_compiled_kernel():
    text, eager = (good("solve", "lotka_volterra", *more) for more in (["--compile"], []))
    assert re.search(r"accepted \d+", text)[0] == re.search(r"accepted \d+", eager)[0]


def test_solve_takes_another_method_law_and_end():
    text = good(
        "solve", "lotka_volterra", "--method", "bosh3", "--controller", "pid", "--t1", "2", "--rtol", "1e-3", "--atol", "1e-6"
    )
    assert "over [0, 2] by bosh3, controller pid, rtol 0.001, atol 1e-06" in text
    assert "against" not in text  # another end than the published one has no reference
    assert "OK" in good("solve", "lorenz", "--method", "rk4", "--first-step", "0.05", "--t1", "1")


def test_a_solve_that_fails_prints_code_and_sentence():
    outcome = run("solve", "robertson", "--method", "dopri5", "--max-steps", "50")
    assert outcome.exit_code == 1
    assert "MAX_STEPS: trajectory 0 used up max_steps" in outcome.output
    assert "'rodas5p'" in outcome.output
    assert "Traceback" not in outcome.output


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("slove robertson", "'solve'"),
        ("solve robertsn", "'robertson'"),
        ("solve robertson --method rodas5q", "'rodas5p'"),
        ("solve robertson --metod rodas5p", "'--method'"),
        ("solve robertson --controller pj", "'pi'"),
        ("solve robertson --controller stepnet", "a solve over time takes one of"),
        ("solve robertson --controller fixed", "--first-step"),
        ("solve robertson --method euler", "--first-step"),
        ("solve robertson --rtol abc", "--rtol"),
        ("solve robertson --rtol -1", "at least 0"),
        ("solve robertson --rtol 0 --atol 0", "at least one of them must be positive"),
        ("solve robertson --max-steps 0", "max_steps"),
        ("solve robertson --t1 nan", "finite"),
        ("solve robertson --plot picture.swg", "'svg'"),
        ("solve robertson --plot no-such-folder/picture.svg", "no folder 'no-such-folder'"),
        ("solve", "argument"),
        ("list method", "'methods'"),
        ("list methods rados5p", "'rodas5p'"),
        ("list", "argument"),
        ("bench quik", "'quick'"),
        ("bench quick --sed 1", "'--seed'"),
        ("bench quick --jobs 2", "does not have it"),
        ("bench solvers --jobs 0", "jobs"),
        ("bench solvers --shard 5/4", "i/n"),
        ("bench solvers --backend dsk", "loky"),
        ("bench solvers --quick --full", "either"),
        ("bench nonstiff --only nothing", "labels are such as"),
        ("bench gradients --device cuda", "CPU"),
        ("bench counters --against no-such-file.json", "no-such-file"),
        ("report no-such-run", "bench quick"),
        ("train resnt", "'resnet'"),
        ("train resnet --controller stepnt", "'stepnet'"),
        ("train resnet --data digts", "'digits'"),
        ("train resnet --device gpu", "'cpu'"),
        ("train resnet --device cuda:99", "CUDA"),
        ("train resnet --depth 21", "20"),
        ("train resnet --preset quik", "'quick'"),
        ("train resnet --precision bf17", "'bf16'"),
        ("train resnet --style papr", "'paper'"),
        ("train resnet --optimiser moon", "'muon'"),
        ("train resnet --accumulate 1000", "accumulate"),
        ("train resnet --epochs 0", "--epochs"),
        ("--hlep", "'--help'"),
    ],
)
def test_a_mistake_is_one_sentence_that_says_what_to_write(command, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in refused(*command.split())
    assert list(tmp_path.iterdir()) == []


def test_files_in_the_way_are_one_sentence(tmp_path):
    (tmp_path / "runs").write_text("a file")
    assert "runs" in refused("bench", "quick", "--out", str(tmp_path / "runs"))
    assert "runs" in refused(
        "train", "resnet", "--out", str(tmp_path / "runs"), "--depth", "8", "--width", "4", "--epochs", "1"
    )
    (tmp_path / "a.svg").mkdir()
    assert "it is a folder" in refused("solve", "hires", "--plot", str(tmp_path / "a.svg"))


def a_run(out) -> RunFolder:
    folder = RunFolder(out, "test", {}, "a test")
    values = {"relative": 1e-3, "mescd": 3.0, "time": 0.1, "f_evals": 10, "accepted": 5, "rejected": 1}
    folder.append(Row("solvers", {"problem": "hires", "method": "rodas5p", "rtol": 1e-3, "atol": 1e-6}, values))
    return folder


def test_report_of_one_and_of_several_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, two = a_run("runs").path, a_run("runs").path
    good("report", str(one))
    assert (one / "report.html").exists()
    assert "report.html" in good("report", str(one), str(two))
    assert two.name in (tmp_path / "report.html").read_text()
    good("report", str(one), "--out", "other.html")
    assert (tmp_path / "other.html").exists()


def test_report_names_the_nearest_run(tmp_path):
    folder = a_run(tmp_path)
    assert f"'{folder.path.name}'" in refused("report", str(tmp_path / (folder.path.name[:-1] + "x")))
    (folder.path / RESULTS).write_text("")
    assert "no finished run" in refused("report", str(folder.path))


def test_bench_prints_findings_and_paths(tmp_path, monkeypatch):
    def small(out, seed, tell):
        folder = a_run(out)
        tell(Event("solvers", "hires", 0, 1))
        tell(Event("solvers", "hires", 1, 1, Row("solvers", {}, {}, "failed", "it [bold]gave up[/bold]")))
        assert seed == 7
        return folder.path

    monkeypatch.setitem(cli.SUITES, "quick", small)
    text = good("bench", "quick", "--out", str(tmp_path), "--seed", "7")
    assert "Rodas5P reaches the published end states" in text
    assert "hires: failed: it [bold]gave up[/bold]" in text
    assert "report.html" in text


def test_bench_with_a_fault_of_its_own_ends_with_1(tmp_path, monkeypatch):
    def broken(out, seed, tell):
        folder = a_run(out)
        folder.append(
            Row("solvers", {"problem": "hires", "method": "rodas5p", "rtol": 1e-4}, {}, "error", "ZeroDivisionError: oops")
        )
        return folder.path

    monkeypatch.setitem(cli.SUITES, "quick", broken)
    outcome = run("bench", "quick", "--out", str(tmp_path))
    assert outcome.exit_code == 1
    assert "fault of the benchmark itself" in outcome.output


def test_ctrl_c_says_where_the_results_are(tmp_path, monkeypatch):
    def stopped(out, seed, tell):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.SUITES, "quick", stopped)
    outcome = run("bench", "quick", "--out", str(tmp_path))
    assert outcome.exit_code == 130
    assert "odebridge report" in outcome.output


def test_train_writes_a_row_and_weights(tmp_path):
    options = "--controller stepnet --data digits --epochs 1 --depth 8 --width 4 --device cpu --seed 3"
    text = good("train", "resnet", *options.split(), "--out", str(tmp_path))
    assert re.search(r"epoch 1 of 1: loss \d", text)
    (folder,) = tmp_path.iterdir()
    row = json.loads((folder / RESULTS).read_text())
    assert (row["part"], row["seed"], row["device"], row["status"]) == ("train", 3, "cpu", "ok")
    assert row["configuration"]["controller"] == "stepnet"
    assert (folder / "model.json").exists()
    good("report", str(folder))
    assert "Training runs" in (folder / "report.html").read_text()


@pytest.mark.parametrize("preset", list(training.PRESETS))
def test_presets_train_and_what_is_typed_changes_them(preset, tmp_path):
    small = ["--data", "digits", "--stem", "1", "--depth", "8", "--width", "4", "--epochs", "1", "--device", "cpu"]
    good("train", "resnet", "--preset", preset, *small, "--out", str(tmp_path))
    (folder,) = tmp_path.iterdir()
    page = json.loads((folder / "run.json").read_text())
    wanted = {**training.PRESETS[preset], "data": "digits", "stem": 1, "depth": 8, "epochs": 1}
    assert all(page["settings"][k] == v for k, v in wanted.items())
    again = page["command"].split()[1:]  # what is written down makes the same run
    good(*again, "--device", "cpu", "--out", str(tmp_path))
    other = next(f for f in tmp_path.iterdir() if f != folder)
    assert json.loads((other / "run.json").read_text())["settings"] == page["settings"]


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path):
    plan = training.Training("resnet", "stepnet", "digits", 2, 8, 4)

    def stop(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    settings = {"seed": 3, "device": "cpu", "every": 0.0}
    with pytest.raises(KeyboardInterrupt):
        training.train(plan, tmp_path / "killed", progress=stop, **settings)
    (killed,) = (tmp_path / "killed").iterdir()
    assert "leave out --lr" in refused("train", "resnet", "--resume", str(killed), "--lr", "0.1")
    assert "holds no training of a neural ODE" in refused("train", "node", "--resume", str(killed))
    assert re.search(r"epoch 2 of 2: loss \d", good("train", "resnet", "--resume", str(killed), "--device", "cpu"))
    whole, _ = training.train(plan, tmp_path / "whole", progress=lambda _: None, **settings)
    ends = [load_checkpoint(folder / "model.json")[0] for folder in (killed, whole)]
    assert all(torch.equal(v, ends[1][k]) for k, v in ends[0].items())
    assert "has ended" in refused("train", "resnet", "--resume", str(killed))


def test_python_m_odebridge():
    def called(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "odebridge", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    done = called("list", "data")
    assert done.returncode == 0, done.stderr
    assert "digits" in done.stdout
    done = called("list", "dta")
    assert done.returncode == 2
    assert done.stderr.strip().endswith("did you mean 'data'?")

"""`--config FILE.toml`: options from a file, refused where they mean nothing, and kept in every run folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from odebridge import cli
from odebridge.bench import training
from odebridge.bench.pool import How
from odebridge.bench.quick import run_suite
from odebridge.bench.record import CONFIG, RUN
from odebridge.cli.bench import SUITES
from odebridge.core.toml import read_toml, written_toml

runner = CliRunner()
SIZED = [{"size": "quick", "only": 'a "b" *'}, {"size": "full", "shard": "1/2"}, {"size": "standard"}]
COMMANDS = ("solve lotka_volterra", "bench solvers", "train resnet", "train node")


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def ran(words: str, file: str | None = None, code: int = 0) -> str:
    if file is not None:
        Path("a.toml").write_text(file)
        words += " --config a.toml"
    outcome = runner.invoke(cli.app, words.split())
    assert outcome.exit_code == code, outcome.output
    return outcome.output


def refused(words: str, file: str | None = None) -> str:
    (line,) = ran(words, file, 2).strip().splitlines()
    assert line.startswith("odebridge: ")
    return line


def test_options_come_from_the_file_and_what_is_typed_wins():
    output = ran("solve lotka_volterra --method bosh3", 'method = "rk4"\nrtol = 1e-4\natol = 1e-5\nmax-steps = 1_000')
    assert "by bosh3" in output
    assert "rtol 0.0001, atol 1e-05" in output


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_is_not_there(command):
    assert "x.toml: there is no such file" in refused(f"{command} --config x.toml")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("rtoll = 1e-3", "'rtoll'"),
        ("resume = 'x'", "'resume', which belongs on the command line"),
        ("config = 'x'", "'config', which belongs on the command line"),
        ("[tabel]\na = 1", "'tabel'"),
        ("a = [[[", "is not TOML"),
        ("= 1", "line 1"),
    ],
)
def test_what_means_nothing_is_a_sentence(command, file, says):
    line = refused(command, file)
    assert says in line
    assert "a.toml" in line
    assert list(Path().iterdir()) == [Path("a.toml")]


@pytest.mark.parametrize(
    ("words", "file", "says"),
    [
        ("solve hires", "rtoll = 1e-3", "did you mean 'rtol'"),
        ("solve hires", "rtol = '1e-3'", "rtol = '1e-3', and it must be a number"),
        ("solve hires", "max_steps = 1e4", "a whole number"),
        ("solve hires", "max_steps = true", "a whole number"),
        ("solve hires", "compile = 1", "true or false"),
        ("solve hires", "plot = 3", "a text"),
        ("solve hires", "rtol = -1.0", "rtol"),
        ("solve hires", "method = 'rodas6'", "'rodas5p'"),
        ("bench solvers", "small = true", "no such option"),
        ("bench solvers", "quick = true\nfull = true", "either"),
        ("bench solvers", "jobs = 0", "jobs"),
        ("bench solvers", "seed = -1", "--seed"),
        ("bench quick", "jobs = 2", "does not have it"),
        ("train resnet", "epochs = 0", "--epochs"),
        ("train resnet", "depth = 21", "depth"),
        ("train resnet", "batch_size = 8\nbatch-size = 8", "twice"),
        ("train resnet", "model = 'resnet'", "no such option"),
        ("train node", "epoch = 1", "'train node' has no such option: did you mean 'epochs'"),
        ("train node", "option = ['width=3']", "a table"),
        ("train node", "[option]\nwidht = 3", "'width'"),
        ("train node", "[option]\nwidth = '3'", "a whole number"),
        ("train node", "[option]\nwidth = 3.0", "a whole number"),
        ("train node", "method = 'rk4'\n[option]\nmethod = 'tsit5'", "given twice"),
    ],
)
def test_wrong_values_are_named(words, file, says):
    assert says in refused(words, file)
    assert list(Path().iterdir()) == [Path("a.toml")]


def test_a_file_may_choose_the_options_of_a_variant_and_a_resumed_run_takes_none():
    file = "variant = 'anode'\ndata = 'moons'\nepochs = 1\n[option]\nwidth = 4\nregulariser = 'steer'\n"
    ran("train node --option width=5 --epochs 2", file)
    (run,) = Path("runs").iterdir()
    kept = json.loads((run / RUN).read_text())["settings"]
    assert (kept["variant"], kept["epochs"], kept["options"]["width"]) == ("anode", 2, 5)
    assert kept["options"]["regulariser"] == "steer"
    assert "leave out --variant" in refused(f"train node --resume {run}", file)
    assert "leave out --option" in refused(f"train node --resume {run}", "[option]\nwidth = 3")


def test_every_run_keeps_its_configuration_and_it_makes_the_same_run_again():
    for words in (
        "train node --data moons --epochs 1 --option width=4 --seed 3",
        "train resnet --depth 8 --width 2 --epochs 1 --augment --ema 0.9 --seed 3 --device cpu",
    ):
        command = " ".join(words.split()[:2])
        ran(words)
        (first,) = Path("runs").iterdir()
        assert f"odebridge {command} --config config.toml" in (first / CONFIG).read_text()
        ran(f"{command} --config {first / CONFIG} {'--device cpu' if 'resnet' in words else ''}")
        (second,) = (f for f in Path("runs").iterdir() if f != first)
        pages = [json.loads((f / RUN).read_text()) for f in (first, second)]
        assert pages[0]["hash"] == pages[1]["hash"]
        rows = [json.loads((f / "results.jsonl").read_text())["values"] for f in (first, second)]
        assert rows[0]["train_loss"] == rows[1]["train_loss"]
        Path("runs").rename(command.replace(" ", "-"))


@pytest.mark.parametrize(
    "settings", [{"size": "quick", "only": 'a "b" *'}, {"size": "full", "shard": "1/2"}, {"size": "standard"}]
)
def test_the_configuration_of_a_suite(settings, monkeypatch):
    """The file of a suite chooses the settings that the suite began with."""
    asked = {"seed": 7, "device": "cpu", "shard": None, "only": None, **settings}
    folder = run_suite("solvers", [], "runs", asked, lambda _: None, "odebridge bench solvers --seed 7", None, How())
    seen = {}

    def taken(out, seed=0, tell=None, *, quick=None, full=None, shard=None, only=None):
        seen.update({k: v for k, v in locals().items() if k in ("seed", "quick", "full", "shard", "only") and v is not None})
        raise ValueError("enough")

    monkeypatch.setitem(SUITES, "solvers", taken)
    assert "enough" in refused(f"bench solvers --config {folder / CONFIG}")
    size = settings["size"]
    wanted = {"seed": 7, **({size: True} if size != "standard" else {}), **{k: v for k, v in settings.items() if k != "size"}}
    assert seen == wanted


def test_settings_as_toml_are_the_same_when_read(tmp_path):
    page = {
        "a": 1, "b": True, "c": 0.1, "d": 5e-324, "e": 1e300, "f": 'x "y"\n\\ \x7f\x00 é 🙂', "g": [1, 2.5, "z"],
        "key with space": 1, "none": None, "t": {"x": False, "y": None, "é": float("inf")}, "empty": {},
    }  # fmt: skip
    path = tmp_path / "a.toml"
    path.write_text(written_toml(page, "two\nlines"), encoding="utf-8")
    found = read_toml(path)
    assert found == {k: v for k, v in page.items() if v is not None and k not in ("t", "empty")} | {
        "t": {"x": False, "é": float("inf")}
    }
    with pytest.raises(TypeError, match="no word"):
        written_toml({"a": 1j})


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a = 1\x00", b"a = " + b"[" * 100_000, b"a = 1\na = 2", b"#" * (2**20 + 1)])
def test_a_file_that_is_no_toml_is_named(tmp_path, body):
    path = tmp_path / "odd.toml"
    path.write_bytes(body)
    with pytest.raises(ValueError, match=r"odd\.toml"):
        read_toml(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_toml(tmp_path)


def test_the_settings_of_a_training_are_options_of_its_command():
    """Or config.toml would hold what --config refuses."""
    command = typer.main.get_command(cli.app).commands["train"].commands["resnet"]  # type: ignore[attr-defined]
    options = {word.removeprefix("--").replace("-", "_") for p in command.params for word in p.opts}
    assert set(training.Training.__dataclass_fields__) - {"model"} <= options

"""Every command with options of any value, also from a file: exit code 0, 1 or 2 and sentences, never a traceback or a hang.

What is heavy is taken away: solves end after three tries, suites and trainings after everything about them was checked.
A long run: pytest -m soak
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from odebridge import cli
from odebridge.bench import Row, RunFolder, counters, node_training, training
from odebridge.data import DATA
from odebridge.methods.catalogue import METHODS
from odebridge.train import RECIPES, Epoch, History
from odebridge.train.recipes import base
from tests.fuzz import files
from tests.limits import processor_seconds
from tests.soak import LONG, drawn

pytestmark = [pytest.mark.soak, pytest.mark.filterwarnings("default::RuntimeWarning")]  # the console makes sentences of them
GROUP: Any = typer.main.get_command(cli.app)
COMMANDS = {
    "list": GROUP.commands["list"],
    "solve": GROUP.commands["solve"],
    "bench": GROUP.commands["bench"],
    "report": GROUP.commands["report"],
    "train resnet": GROUP.commands["train"].commands["resnet"],
    "train node": GROUP.commands["train"].commands["node"],
}
ENDED = History((Epoch(1, 1.0, 0.5, 0.1),), "done", "", 0.1)
WILD = (
    "", " ", "-1", "0", "1", "2", "8", "1.5", "1e-3", "-0.0", "nan", "inf", "-inf", "1e400", "1e-320", "x", "é", "\n", "-",
    "--",
    "99999999999", "99999999999999999999999", "0/0", "1/2", "=", "a=b", "[", "*", "..", "/dev/null", "/nonexistent/x", "runs",
    "a.svg", "a.toml", "None", "true", "tcp://nowhere:1", "🙂",
)  # fmt: skip
PATHS = ("runs", "good", "a.svg", "a.toml", "/dev/null", "/nonexistent/x", "", "..", "é")
NAMES = sorted({*METHODS, *RECIPES, *DATA, *cli.SUITES, *cli.KINDS, "lotka_volterra", "hires", "se", "pi", "stepnet", "tied"})
OPTION_KEYS = sorted({key for recipe in RECIPES.values() for key in recipe.options} | {"blocks"})
VALUES = st.one_of(st.sampled_from(WILD), st.sampled_from(NAMES), st.integers(-3, 9).map(str), st.floats(0.0, 1.0).map(repr))
# Options whose sound values are few: mostly one of these, so that what comes after the first check is reached as well.
SOUND = {
    "--variant": sorted(RECIPES), "--data": sorted(DATA), "--method": sorted(METHODS), "--depth": ["8", "11", "20"],
    "--gradient": ["replay", "direct", "adjoint", "forward"], "--width": ["1", "2", "99999999999"], "--stem": ["1", "2", "9"],
    "--regulariser": ["none", "rnode", "kinetic", "steer", "error"], "--depth-weights": ["layers", "tied", "linear"],
    "--epochs": ["1", "3"], "--batch-size": ["1", "8", "99999999999"], "--precision": ["fp32", "bf16", "fp16"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _in_time():
    with processor_seconds(3600.0 if LONG else 120.0):
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to run in, with a run in it, and everything heavy replaced."""
    folder = tmp_path_factory.mktemp("cli")
    run = RunFolder(folder / "good", "test", {}, "odebridge bench test")
    run.append(Row("p", {"a": 1}))
    solved, data = cli.solved, {name: cache(make) for name, make in DATA.items() if name not in ("imagenet", "fashion-mnist")}

    def short(task: Any, **options: Any) -> Any:
        most = options["max_steps"]
        return solved(task, **{**options, "compile": False, "max_steps": min(most, 3) if most > 0 else most})

    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr(cli, "solved", short)
        for name in ("suite", "suites", "quick"):  # a function hides the module of the last name
            patched.setattr(sys.modules[f"odebridge.bench.{name}"], "run_suite", lambda *_, **__: run.path)
        patched.setattr(counters, "counted", lambda *_: {})
        patched.setattr(training, "fit", lambda *_, **__: ENDED)
        patched.setattr(training, "step_counts", lambda *_: {})
        patched.setattr(node_training, "train", lambda *_, **__: (run.path, ENDED))
        patched.setattr(base, "DATA", data)
        yield folder


@st.composite
def lines(draw: Any, command: str) -> list[str]:
    """Words after the command: its own options, in any order, with wild values, sometimes without one, and stray words."""
    options = [p for p in COMMANDS[command].params if p.opts and p.opts[0].startswith("--")]
    words: list[str] = []
    if command != "train node" and command != "train resnet" and draw(st.integers(0, 9)):
        words.append(draw(st.sampled_from(NAMES) | VALUES))
    for option in draw(st.lists(st.sampled_from(options), max_size=5)) if options else []:
        name = option.opts[0]
        words.append(name)
        if option.is_flag:
            continue
        if name == "--option":
            value = draw(st.integers(0, 3).map(str) | VALUES)
            words.append(f"{draw(st.sampled_from(OPTION_KEYS))}={value}")
        elif name in ("--out", "--resume", "--families", "--against", "--config", "--plot"):
            words.append(
                draw(st.sampled_from(["runs", "good", "a.svg", "a.toml", "/dev/null", "/nonexistent/x", "", "..", "é"]))
            )
        elif name in SOUND and draw(st.integers(0, 4)):
            words.append(draw(st.sampled_from(SOUND[name])))
        elif draw(st.integers(0, 20)):
            words.append(draw(VALUES))
    if draw(st.integers(0, 9)) == 0:
        words.insert(draw(st.integers(0, len(words))), draw(VALUES | st.sampled_from(["--help", "--epoch", "--rtoll", "-x"])))
    return words


def proper(command: str, words: list[str]) -> None:
    """Run it, and look at how it ends."""
    outcome = CliRunner().invoke(cli.app, [*command.split(), *words])
    shown = (command, words, outcome.output[-2000:], outcome.exception)
    assert isinstance(outcome.exception, SystemExit | None), shown
    assert outcome.exit_code in (0, 1, 2), shown
    assert "Traceback" not in outcome.output, shown
    if outcome.exit_code == 2:
        assert outcome.output.strip().splitlines()[-1].startswith("odebridge: "), shown
        assert len(outcome.output) < 4000, shown
    if outcome.exit_code == 1:
        assert outcome.output.strip(), shown


@pytest.mark.parametrize("command", COMMANDS)
@drawn(12, 5_000)
@given(data=st.data())
def test_any_options(place, command, data):
    proper(command, data.draw(lines(command)))


TOML = {
    "solve": b'method = "tsit5"\nrtol = 1e-3\natol = 1e-6\nt1 = 1.0\nmax_steps = 5\nplot = "a.svg"\n',
    "bench": b'seed = 1\nquick = true\nonly = "hires*"\njobs = 2\nbackend = "loky"\nminutes = 1.0\n',
    "train resnet": b'controller = "se"\nepochs = 1\ndepth = 8\nwidth = 2\nlr = 0.1\naugment = true\nema = 0.9\nseed = 1\n',
    "train node": b'variant = "anode"\ndata = "moons"\nepochs = 1\nlr = 1e-2\n[option]\nwidth = 2\nregulariser = "steer"\n',
}
FIRST = {"solve": ["lotka_volterra"], "bench": ["solvers"], "train resnet": [], "train node": []}


@pytest.mark.parametrize("command", TOML)
@drawn(10, 5_000)
@given(data=st.data())
def test_any_file_of_settings(place, command, data):
    Path("a.toml").write_bytes(data.draw(files(TOML[command])))
    proper(command, [*FIRST[command], "--config", "a.toml"])
    Path("a.toml").unlink()


@pytest.mark.parametrize("command", TOML)
def test_the_files_that_are_damaged_are_sound(place, command):
    """Or nothing behind the first check was ever tried."""
    Path("b.toml").write_bytes(TOML[command])
    outcome = CliRunner().invoke(cli.app, [*command.split(), *FIRST[command], "--config", "b.toml"])
    assert outcome.exit_code == (1 if command == "solve" else 0), outcome.output
    assert torch.get_num_threads() == 1

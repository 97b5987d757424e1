"""What is typed wrong at `odebridge train` is one sentence with exit code 2; nothing that was typed is ignored in silence."""

from __future__ import annotations

import pytest
import torch
import typer
from typer.testing import CliRunner

from odebridge import cli
from odebridge.cli.edge import Commands
from odebridge.train import RECIPES
from tests.limits import processor_seconds

runner = CliRunner()


@pytest.fixture(autouse=True)
def _in_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with processor_seconds(20.0):
        yield


def refused(words: str, code: int = 2) -> str:
    outcome = runner.invoke(cli.app, words.split())
    assert outcome.exit_code == code, outcome.output
    lines = outcome.output.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("odebridge: ")
    return lines[0]


OPTIONS = [(name, key) for name, recipe in RECIPES.items() for key in recipe.options]


@pytest.mark.parametrize(("name", "key"), OPTIONS)
def test_no_recipe_takes_a_number_that_means_nothing(name, key):
    recipe = RECIPES[name]
    kind = type(recipe.options[key])
    bad = {
        int: (-1, 1.5, True, 10**12),
        float: (-1.0, float("nan"), float("inf"), "1e-3", True),
        bool: (1, "yes"),
        str: (3, None),
    }
    for value in bad[kind]:
        with pytest.raises(ValueError, match=f"option: {key} of variant"):
            recipe.given({key: value})
    if kind is int and key not in ("steps", "window"):
        with pytest.raises(ValueError, match="at least 1"):
            recipe.given({key: 0})
    assert recipe.given({}) == recipe.options


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--option width=-3", "at least 1"),
        ("--variant deq --option width=0", "at least 1"),
        ("--variant deq --option rtol=nan", "finite"),
        ("--variant stiff --option depth=-1", "at least 1"),
        ("--variant latent-ode --option noise=0", "above 0"),
        ("--gradient adjoint --option steps=4", "no effect"),
        ("--rtol 1e-5 --option steps=4", "no effect"),
        ("--regulariser steer --option strength=3", "no effect"),
        ("--option strength=3", "no effect"),
        ("--option width=3 --option width=4", "given twice"),
        ("--method rk4 --option method=tsit5", "given twice"),
        ("--method euler", "--option steps=8"),
        ("--variant stiff --method euler", "'rodas5p'"),
        ("--method eulr", "'euler'"),
        ("--option width=abc", "a whole number"),
        ("--option width", "name=value"),
        ("--seed 99999999999999999999999", "--seed"),
        ("--seed -1", "--seed"),
        ("--lr nan", "lr"),
        ("--rtol 0 --option atol=0", "both 0"),
    ],
)
def test_train_node(words, says, tmp_path):
    assert says in refused(f"train node {words}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_memory_that_runs_out_is_a_sentence():
    assert "Out of memory" in refused("train resnet --width 100000000", code=1)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), 1, "smaller"),
        (MemoryError("no more"), 1, "Out of memory"),
        (KeyboardInterrupt(), 130, "Stopped"),
    ],
)
def test_what_ends_a_command_from_outside(error, code, says, capsys):
    app = typer.Typer(cls=Commands, add_completion=False)

    @app.command()
    def fails() -> None:
        raise error

    @app.command()
    def other() -> None:
        """Two commands make a group."""

    outcome = runner.invoke(app, ["fails"])
    assert outcome.exit_code == code
    assert says in outcome.output
    assert "Traceback" not in outcome.output


@pytest.mark.filterwarnings("default::RuntimeWarning")  # an error would end the command instead
def test_warnings_are_sentences_too():
    outcome = runner.invoke(cli.app, ["solve", "hires", "--rtol", "1e-20", "--atol", "1e-3"])
    assert outcome.exit_code == 0, outcome.output
    assert "odebridge: rtol: is below 100 roundings" in outcome.output
    assert "RuntimeWarning" not in outcome.output

"""Every cell of every tutorial runs in its fast size, as a page read from top to bottom, with labelled pictures."""

import re
import warnings
from pathlib import Path

import matplotlib as mpl
import pytest
import torch

TUTORIALS = sorted((Path(__file__).parent.parent / "tutorials").glob("[0-9]*.md"))
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n((?::[^\n]*\n)*)\n?(.*?)^```", re.MULTILINE | re.DOTALL)
QUICK = ("03", "04")  # under ten seconds; the docs build runs the others as well


def marked(path):
    return pytest.param(path, id=path.stem, marks=() if path.stem.startswith(QUICK) else pytest.mark.slow)


@pytest.fixture
def as_it_was():
    dtype, threads, style = torch.get_default_dtype(), torch.get_num_threads(), mpl.rcParams.copy()
    yield
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)
    mpl.rcParams.update(style)


@pytest.mark.filterwarnings("default")  # what a reader sees, too
@pytest.mark.parametrize("path", [marked(p) for p in TUTORIALS])
@pytest.mark.usefixtures("as_it_was")
def test_every_cell_runs(path, tmp_path, monkeypatch):
    mpl.use("agg")
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ODEBRIDGE_TUTORIALS", raising=False)
    plt.close("all")
    namespace = {"__name__": "tutorial"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing that the text does not explain
        warnings.simplefilter("ignore", DeprecationWarning)  # which are for developers, and not shown
        for _, code in CELL.findall(path.read_text()):
            exec(compile(code, path.name, "exec"), namespace)
    figures = [plt.figure(n) for n in plt.get_fignums()]
    for figure in figures:
        assert any(axis.get_xlabel() for axis in figure.axes), "a picture without a name on its horizontal axis"
        assert any(axis.get_ylabel() for axis in figure.axes)
    plt.close("all")


def test_they_are_one_story():
    assert len(TUTORIALS) >= 10
    for path in TUTORIALS:
        text = path.read_text()
        assert text.startswith("---\njupytext:"), path.name
        assert text.count(":tags: [hide-cell]") >= 2, f"{path.name}: exercises have hidden solutions"
        assert "ODEBRIDGE_TUTORIALS" in text or "EPOCHS" not in text

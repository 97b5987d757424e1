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


CLAIMS = {  # rows of tutorial 6: rows of docs/claims.md
    "NSI follows the local error": "NSI follows the local error of an Euler step, across the blocks.",
    "NSI does not mark where stability": "It does not mark where stability makes an explicit solver take short steps.",
    "SE's steps vary with the image": "SE's steps vary with the image more than with channel and block.",
    "gates follow the stiffness": "Attention values follow the stiffness that a block shows.",
    "accuracy gains come from adapting": "The gain comes from adapting to the state.",
}


@pytest.mark.parametrize("mine", CLAIMS)
def test_verdicts_of_tutorial_6_are_those_of_the_claims(mine):
    root = Path(__file__).parent.parent
    verdict = re.search(
        rf"^\| {re.escape(CLAIMS[mine])} \|.*\*\*(.*?)\*\*", (root / "docs" / "claims.md").read_text(), re.MULTILINE
    )[1]
    (row,) = re.findall(
        rf"^\| {re.escape(mine)}.*\| (.*) \|$", (root / "tutorials" / "06_attention.md").read_text(), re.MULTILINE
    )
    assert row.partition(":")[0] == verdict


def prose(path):
    """Words to read, without code, the table of times, formulas and addresses of links."""
    text = re.sub(r"\A---\n.*?\n---\n|^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!-- speed: begin -->.*?<!-- speed: end -->|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"\$\$.*?\$\$|\$[^$]*\$", " formula ", text, flags=re.DOTALL)
    return [word for word in re.sub(r"\]\([^)]*\)", "]", text).split() if re.search(r"[A-Za-z0-9]", word)]


def test_the_way_to_the_end_of_tutorial_3_is_fifteen_minutes_of_reading():
    way = [TUTORIALS[0].parent.parent / "README.md", *TUTORIALS[:3]]
    assert sum(len(prose(path)) for path in way) < 15 * 200  # words a minute


def test_they_are_one_story():
    assert len(TUTORIALS) >= 10
    index = (TUTORIALS[0].parent.parent / "docs" / "tutorials_index.md").read_text()
    titles = re.findall(r"^(\d+)\. \[(.*)\]\(../tutorials/(.*)\)$", index, re.MULTILINE)
    heads = [re.search(r"^# (\d+)\. (.*)$", path.read_text(), re.MULTILINE).groups() for path in TUTORIALS]
    assert titles == [(*head, path.name) for head, path in zip(heads, TUTORIALS, strict=True)]
    for path in TUTORIALS:
        text = path.read_text()
        assert text.startswith("---\njupytext:"), path.name
        assert text.count(":tags: [hide-cell]") >= 2, f"{path.name}: exercises have hidden solutions"
        assert "ODEBRIDGE_TUTORIALS" in text or "EPOCHS" not in text

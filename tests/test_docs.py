"""Every Python block of README and docs runs, in order, one namespace per page."""

import re
import runpy
from pathlib import Path

import matplotlib as mpl
import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def blocks(page):
    for indent, text in BLOCK.findall(page.read_text()):
        yield "\n".join(line.removeprefix(indent) for line in text.splitlines())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_block_runs(page, tmp_path, monkeypatch):
    mpl.use("agg")
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for text in blocks(page):
        exec(compile(text, str(page), "exec"), namespace)


def test_there_is_code_to_run():
    assert sum(len(list(blocks(page))) for page in PAGES) >= 6


def test_recipes_of_the_extending_page_pass_the_contracts(tmp_path, monkeypatch):
    """What the page promises: the order conditions accept its tableau, and its gate works in a network."""
    import torch

    import odebridge as ob
    from odebridge.tableaus.conditions import check_butcher

    monkeypatch.chdir(tmp_path)
    namespace = {}
    for text in blocks(ROOT / "docs" / "extending.md"):
        exec(text, namespace)
    report = check_butcher(namespace["RALSTON"])
    assert max(report.main, report.embedded) < 1e-12
    assert report.beyond > 1e-3
    net = ob.nets.resnet(8, controller=namespace["MeanSlope"], in_channels=1, classes=3)
    net(torch.randn(2, 1, 8, 8)).sum().backward()
    gates = [m for m in net.modules() if isinstance(m, namespace["MeanSlope"])]
    assert gates
    assert all(p.grad is not None for gate in gates for p in gate.parameters())


def test_the_catalogue_page_is_up_to_date():
    namespace = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))
    assert (ROOT / "docs" / "catalogues.md").read_text() == namespace["page"](), "run: python docs/make_tables.py"


def test_the_table_of_work_and_accuracy_is_that_of_the_committed_rows():
    namespace = runpy.run_path(str(ROOT / "benchmarks" / "stiff_tables.py"), run_name="script")
    page = (ROOT / "docs" / "stiff.md").read_text()
    assert page == namespace["page"](), "run: python benchmarks/stiff_tables.py"
    solves, reached = (re.search(pattern, page)[1] for pattern in (r"(\d+) solves:", r"(\d+) OK"))
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"Of {int(solves):,} solves".replace(",", " ") in readme
    assert f"the {int(reached):,} that end with OK".replace(",", " ") in readme


def test_the_figures_of_the_engine_page_are_those_of_the_committed_run():
    namespace = runpy.run_path(str(ROOT / "benchmarks" / "engine_page.py"), run_name="script")
    text = (ROOT / "docs" / "engine.md").read_text()
    assert namespace["updated"](text) == text, "run: python benchmarks/engine_page.py"


def test_the_figures_of_the_readme_are_those_of_the_committed_rows():
    namespace = runpy.run_path(str(ROOT / "benchmarks" / "readme.py"), run_name="script")
    text = (ROOT / "README.md").read_text()
    assert namespace["updated"](text) == text, "run: python benchmarks/readme.py"
    assert len(namespace["section"]().splitlines()) > 8


def test_the_tables_of_the_variants_are_those_of_the_committed_rows():
    namespace = runpy.run_path(str(ROOT / "benchmarks" / "variants_page.py"), run_name="script")
    text = (ROOT / "docs" / "variants.md").read_text()
    assert namespace["updated"](text) == text, "run: python benchmarks/variants_page.py"


def test_the_page_of_the_variants_names_them_all():
    from odebridge.nets.node import REGULARISERS
    from odebridge.train import RECIPES

    text = (ROOT / "docs" / "variants.md").read_text()
    assert [name for name in (*RECIPES, *REGULARISERS) if name != "none" and f"`{name}`" not in text] == []


def test_the_claims_are_judged_by_the_committed_rows():
    namespace = runpy.run_path(str(ROOT / "benchmarks" / "claims_page.py"), run_name="script")
    assert (ROOT / "docs" / "claims.md").read_text() == namespace["page"](), "run: python benchmarks/claims_page.py"

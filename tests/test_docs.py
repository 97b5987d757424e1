"""Every Python block of README and docs runs, in order, one namespace per page."""

import html
import importlib
import inspect
import json
import re
import runpy
from pathlib import Path

import matplotlib as mpl
import pytest

from odebridge.bench.record import canonical, read
from odebridge.bench.report import sentences

ROOT = Path(__file__).parent.parent
BUILT = ("_build", "tutorials", "jupyter_execute")  # below docs/, made by the build; tests/test_tutorials.py runs the sources
WRITTEN = [p for p in sorted((ROOT / "docs").rglob("*.md")) if not set(p.relative_to(ROOT / "docs").parts[:-1]) & set(BUILT)]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *WRITTEN]
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
SHAPE = re.compile(r"\(\*s\)|\((?:\*?[a-zA-Z]\w*(?: [-+*/] ?\d+)?|\d+|\.\.\.)(?:, ?(?:\*?\w[\w +*/-]*|\.\.\.))*,?\)")
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def blocks(page):
    for indent, text in BLOCK.findall(page.read_text()):
        yield "\n".join(line.removeprefix(indent) for line in text.splitlines())


@pytest.mark.filterwarnings("default")  # what a reader of the page sees, too
@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_block_runs(page, tmp_path, monkeypatch):
    mpl.use("agg")
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for text in blocks(page):
        exec(compile(text, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "tutorials").glob("*.md"))], ids=lambda p: str(p.relative_to(ROOT)))
def test_no_link_leads_nowhere(page):
    """As on a code host: every path is one of the repository. Sphinx checks anchors."""
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    lost = []
    for target in LINK.findall(text):
        path = target.partition("#")[0]
        if path and "://" not in path and not path.startswith("mailto:"):
            lost += [] if (page.parent / path).exists() else [target]
    assert lost == []


def public_names():
    """Every public function and class, and their public methods: what `help` and the reference show."""
    rooms = "odebridge control nets nets.node metrics data train problems methods peers bench compat.torchdiffeq integrate"
    seen = set()
    for room in rooms.split():
        module = importlib.import_module("odebridge" if room == "odebridge" else f"odebridge.{room}")
        for name in module.__all__:
            thing = getattr(module, name)
            if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing not in seen:
                seen.add(thing)
                yield f"{room}.{name}", thing


def test_every_public_name_has_a_docstring():
    missing = []
    for name, thing in public_names():
        if not (inspect.getdoc(thing) or "").strip() or thing.__doc__ is None:
            missing.append(name)
        for part, inner in vars(thing).items() if inspect.isclass(thing) else ():
            inner = inner.fget if isinstance(inner, property) else inner
            if inspect.isfunction(inner) and inner.__module__.startswith("odebridge") and not part.startswith("_"):
                missing += [] if inner.__doc__ else [f"{name}.{part}"]
    assert missing == []


def test_tensors_of_public_functions_have_shapes():
    """A function of tensors says their shapes: by jaxtyping in the signature, or in words such as (b, n)."""
    bare = []
    for name, thing in public_names():
        if not inspect.isfunction(thing):
            continue
        hints = " ".join(str(v) for v in thing.__annotations__.values())
        if "Tensor" in hints and "[Tensor" not in hints and not SHAPE.search(thing.__doc__ or ""):
            bare.append(name)
    assert bare == []


def test_public_functions_show_a_formula_or_a_line_of_use():
    said = re.compile(r"Use: |Example: | = |->|`[\w.]+\(")
    assert [name for name, thing in public_names() if inspect.isfunction(thing) and not said.search(thing.__doc__)] == []


def test_tensors_of_public_methods_have_shapes():
    """In the method's own docstring, in its signature, or in that of its class."""
    bare = []
    for name, thing in public_names():
        for part, inner in vars(thing).items() if inspect.isclass(thing) else ():
            if part.startswith("_") or not inspect.isfunction(inner) or not inner.__module__.startswith("odebridge"):
                continue
            hints = " ".join(str(v) for v in inner.__annotations__.values())
            words = f"{inner.__doc__} {thing.__doc__}"
            bare += [f"{name}.{part}"] if "Tensor" in hints and "[Tensor" not in hints and not SHAPE.search(words) else []
    assert bare == []


def test_help_of_integrate_is_enough():
    """Every argument is explained, as are what comes back, what is raised, and one line of use that runs."""
    import torch

    import odebridge as ob

    text = inspect.getdoc(ob.integrate)
    explained = set(re.findall(r"^    (\w+):", text, re.MULTILINE))
    assert set(inspect.signature(ob.integrate).parameters) <= explained
    assert all(word in text for word in ("Returns:", "Raises:", "Caveat:", "(b, *s)"))
    example = re.search(r"Example: `(.*)`", text)[1]
    assert eval(example, {"ob": ob, "torch": torch}).shape == (1, 1)
    stiff = re.search(r"three times: `(.*)`, of shape", text, re.DOTALL)[1]
    assert eval(stiff.replace("\n", " "), {"ob": ob, "torch": torch}).shape == (2, 3, 1)


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


def test_the_figures_of_the_gpu_are_those_of_the_committed_run():
    namespace = runpy.run_path(str(ROOT / "benchmarks" / "gpu_page.py"), run_name="script")
    text = (ROOT / "docs" / "engine.md").read_text()
    assert namespace["updated"](text) == text, "run: python benchmarks/gpu_page.py"


def test_the_figures_of_the_readme_are_those_of_the_committed_rows():
    namespace = runpy.run_path(str(ROOT / "benchmarks" / "readme.py"), run_name="script")
    text = (ROOT / "README.md").read_text()
    assert namespace["updated"](text) == text, "run: python benchmarks/readme.py"
    found = (ROOT / "docs" / "findings.md").read_text()
    assert namespace["page"](found) == found, "run: python benchmarks/readme.py"
    assert all(line in found for line in namespace["headlines"]().splitlines())
    assert len(namespace["section"](namespace["RESULTS"], "quick").splitlines()) > 8


@pytest.mark.parametrize("suite", ["quick", "solvers", "solver-vs-network"])
def test_the_committed_page_of_a_run_holds_its_committed_rows_and_findings(suite):
    folder = ROOT / "benchmarks" / "results" / suite
    text = (folder / "report.html").read_text()
    blocks = re.findall(r'<script type="application/json" id="rows-[^"]+">(.*?)</script>', text, re.DOTALL)
    shown = [{k: v for k, v in row.items() if k != "run"} for block in blocks for row in json.loads(block)]
    rows = read(folder).rows
    assert len(shown) == len(rows)
    assert sorted(map(canonical, shown)) == sorted(map(canonical, rows))
    plain = html.unescape(text)
    assert all(said in plain for part in sentences([folder]).values() for said in part)


def test_the_tables_of_the_variants_are_those_of_the_committed_rows():
    namespace = runpy.run_path(str(ROOT / "benchmarks" / "variants_page.py"), run_name="script")
    text = (ROOT / "docs" / "variants.md").read_text()
    assert namespace["updated"](text) == text, "run: python benchmarks/variants_page.py"


def test_the_page_of_the_variants_names_them_all():
    from odebridge.nets.node import REGULARISERS
    from odebridge.train import RECIPES

    text = (ROOT / "docs" / "variants.md").read_text()
    assert [name for name in (*RECIPES, *REGULARISERS) if name != "none" and f"`{name}`" not in text] == []


def test_the_page_on_learned_laws_says_what_the_rows_say() -> None:
    namespace = runpy.run_path(str(ROOT / "benchmarks" / "learned_page.py"), run_name="script")
    text = (ROOT / "docs" / "learned.md").read_text()
    assert namespace["updated"](text) == text, "run: python benchmarks/learned_page.py"


def test_the_claims_are_judged_by_the_committed_rows():
    namespace = runpy.run_path(str(ROOT / "benchmarks" / "claims_page.py"), run_name="script")
    assert (ROOT / "docs" / "claims.md").read_text() == namespace["page"](), "run: python benchmarks/claims_page.py"

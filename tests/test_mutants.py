"""The mutants of the mutation tests: one change each, at the right places, and all of them compile."""

import runpy
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
mutants = runpy.run_path(str(ROOT / "benchmarks" / "mutants.py"))["mutants"]


def names(source):
    return [m.name for m in mutants(source, "a.py")]


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("A = x < 3", ["A = x < 3  ->  A = x <= 3", "A = x < 3  ->  A = x >= 3", "A = x < 3  ->  A = x < 4"]),
        ("A = not b", ["A = not b  ->  A = b"]),
        ("A = b and c", ["A = b and c  ->  A = b or c"]),
        ("A = min(b)", ["A = min(b)  ->  A = max(b)"]),
        ("A = f(b, c=d)", ["A = f(b, c=d)  ->  A = f(b)"]),
        ("A = -b ** c", ["A = -b ** c  ->  A = b ** c", "A = -b ** c  ->  A = -(b * c)"]),
        ("A = f(True)", ["A = f(True)  ->  A = f(False)"]),
        ("plot(lw=2, at=b)", ["left out: plot(lw=2, at=b)", "plot(lw=2, at=b)  ->  plot(lw=2)"]),
        ('"""A doc."""\nA: "int | None" = B', []),
        ("if TYPE_CHECKING:\n    A = 1", []),
    ],
)
def test_each_change_of_a_module(source, changed):
    assert names(source) == [f"module: {name}" for name in changed]


def test_changes_inside_a_function():
    source = "class A:\n    def f(self, b=1):\n        if b:\n            raise E(b + 1)\n        return b\n"
    assert names(source) == [
        "A.f: def f(self, b=1):  ->  def f(self, b=2):",
        "A.f: if b:  ->  if not b:",
        "A.f: left out: raise E(b + 1)",
        "A.f: return b  ->  return None",
    ]


def test_equal_changes_are_numbered_and_the_code_is_the_changed_one():
    found = list(mutants("A = 1\nA = 1\nA = A + 1\n", "a.py"))
    assert found[0].name == "module: A = 1  ->  A = 2"
    assert found[1].name == "module: A = 1  ->  A = 2 (2)"
    space = {}
    exec(found[2].code, space)  # A - 1
    assert space["A"] == 0


def test_every_judgement_has_a_reason():
    said = tomllib.loads((ROOT / "benchmarks" / "results" / "mutation" / "judged.toml").read_text())
    for module, words in said.items():
        assert (ROOT / "odebridge" / f"{module}.py").is_file()
        assert all(why.startswith(("equivalent: ", "accepted: ")) for why in words.values()), module

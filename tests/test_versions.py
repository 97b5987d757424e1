"""What pyproject.toml allows, what is tested at both ends of it, and what the package imports say the same."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {name: [Requirement(r) for r in found] for name, found in PROJECT["optional-dependencies"].items()}
RUN = [Requirement(r) for r in PROJECT["dependencies"]]
ALL = [r for r in [*RUN, *(r for found in EXTRAS.values() for r in found)] if r.name != "odebridge"]
TESTED = [*RUN, *EXTRAS["test"]]


def named(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: str) -> dict[str, Version]:
    found: dict[str, Version] = {}
    for line in (ROOT / file).read_text().splitlines():
        if text := line.partition("#")[0].strip():
            name, _, version = text.partition("==")
            assert named(name) not in found, f"{file}: {name} is pinned twice"
            found[named(name)] = Version(version)
    return found


OLDEST, NEWEST = pins("constraints-oldest.txt"), pins("constraints.txt")


def lowest(requirement: Requirement) -> Version:
    """The one bound that every requirement has."""
    (bound,) = requirement.specifier
    assert bound.operator == ">=", f"{requirement}: write a lower bound and nothing else"
    return Version(bound.version)


@pytest.mark.parametrize("requirement", TESTED, ids=lambda r: r.name)
def test_the_oldest_versions_tested_are_the_lower_bounds(requirement):
    assert OLDEST[named(requirement.name)] == lowest(requirement)


@pytest.mark.parametrize("requirement", TESTED, ids=lambda r: r.name)
def test_what_is_needed_is_pinned_to_what_is_tested(requirement):
    assert named(requirement.name) in NEWEST


@pytest.mark.parametrize("file", [OLDEST, NEWEST], ids=["oldest", "newest"])
def test_every_pin_is_allowed(file):
    seen = [r for r in ALL if named(r.name) in file]
    assert len(seen) >= len(TESTED)
    assert [str(r) for r in seen if not r.specifier.contains(file[named(r.name)])] == []


@pytest.mark.parametrize("requirement", ALL, ids=lambda r: r.name)
def test_every_requirement_has_a_lower_bound_alone(requirement):
    assert lowest(requirement) > Version("0")


# Modules that are not called like what is installed, or come with something else.
INSTALLED_AS = {
    "sklearn": "scikit-learn", "PIL": "pillow", "sksundae": "scikit-sundae", "optimistix": "diffrax",
    "torch.utils.tensorboard": "tensorboard",
}  # fmt: skip
OTHERS = {"dask", "torchvision"}  # imported by joblib's cluster, and by the test that looks at other people's networks
UNDECLARED = {"ray"}  # left to the user, whose cluster has a version of its own
OPTIONAL = {r.name for name in ("peers", "jax", "scale", "track", "vision") for r in EXTRAS[name]}


def installed_as(module: str) -> str:
    top = module.partition(".")[0]
    return INSTALLED_AS.get(module) or INSTALLED_AS.get(top, top)


def trees() -> Iterator[ast.AST]:
    for path in sorted((ROOT / "odebridge").rglob("*.py")):
        yield ast.parse(path.read_text(encoding="utf-8"))


def imported() -> set[str]:
    """Top-level packages of every import statement but those of Python and of ours."""
    found: set[str] = set()
    for node in (node for tree in trees() for node in ast.walk(tree)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module))
    return {name.partition(".")[0] for name in found} - sys.stdlib_module_names - {"odebridge"}


def asked_for() -> set[str]:
    """The modules of every `optional("...")`."""
    calls = (node for tree in trees() for node in ast.walk(tree) if isinstance(node, ast.Call))
    named = (c.args[0] for c in calls if isinstance(c.func, ast.Name) and c.func.id == "optional")
    return {str(arg.value) for arg in named if isinstance(arg, ast.Constant)}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    assert {installed_as(name) for name in imported()} == {r.name for r in RUN}


def test_optional_libraries_are_those_of_the_extras():
    assert {installed_as(name) for name in asked_for()} - UNDECLARED == OPTIONAL - OTHERS


def test_deptry_is_told_of_the_optional_libraries():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["deptry"]["per_rule_ignores"]["DEP002"]
    assert sorted(told) == sorted(OPTIONAL)

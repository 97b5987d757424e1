"""A room imports only from rooms below it; nothing is imported inside a function but heavy libraries."""

import ast
from pathlib import Path

import pytest

import odebridge

ROOT = Path(odebridge.__file__).parent
LEVEL = {
    "core": 0, "tableaus": 0, "linalg": 1, "methods": 2, "control": 2, "integrate": 3, "problems": 4, "nets": 4,
    "data": 4.5, "metrics": 5, "train": 5, "peers": 5, "compat": 5, "bench": 6, "testing": 6, "citing": 6.5, "cli": 7,
    "__main__": 8, "__init__": 9,
}  # fmt: skip
FILES = sorted(ROOT.rglob("*.py"))


def room(parts):
    return parts[0].removesuffix(".py")


def imported_rooms(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "odebridge":
            parts = node.module.split(".")[1:]
            yield from ([parts[0]] if parts else [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("odebridge."))
        assert not (isinstance(node, ast.ImportFrom) and node.level), "relative imports hide the layer"


def problems_of(room_name, source):
    """Rooms that a file of `room_name` imports and must not."""
    here = LEVEL[room_name]
    return [r for r in imported_rooms(ast.parse(source)) if r != room_name and LEVEL[r] >= here]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    name = room(path.relative_to(ROOT).parts)
    assert name in LEVEL, f"{name} is a new room: give it a level"
    assert problems_of(name, path.read_text()) == []


def test_the_check_can_fail():
    assert problems_of("methods", "from odebridge.control.base import Fixed") == ["control"]
    assert problems_of("core", "from odebridge.tableaus import explicit") == ["tableaus"]
    assert problems_of("integrate", "from odebridge import problems") == ["problems"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_own_modules_are_imported_at_the_top(path):
    tree = ast.parse(path.read_text())
    allowed = {"odebridge.core.plot", "odebridge.metrics.plot"}  # they pull in matplotlib, which few solves need
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for node in ast.walk(function):
                if isinstance(node, ast.ImportFrom):
                    module = node.module or ""
                    assert not module.startswith("odebridge") or module in allowed


def test_every_public_name_is_there_and_documented():
    for name in odebridge.__all__:
        assert getattr(odebridge, name).__doc__, name

"""Under `python -O`, which takes the asserts away: the contract holds there too, since none of them guards input."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import odebridge

ROOT = Path(odebridge.__file__).parent
HERE = Path(__file__).parent
CONTRACT = ("test_input", "test_faults_cli", "test_faults_files", "test_faults_disk", "test_faults_found", "test_faults")
LONGEST = 900  # seconds of one of them, two minutes on a machine at rest


def narrows(test: ast.expr) -> bool:
    """Is it `x is not None` or `isinstance(x, T)`: what only a type checker needs to be told?"""
    if isinstance(test, ast.Compare):
        return isinstance(test.ops[0], ast.IsNot) and isinstance(test.comparators[0], ast.Constant)
    return isinstance(test, ast.Call) and isinstance(test.func, ast.Name) and test.func.id == "isinstance"


def test_asserts_only_tell_types():
    found = [(p, n) for p in ROOT.rglob("*.py") for n in ast.walk(ast.parse(p.read_text())) if isinstance(n, ast.Assert)]
    assert found
    wrong = [f"{p.relative_to(ROOT)}:{n.lineno}" for p, n in found if n.msg is not None or not narrows(n.test)]
    assert not wrong, f"raise ValueError or TypeError with a sentence: {wrong}"


@pytest.mark.slow
@pytest.mark.timeout(LONGEST + 20)
@pytest.mark.parametrize("name", CONTRACT)
def test_the_contract_holds_without_asserts(name):
    """pytest rewrites the asserts of the tests themselves, so that these still count."""
    told = "ignore:assertions not in test modules:pytest.PytestConfigWarning"  # of pytest, to everybody who takes them away
    line = [sys.executable, "-O", "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-x", "-W", told]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)}
    line.append(str(HERE / f"{name}.py"))
    done = subprocess.run(line, cwd=HERE.parent, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout

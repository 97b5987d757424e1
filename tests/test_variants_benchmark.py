"""The benchmark of the variants: rows, resume, and the tables made of them."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def benchmark(monkeypatch, out: Path, *words: str) -> list[dict]:
    monkeypatch.setattr(sys, "argv", ["variants.py", "--quick", "--out", str(out), *words])
    runpy.run_path(str(BENCHMARKS / "variants.py"), run_name="__main__")
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


@pytest.fixture
def page():
    return runpy.run_path(str(BENCHMARKS / "variants_page.py"), run_name="script")


def test_rows_are_made_once_and_become_tables(tmp_path, monkeypatch, page):
    rows = benchmark(monkeypatch, tmp_path, "--only", "deq", "leapfrog")
    assert [(r["group"], r["variant"]) for r in rows[:2]] == [("variants", "leapfrog"), ("beside", "resnet")]
    assert [(r["group"], r["variant"]) for r in rows[-2:]] == [("variants", "deq"), ("beside", "resnet")]
    assert abs(rows[1]["parameters"] / rows[0]["parameters"] - 1) < 0.05
    assert benchmark(monkeypatch, tmp_path, "--only", "deq", "leapfrog") == rows
    text = "\n".join(page["variants"](rows))
    assert "**annuli**, accuracy, % (high is better)" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| deq")]
    cells = [c.strip() for c in line.strip("|").split("|")]
    assert cells[2] == str(rows[-2]["parameters"])
    assert (float(cells[6]), float(cells[7])) == pytest.approx((rows[-2]["score"], rows[-1]["score"]), rel=1e-3)


def test_seeds_failures_and_penalties_in_the_tables(page):
    def row(seed, score, group="variants", options=None, ended="done", forward=30.0):
        metric = {"name": "accuracy", "unit": "%", "high": True}
        return {
            "group": group, "variant": "node", "data": "annuli", "seed": seed, "options": options or {}, "ended": ended,
            "parameters": 10, "seconds": 2.0, "metric": metric, "score": score,
            "evaluations": {"forward": forward}, "extras": {"energy_drift_to_50": 0.25, "by_the_way": 2.0},
        }  # fmt: skip

    rows = [row(0, 90.0), row(1, 92.0), row(2, None, ended="not finite"), row(3, 94.0, ended="time budget")]
    assert page["variants"](rows)[4] == (
        "| node | 4 | 10 | 2 | 30 |  | 92 (90 to 94); 1 stopped by the clock; 1 of 4 failed | 0.25 | by the way 2 |"
    )
    penalised = [row(i, 91.0, "regularisers", {"regulariser": "error"}, forward=20.0 + i) for i in range(2)]
    text = "\n".join(page["regularisers"](rows + penalised))
    assert "| node | none | 4 | 2 | 30 | 92 (90 to 94)" in text
    assert "| node | error | 2 | 2 | 20.5 (20 to 21) | 91 |" in text


def test_memory_in_the_tables(page):
    def row(store, error):
        return {
            "net": "leapfrog", "depth": 10, "store": store, "saved_bytes": 2**20 * (8 if store else 1), "peak_growth_kib": 2048,
            "seconds": 0.5, "gradient_error": error, "refused": error is None,
        }  # fmt: skip

    line = page["reversible"]([row(True, 0.0), row(False, 1e-7)])[-2]
    assert line == "| leapfrog | 10 | 1 / 8 | 2 / 2 | 0.5 / 0.5 | 1e-07 |"
    assert "not finite, refused" in page["reversible"]([row(True, 0.0), row(False, None)])[-2]

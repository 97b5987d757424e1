"""The page in docs/ that solves in the browser, in headless Chromium: it solves what odebridge solves."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import odebridge as ob

DOCS = Path(__file__).parent.parent / "docs"
BROWSER = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
pytestmark = [pytest.mark.skipif(BROWSER is None, reason="no Chromium here"), pytest.mark.slow]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("playground")
    body = re.search(r"```\{raw\} html\n(.*?)```", (DOCS / "playground.md").read_text(), re.DOTALL)[1]
    (folder / "_static").mkdir()
    shutil.copy(DOCS / "_static" / "playground.js", folder / "_static")
    (folder / "page.html").write_text(f"<!doctype html><meta charset=utf-8><body>{body}</body>")
    return folder / "page.html"


def counts(page, **settings):
    query = "&".join(f"{k}={v}" for k, v in settings.items())
    command = [BROWSER, "--no-sandbox", "--headless", "--disable-gpu", "--dump-dom", f"file://{page}#{query}"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert dom.count("<circle") > 50, "pictures have points"
    return json.loads(html.unescape(re.search(r'data-counts="([^"]*)"', dom)[1]))


@pytest.mark.parametrize("law", ["i", "pi", "h211b"])
def test_it_takes_the_steps_of_the_package(page, law):
    mu, tol = 10.0, 1e-5
    here = counts(page, mu=1.0, tol=-5, law=law, method="dopri5")
    assert here["done"]
    x0 = torch.tensor([[2.0, 0.0]], dtype=torch.float64)

    def f(t, x):
        return torch.stack([x[:, 1], mu * (1 - x[:, 0] ** 2) * x[:, 1] - x[:, 0]], -1)

    settings = {"method": "dopri5", "controller": law, "first_step": 1e-4 / mu}
    sol = ob.integrate(f, x0, (0.0, 20.0), rtol=tol, atol=1e-2 * tol, **settings)
    assert abs(here["kept"] - int(sol.stats.accepted)) <= 0.02 * here["kept"]
    assert here["end"] == pytest.approx(sol.x1[0].tolist(), rel=1e-2, abs=1e-3)


def test_what_moves_when_the_sliders_move(page):
    mild = counts(page, mu=0, tol=-4, law="pi", method="dopri5")
    stiff = counts(page, mu=2, tol=-4, law="pi", method="dopri5")
    implicit = counts(page, mu=2, tol=-4, law="pi", method="ros2")
    tight = counts(page, mu=0, tol=-7, law="pi", method="dopri5")
    assert stiff["kept"] > 2 * implicit["kept"]
    assert tight["kept"] > 2 * mild["kept"]

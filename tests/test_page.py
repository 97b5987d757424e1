"""The page in a browser: it opens without an error, sorts, filters and gives its rows away."""

import re
import shutil
import subprocess

import pytest

from odebridge.bench.record import Row, RunFolder
from odebridge.bench.report import render, write_report

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
METHODS = ("rodas5p", "kvaerno5", "bdf")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = RunFolder(tmp_path_factory.mktemp("runs"), "solvers", {}, "odebridge bench solvers --seed 0")
    for i, method in enumerate(METHODS):
        values = {
            "rtol": [1e-3, 1e-6], "result": ["OK", "OK"], "mescd": [3.0 + i, 6.5 - i], "error_over_rtol": [0.5, 2.0],
            "f_evals": [100 + 10 * i, 400 - 50 * i], "accepted": [10, 40],
        }  # fmt: skip
        about = {"problem": "hires", "method": method, "rtols": [1e-3, 1e-6], "stiff": True}
        folder.append(Row("library", about, values, order=i))
    folder.append(Row("library", {**about, "method": "dopri5"}, {}, "failed", "gave up </script><b>", order=9))
    return write_report([folder.path], folder.path / "report.html")


def browsed(page, fragment, script=""):
    """The DOM after the page's scripts ran, and what the console said; script: added at the end."""
    path = page.parent / "driven.html"
    path.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    assert CHROMIUM is not None
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0", "--dump-dom"]
    done = subprocess.run([*words, f"file://{path}#{fragment}"], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def body(dom):
    """Visible rows of the table, as lists of texts."""
    rows = re.findall(r"<tr([^>]*)>(.*?)</tr>", dom.split("<tbody>")[1].split("</tbody>")[0], re.DOTALL)
    return [re.findall(r"<td[^>]*>(.*?)</td>", cells) for about, cells in rows if "hidden" not in about]


@pytest.mark.slow
@needs_browser
def test_it_opens_sorts_and_filters_without_an_error_on_the_console(page):
    dom, console = browsed(page, "table=0&sort=f%20evaluations&down")
    assert console == []
    work = [int(row[5]) for row in body(dom) if row[5].isdigit()]
    assert work == sorted(work, reverse=True)
    assert len(work) == 6
    dom, console = browsed(page, "table=0&show=kvaerno5 -10⁻³")
    assert console == []
    assert [row[1] for row in body(dom)] == ["Kvaerno5"]
    assert "<output>1 rows</output>" in dom


@pytest.mark.slow
@needs_browser
def test_a_click_sorts_typing_filters_and_a_button_gives_the_rows(page):
    script = """
      const t = document.querySelector("table"); t.tHead.rows[0].cells[3].firstChild.click();
      const box = document.querySelector("input[type=search]"); box.value = "bdf"; box.dispatchEvent(new Event("input"));
      URL.createObjectURL = blob => { document.title = `size ${blob.size}`; return "#"; };
      document.querySelector("[data-kind=csv]").click();
      window.csvText = csv(JSON.parse(document.getElementById("rows-library").textContent));
      document.body.dataset.lines = window.csvText.trim().split("\\n").length;
    """
    dom, console = browsed(page, "", script)
    assert console == []
    assert {row[1] for row in body(dom)} == {"BDF"}
    digits = [float(row[3]) for row in body(dom)]
    assert digits == sorted(digits)
    assert re.search(r"<title>size [1-9]\d+</title>", dom)
    assert 'data-lines="5"' in dom  # a head and four rows


def test_every_figure_has_its_command_and_its_rows(page):
    text = page.read_text()
    assert text.count("<code>odebridge bench solvers --seed 0</code>") >= 3  # under the figure, over the table, at the foot
    assert text.count('data-rows="library"') == 4
    assert 'id="rows-library"' in text
    assert "gave up &lt;/script&gt;" in text
    assert "</script><b>" not in text
    assert "commit " in text
    assert "<title>Rodas5P, rtol 1e-03: 3.00 digits, 100 evaluations of f</title>" in text


def test_work_is_compared_at_equal_error_and_never_beyond(page):
    text = page.read_text()
    # Six digits lie inside Rodas5P's two tolerances alone; the others would have to be extrapolated.
    assert "Fewest evaluations of f for 6 correct digits (mescd), on stiff problems: Rodas5P on HIRES" in text
    assert "Of 8 solves 6 ended well" in text


def test_shares_of_a_run_are_merged_and_empty_ones_left_out(page, tmp_path):
    empty = RunFolder(tmp_path, "solvers", {"shard": "2/2"}, "x")
    assert "Work and precision" in render([page.parent, empty.path])

"""Sphinx settings: `sphinx-build -W -b html docs docs/_build/html`. Nothing here needs the network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
os.environ.pop("MPLBACKEND", None)  # the notebooks' own, which puts pictures into the page
os.environ.setdefault("OMP_NUM_THREADS", "2")

import odebridge  # noqa: E402

# The tutorials are pages of their own folder, and Sphinx reads below one folder only: a copy that git ignores. Links in the
# sources are right in the repository, as ../docs/page.md; here the copy is below docs/ itself.
SOURCES = {path.name: path.read_text().replace("](../docs/", "](../") for path in (HERE.parent / "tutorials").glob("*.md")}
COPIES = HERE / "tutorials"
COPIES.mkdir(exist_ok=True)
for stale in COPIES.glob("*.md"):
    if stale.name not in SOURCES:
        stale.unlink()
for name, text in SOURCES.items():
    if not (COPIES / name).exists() or (COPIES / name).read_text() != text:
        (COPIES / name).write_text(text)

project = "odebridge"
author = "The odebridge developers"
copyright = f"2026, {author}"
version = release = odebridge.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "plain_docstrings",
    "outside_links",
    "mathml",
]
exclude_patterns = ["_build", "_ext", "tutorials/README.md"]
suppress_warnings = ["mystnb.unknown_mime_type"]

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = os.environ.get("ODEBRIDGE_DOCS_EXECUTE", "force")  # "off" for a quick look at the words
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_code_prompt_show = "Show the {type}"

nitpicky = True  # a name in a signature or a docstring that leads nowhere is an error, but for ...
nitpick_ignore_regex = [
    # ... other libraries, whose pages are elsewhere,
    ("py:class", r"(torch|jaxtyping|collections|pathlib|numpy|np|matplotlib)\..*|Tensor|Float|Int|Bool|Figure"),
    # ... names without their module, in fields of tuples,
    ("py:class", r"Counts|Tried|Tree|Order"),
    # ... and what is not public: memories of methods and laws, and parts of the loop.
    ("py:class", r"odebridge\.core\.protocols\.System"),
    ("py:class", r"odebridge\.methods\.\w+\.(Past|Held|Linearised|Mode|Composition)"),
    ("py:class", r"odebridge\.control\.\w+\.(Memory|_Landing|History|Coefficients|Place|Pooled)"),
    ("py:class", r"odebridge\.integrate\.\w+\.(Task|Lanes|Attempt)"),
    ("py:class", r"odebridge\.(train\.fit_problem\.Trial|tableaus\.collocation\.CollocationTableau|bench\.runner\.Event)"),
    ("py:class", r"odebridge\.nets\.node\.series\.(Walked|Belief)"),
]

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "odebridge"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": True,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": [], "playground": []}

"""Sphinx: `./launch.sh docs` builds the site into docs/_build/html."""

import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))
import generated_pages

import vae_jax

HERE = Path(__file__).parent
project, author = "vae_jax", "The vae_jax authors"
project_copyright = author
release = version = vae_jax.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build", "*.py"]
suppress_warnings = ["ref.python"]  # "mean" in a docstring is the attribute of many distributions

html_theme = "furo"
html_title = "vae_jax"
html_css_files = ["site.css"]
# MathJax lies beside the pages, which then need no network.
mathjax_path = "mathjax/tex-chtml.js"
_MATHJAX = importlib.metadata.distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline/static")
html_static_path = ["static", str(_MATHJAX)]

myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 400

default_role = "code"  # docstrings quote code with single backticks
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"


def adapt_to_sphinx(app: Sphinx, name: str, content: list[str]) -> None:
    """Turns what GitHub renders into what Sphinx does: formulas, anchors, and links to what is not a page."""
    text = re.sub(r"\$`([^`]*)`\$", r"$\1$", content[0])
    text = re.sub(r'^<a id="(\w+)"></a>$', r"(\1)=", text, flags=re.MULTILINE)
    content[0] = generated_pages.with_links(text, HERE / name)


_MODULES = re.compile(r"\b(?:jax\.)?jaxlib\._jax\.|\bjaxtyping\.|\bcollections\.abc\.|\btyping\.|\bnumpy\.(?=ndarray)")


def short_types(app: Sphinx, what: str, name: str, thing: Any, options: Any, *signature: str | None) -> Any:
    """Leaves the modules of jax, jaxtyping and Python out of a signature's types: Float[Array, "K"]."""
    return tuple(text and _MODULES.sub("", text) for text in signature)


def escape_asterisks(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Makes `*` and `|` of a docstring's formulas and shapes plain text, where they are not within backticks."""
    if what == "data":  # the docstring is that of dict or tuple
        lines.clear()
    for number, line in enumerate(lines):
        parts = _MODULES.sub("", line).split("`")
        parts[::2] = (re.sub(r"([*|])", r"\\\1", part) for part in parts[::2])
        lines[number] = "`".join(parts)


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", lambda app: generated_pages.write())
    app.connect("source-read", adapt_to_sphinx)
    app.connect("autodoc-process-signature", short_types)
    app.connect("autodoc-process-docstring", escape_asterisks, priority=900)  # after napoleon

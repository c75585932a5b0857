"""The pages of the site that nobody writes: the reference, the notebooks, and the texts of the project's root."""

import importlib
import inspect
import os
import re
from pathlib import Path
from typing import Any

import vae_jax

DOCS = Path(__file__).parent
ROOT, GENERATED = DOCS.parent, DOCS / "generated"
_TEXTS = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")


def write() -> None:
    """Writes them into docs/generated."""
    modules = {"vae_jax": ["VAE", "condition", "reparameterize"]}
    for name in vae_jax._SUBPACKAGES:
        modules[f"vae_jax.{name}"] = public(importlib.import_module(f"vae_jax.{name}"))
    for module, names in modules.items():
        _write(GENERATED / "reference" / f"{module}.rst", reference(module, names))
    for notebook in (ROOT / "experiments" / "notebooks").glob("*.py"):
        _write(GENERATED / "notebooks" / notebook.name, notebook.read_text())
    for name in _TEXTS:
        text = re.sub(r"\]\((?!https?:|#)", "](../../", (ROOT / name).read_text())
        _write(GENERATED / name, with_links(text, GENERATED / name))


def public(module: Any) -> list[str]:
    """Returns the names that a module exports: of a package those of `from … import name as name`, else its own."""
    source = inspect.getsource(module)
    if hasattr(module, "__path__"):
        return re.findall(r"^from \.\S* import (\w+) as \1$", source, re.MULTILINE)
    return re.findall(r"^(?:def|class) ([A-Za-z]\w*)", source, re.MULTILINE)


def reference(module: str, names: list[str]) -> str:
    """Returns the page of a module: its docstring, and those of its names in their order."""
    lines = [module, "=" * len(module), "", f".. automodule:: {module}", ""]
    for name in names:
        found = getattr(importlib.import_module(module), name)
        if inspect.ismodule(found):
            continue
        kind = "class" if isinstance(found, type) else "function" if inspect.isroutine(found) else "data"
        option = {"class": ["   :members:"], "function": [], "data": ["   :no-value:"]}[kind]
        lines += [f".. auto{kind}:: {module}.{name}", *option, ""]
    return "\n".join(lines)


def with_links(text: str, page: Path) -> str:
    """Returns a page's text whose links to files outside docs/ lead to the page of the site that has them."""

    def target(match: re.Match[str]) -> str:
        path, anchor = match["path"], match["anchor"] or ""
        found = Path(os.path.normpath(page.parent / path))
        if not found.is_relative_to(ROOT) or found.is_relative_to(GENERATED):
            return match[0]
        relative = found.relative_to(ROOT)
        if relative.parts[:1] == ("docs",):
            place = found
        elif str(relative) in _TEXTS:
            place = GENERATED / relative
        elif relative.parts[:2] == ("experiments", "notebooks"):
            place = GENERATED / "notebooks" / relative.name
        elif relative.parts[:1] == ("vae_jax",):
            place = GENERATED / "reference" / f"{_public_module(relative)}.rst"
        elif found.is_file():
            return f"{{download}}`{match['text'].strip('`')} <{path}>`"
        else:
            return match[0]
        return f"[{match['text']}]({os.path.relpath(place, page.parent)}{anchor})"

    return re.sub(r"\[(?P<text>[^\]\[]*)\]\((?P<path>[^)#:\s]+)(?P<anchor>#[^)]*)?\)", target, text)


def _public_module(path: Path) -> str:
    """Returns the module whose page has what a file or a folder of vae_jax/ defines."""
    room = path.parts[1].removesuffix(".py")
    return f"vae_jax.{room}" if room in vae_jax._SUBPACKAGES else "vae_jax"


def _write(path: Path, text: str) -> None:
    """Writes a file that is another now, so that Sphinx reads no page anew without need."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)

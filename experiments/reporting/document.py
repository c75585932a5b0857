"""An HTML document that is whole in one file, and the elements that pages are made of; every text is escaped."""

import base64
import html
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from PIL import Image

from vae_jax.training import json_files

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("base", "curves", "scatter", "explorer", "page")
MOST_BYTES = 5_000_000
_FLAG = re.compile(r"--\w[\w.]*(=('[^']*'|[^\s.,:;()]+))?")

escape = html.escape


class Picture(NamedTuple):
    """A PNG: its bytes, what it shows to who cannot see it, and what is written below it."""

    name: str
    png: bytes
    alt: str
    caption: str


class Cell(NamedTuple):
    """A cell of a table: its text, and its class in the style ("number", "code", "best", several by spaces)."""

    text: str
    kind: str = ""


def document(title: str, body: str, data: Mapping[str, Any]) -> str:
    """Returns a document with this body, the style and the scripts, and `data` for them; it fetches nothing."""
    read = lambda name: (_ASSETS / name).read_text(encoding="utf-8")
    return Template(read("document.html")).substitute(
        title=escape(title),
        style=read("style.css"),
        body=body,
        # Within a script "<" might end it, or begin a comment.
        data=json_files.to_text(data).replace("<", "\\u003c"),
        script="\n".join(read(f"{name}.js") for name in _SCRIPTS),
    )


def section(name: str, heading: str, *parts: str) -> str:
    """Returns a section with a heading, which links may lead to by its name."""
    return f'<section aria-labelledby="{name}-heading">\n<h2 id="{name}-heading">{escape(heading)}</h2>\n' + (
        "\n".join(part for part in parts if part) + "\n</section>"
    )


def links(named: Mapping[str, str]) -> str:
    """Returns links to sections, {name: text}."""
    lines = [f'<a href="#{name}-heading">{escape(text)}</a>' for name, text in named.items()]
    return f'<nav aria-label="Parts of this page">{"".join(lines)}</nav>'


def paragraph(text: str, kind: str = "") -> str:
    return f"<p{_class(kind)}>{escape(text)}</p>"


def sentences(texts: Iterable[str]) -> str:
    """Returns a list of sentences, in which flags are code, so that no line ends within "--"."""
    lines = (_FLAG.sub(r"<code>\g<0></code>", html.escape(text, quote=False)) for text in texts)
    return '<ul class="words">' + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"


def figure(picture: Picture) -> str:
    """Returns a picture on white paper with its caption."""
    width, height = Image.open(io.BytesIO(picture.png)).size
    image = (
        f'<img src="{data_uri(picture.png)}" width="{width}" height="{height}" alt="{escape(picture.alt)}" '
        f'style="max-width: min(100%, {max(320, round(width / 1.4))}px)">'
    )
    return f'<figure><div class="paper">{image}</div><figcaption>{escape(picture.caption)}</figcaption></figure>'


def table(header: Sequence[Cell | str], rows: Iterable[Sequence[Cell | str]], *, changed: Iterable[int] = ()) -> str:
    """Returns a table, which scrolls in its box; the first cell of a row names it, and `changed` rows are marked."""
    marked = set(changed)
    head = "".join(f'<th scope="col"{_class(name.kind)}>{escape(name.text)}</th>' for name in map(_cell, header))
    lines = []
    for number, (first, *others) in enumerate(rows):
        cells = "".join(f"<td{_class(cell.kind)}>{escape(cell.text)}</td>" for cell in map(_cell, others))
        name = _cell(first)
        kind = _class("changed" if number in marked else "")
        lines.append(f'<tr{kind}><th scope="row"{_class(name.kind)}>{escape(name.text)}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Returns a table of names and what they are."""
    lines = [
        f'<tr><th scope="row">{escape(name)}</th><td class="code">{escape(text)}</td></tr>' for name, text in pairs
    ]
    return f'<div class="scroll" tabindex="0"><table class="facts"><tbody>{"".join(lines)}</tbody></table></div>'


def command(text: str) -> str:
    """Returns a command with a button that copies it."""
    copy = '<button type="button" data-copies="command">Copy</button>'
    return f'<div class="card command"><pre id="command">{escape(text)}</pre>{copy}</div>'


def data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def fitting(pictures: Sequence[Picture], most_bytes: int) -> tuple[list[Picture], list[str]]:
    """Returns the pictures that fit into so many bytes as base64, and the names of those that do not: the largest."""
    kept = list(pictures)
    left_out = []
    while kept and sum(4 * len(picture.png) / 3 for picture in kept) > most_bytes:
        largest = max(kept, key=lambda picture: len(picture.png))
        kept.remove(largest)
        left_out.append(largest.name)
    return kept, left_out


def write(path: Path, text: str) -> None:
    """Writes the whole file, or none of it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _cell(cell: Cell | str) -> Cell:
    return Cell(cell) if isinstance(cell, str) else cell


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""

"""The report page of a run, from its contents."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from . import document
from .document import Cell, Picture
from .explorer import Explorer
from .provenance import Field
from .rows import Row
from .words import value_and_error

# Of the page without its pictures there is always less.
_BESIDE_PICTURES = 1_500_000
_SHOWN_FIRST, _BESIDE = ("reconstructions", "columns"), ("samples", "neighbours")


class Headline(NamedTuple):
    """A figure of a run: its name, value and error as texts, and its unit with what is better."""

    name: str
    value: str
    error: str
    unit: str


class Scatter(NamedTuple):
    """The latents of test examples in a plane.

    Attributes:
      points: of the examples in the order of their rows.
      labels: the number of each one's class; empty where there are none.
      classes: what the classes are called.
      xlabel, ylabel: what the axes are called.
      caption: what the points are.
    """

    points: list[list[float]]
    labels: list[int]
    classes: list[str]
    xlabel: str
    ylabel: str
    caption: str


class Page(NamedTuple):
    """All that is on the page; a part that is a text is missing for that reason.

    Attributes:
      title: the run's name.
      about: its model and its data in a line.
      headlines: the figures of the result.
      sentences: what they mean.
      curves: of `curves.quantities`.
      pictures: by name, the first ones first.
      explorer: of the latents.
      scatter: of the latents.
      rows: the figures of an evaluation.
      evaluated: of which parameters these are.
      fields: of the config.
      command: that makes the run.
      facts: names and texts about the run and the page.
    """

    title: str
    about: str
    headlines: Sequence[Headline]
    sentences: Sequence[str]
    curves: Sequence[dict[str, Any]]
    pictures: Sequence[Picture]
    explorer: Explorer | str
    scatter: Scatter | str
    rows: Sequence[Row]
    evaluated: str
    fields: Sequence[Field]
    command: str
    facts: Sequence[tuple[str, str]]


def render(page: Page, *, most_bytes: int = document.MOST_BYTES) -> str:
    """Returns the page as HTML of at most so many bytes; the largest pictures are left out where they do not fit."""
    sprite = page.explorer.sprite if isinstance(page.explorer, Explorer) else None
    room = most_bytes - _BESIDE_PICTURES - (4 * len(sprite.png) // 3 if sprite else 0)
    pictures, left_out = document.fitting(page.pictures, room)
    parts = {name: part for name, part in _parts(page, pictures, left_out) if part[1]}
    body = [
        document.paragraph("Report of a run", "kind"),
        f"<h1>{document.escape(page.title)}</h1>",
        document.paragraph(page.about, "about"),
        document.links({name: heading for name, (heading, _) in parts.items()}),
        *(document.section(name, heading, *inner) for name, (heading, inner) in parts.items()),
    ]
    data = {"curves": list(page.curves), "scatter": None, "explorer": None}
    if isinstance(page.scatter, Scatter):
        data["scatter"] = page.scatter._asdict()
    if isinstance(page.explorer, Explorer):
        data["explorer"] = _explorer_data(page.explorer)
    data["curves"] = data["curves"] or None
    return document.document(f"{page.title}: report of a run", "\n".join(body), data)


def _parts(
    page: Page, pictures: Sequence[Picture], left_out: Sequence[str]
) -> Iterator[tuple[str, tuple[str, list[str]]]]:
    """Yields (name, (heading, inner elements)) of each section; no elements where there is nothing to show."""
    figures = {picture.name: document.figure(picture) for picture in pictures}
    yield "result", ("Result", [_headlines(page.headlines), document.sentences(page.sentences)])
    curves = ['<div class="card" id="curves"></div>', _note("Point at the curves, or use the arrow keys, for values.")]
    yield "learning", ("Learning curves", curves if page.curves else [])
    beside = [figures[name] for name in _BESIDE if name in figures]
    first = [figures[name] for name in _SHOWN_FIRST if name in figures]
    first += ['<div class="beside">', *beside, "</div>"] if beside else []
    yield "pictures", ("Reconstructions and samples", first)
    yield "explore", ("Latent explorer", _explorer(page.explorer))
    yield "latents", ("Latents", _scatter(page.scatter))
    others = [figure for name, figure in figures.items() if name not in (*_SHOWN_FIRST, *_BESIDE)]
    told = [_note(f"Left out, to keep this page small: {', '.join(left_out)} (figures/).")] if left_out else []
    yield "figures", ("More figures", [*others, *told])
    yield "numbers", ("Evaluation", _numbers(page))
    differ = [row for row, field in enumerate(page.fields) if field.differs]
    rows = [(Cell(f.name, "code"), Cell(f.value, "code"), Cell(f.default, "code"), f.meaning) for f in page.fields]
    table = document.table(("field", "value", "default", "meaning"), rows, changed=differ)
    summary = f"All {len(rows)} fields of the config; the {len(differ)} that differ from the default are marked"
    yield (
        "details",
        (
            "How to make this run again",
            [
                document.command(page.command),
                f"<details><summary>{summary}</summary>{table}</details>",
                document.facts(page.facts),
            ],
        ),
    )


def _headlines(headlines: Sequence[Headline]) -> str:
    cards = []
    for name, value, error, unit in headlines:
        after = f' <span class="error">± {document.escape(error)}</span>' if error else ""
        cards.append(
            f'<div class="headline"><div class="name">{document.escape(name)}</div>'
            f'<div class="value">{document.escape(value)}{after}</div>'
            f'<div class="unit">{document.escape(unit)}</div></div>'
        )
    return f'<div class="headlines">{"".join(cards)}</div>' if cards else ""


def _note(text: str) -> str:
    return document.paragraph(text, "note")


def _explorer(explorer: Explorer | str) -> list[str]:
    if isinstance(explorer, str):
        return [_note(f"There is no explorer of the latents: {explorer}.")]
    moved = f"the {len(explorer.axes)} most active" if len(explorer.axes) > 1 else "the most active"
    told = (
        f"The sliders move {moved} of {explorer.latent_dim} latent dimensions in {len(explorer.offsets)} positions, up "
        "to two standard deviations (over test examples) from the mean; the others stay at their means. Shown is the "
        "mean of p(x|z)."
    )
    if explorer.held:
        told += f" Given beside z: {', '.join(explorer.held)} of the first test example."
    if explorer.omitted:
        told += f" {explorer.omitted:,} more numbers of x are not shown."
    sprite = (
        ""
        if explorer.sprite is None
        else f'<img id="sprite" src="{document.data_uri(explorer.sprite.png)}" alt="" hidden>'
    )
    return [_note(told), '<div class="card" id="explorer"></div>', sprite]


def _explorer_data(explorer: Explorer) -> dict[str, Any]:
    tile = None
    if explorer.sprite is not None:
        tile = {name: getattr(explorer.sprite, name) for name in ("height", "width", "across")}
    return {
        "axes": [axis._asdict() for axis in explorer.axes],
        "offsets": list(explorer.offsets),
        "classes": list(explorer.classes),
        "given": explorer.given,
        "tile": tile,
        "bars": [bar._asdict() for bar in explorer.bars],
        "values": [[float(f"{value:.5g}") for value in row] for row in explorer.values.tolist()],
    }


def _scatter(scatter: Scatter | str) -> list[str]:
    if isinstance(scatter, str):
        return [_note(f"There is no picture of the latents: {scatter}.")]
    return ['<div class="card" id="scatter"></div>', _note(scatter.caption)]


def _numbers(page: Page) -> list[str]:
    if not page.rows:
        return []
    rows = []
    for row in page.rows:
        value, error = (row.value, "") if isinstance(row.value, str) else value_and_error(row.value, row.standard_error)
        of = " ".join(str(part) for part in (row.num_examples, row.examples) if part)
        said = "; ".join(text for text in (row.remark, row.why() and f"not known: {row.why()}") if text)
        rows.append((row.label, Cell(value, "number"), Cell(error, "number"), row.unit, of, Cell(said, "remark")))
    header = ("figure", Cell("value", "number"), Cell("± error", "number"), "unit", "examples", "remark")
    note = f"{page.evaluated}. nats are nats per example; ± is one standard error, over the examples."
    return [document.table(header, rows), _note(note)]

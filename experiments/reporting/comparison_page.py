"""The page on which runs are compared, from their records."""

from collections.abc import Iterator, Sequence

from ..run import workdir
from . import curves, document
from .comparison import Comparison, Difference, Line, compare
from .document import Cell, Picture
from .record import Record
from .words import number

_BESIDE_PICTURES = 2_500_000
_SIDE_BY_SIDE = {"samples": "Samples", "reconstructions": "Reconstructions", "columns": "Columns"}
_PAIRED = (
    "A paired difference is the mean of the differences of each test example, with the standard error of that mean: "
    "examples that are hard for one run are hard for the other, and do not count twice."
)
_IN_QUADRATURE = (
    "A difference that is not paired has the two errors added in quadrature, as if the runs were of independent test "
    "examples. They are of the same ones, so that its true error is probably smaller: ./launch.sh evaluate of each run "
    "gives the paired one."
)
_SEEDS = "No error here holds what another seed would change: train each config with several seeds to see that."


def render(records: Sequence[Record], *, most_bytes: int = document.MOST_BYTES) -> str:
    """Returns the comparison of runs as HTML of at most so many bytes."""
    found = compare(records)
    pictures = [
        Picture(f"{name} of {run}", path.read_bytes(), f"{heading} of {run}", run)
        for name, heading in _SIDE_BY_SIDE.items()
        for run, record in zip(found.names, records, strict=True)
        if (path := record.folder / workdir.FIGURES / f"{name}.png").exists()
    ]
    kept, left_out = document.fitting(pictures, most_bytes - _BESIDE_PICTURES)
    quantities = curves.quantities(dict(zip(found.names, records, strict=True)))
    title = f"{len(records)} runs compared"
    parts = {name: part for name, part in _parts(found, quantities, kept, left_out) if part[1]}
    body = [
        document.paragraph("Comparison of runs", "kind"),
        f"<h1>{document.escape(' · '.join(found.names))}</h1>",
        document.links({name: heading for name, (heading, _) in parts.items()}),
        *(document.section(name, heading, *inner) for name, (heading, inner) in parts.items()),
    ]
    return document.document(title, "\n".join(body), {"curves": quantities or None})


def _parts(
    found: Comparison, quantities: list, kept: Sequence[Picture], left_out: Sequence[str]
) -> Iterator[tuple[str, tuple[str, list[str]]]]:
    """Yields (name, (heading, inner elements)) of each section; no elements where there is nothing to show."""
    notes = {difference.is_paired for line in found.lines for difference in line.differences if difference}
    told = [_PAIRED] * (True in notes) + [_IN_QUADRATURE] * (False in notes) + [_SEEDS]
    rows = [row for line in found.lines for row in _rows(line, found)]
    yield (
        "result",
        (
            "Result",
            [
                document.sentences(sentences(found)),
                document.table(("figure", *(Cell(name, "number") for name in found.names)), rows),
                *(document.paragraph(text, "note") for text in told),
            ],
        ),
    )
    yield "learning", ("Learning curves", ['<div class="card" id="curves"></div>'] if quantities else [])
    for name, heading in _SIDE_BY_SIDE.items():
        figures = [document.figure(picture) for picture in kept if picture.name.startswith(f"{name} of ")]
        yield name, (heading, ['<div class="beside">', *figures, "</div>"] if figures else [])
    fields = [
        (Cell(name, "code"), *(Cell(value, "code" if value == values[0] else "code best") for value in values))
        for name, values in found.fields
    ]
    table = document.table(("field", *found.names), fields) if fields else ""
    same = "" if fields else document.paragraph("The configs are the same.", "note")
    small = f"Left out, to keep this page small: the {', the '.join(left_out)}." if left_out else ""
    yield "configs", ("Fields that differ", [table, same, document.paragraph(small, "note") if small else ""])


def sentences(found: Comparison) -> list[str]:
    """Returns how the test ELBO of each run differs from the first one's, in sentences."""
    first, said = found.names[0], []
    elbo = found.lines[0] if found.lines and found.lines[0].name.startswith("test ELBO") else None
    for at, (name, reason) in enumerate(zip(found.names, found.reasons, strict=True)):
        difference = None if elbo is None else elbo.differences[at]
        if reason:
            said.append(f"The figures of {name} do not compare with those of {first}: {reason}.")
        elif difference is not None:
            said.append(_sentence(name, first, difference))
    return said


def _sentence(name: str, first: str, difference: Difference) -> str:
    value, error = difference.value, difference.error
    how = "paired" if difference.is_paired else "as if independent,"
    of = f" over {difference.number:,} test examples" if difference.number else ""
    by = number(abs(value), error)
    side = "above" if value > 0 else "below"
    head = f"The test ELBO of {name} is {by} nats {side} that of {first} ({how}{of})"
    if error is None:
        return f"{head}."
    if abs(value) > 2 * error:
        return f"{head}: more than two of its errors, so that chance in the test set hardly explains it."
    return f"{head}: within two of its errors, so that this test set does not tell the two apart."


def _rows(line: Line, found: Comparison) -> Iterator[list[Cell | str]]:
    cells = []
    for at, (value, error) in enumerate(zip(line.values, line.errors, strict=True)):
        text = value if isinstance(value, str) else number(value, error)
        is_best = at in line.best
        cells.append(Cell(f"{text} (best)" if is_best else text, "number best" if is_best else "number"))
    yield [line.name, *cells]
    if any(line.differences):
        told = [_difference(difference) for difference in line.differences]
        yield [f"less that of {found.names[0]}", *(Cell(text, "number") for text in told)]


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return ""
    sign = "+" if difference.value > 0 else ""
    return f"{sign}{number(difference.value, difference.error)}{', paired' if difference.is_paired else ''}"

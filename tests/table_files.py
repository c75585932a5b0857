"""CSV files of a few columns."""

from pathlib import Path

from vae_jax.data import schema, tables

# The texts of a column that can always be modelled.
X = [f"{number / 8}" for number in range(-20, 23)]


def read(
    folder: Path, columns: dict | str, described: dict | None = None, conditions: tuple[str, ...] = ()
) -> tables.Table:
    """Returns the table of a file of the columns, each a list of texts, or of a text, with a schema as in JSON."""
    if isinstance(columns, dict):
        columns = "\n".join(map(",".join, [list(columns), *zip(*columns.values(), strict=True)]))
    (folder / "cells.csv").write_bytes(columns.encode())
    given = None if described is None else schema.from_json(described)
    return tables.read_table(folder / "cells.csv", schema=given, conditions=conditions)

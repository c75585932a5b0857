"""Files of ten rows: a table, an array and pictures, and what the model of each calls an example."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from vae_jax import data
from vae_jax.data import Contents, Variable

NUM_ROWS = 10
RNG = np.random.default_rng(0)
AGES, NUMBERS = RNG.normal(size=NUM_ROWS).astype(np.float32), RNG.integers(0, 9, NUM_ROWS)
SITES = ["b", "a", "c", "a", "b", "b", "a", "c", "c", "a"]
IDS = [f"p{number}" for number in range(NUM_ROWS)]
TABLE = Contents(
    {"age": Variable("real"), "number": Variable("count"), "site": Variable("category", (), ("a", "b", "c"))}
)
COLUMNS = {"name": IDS, "site": SITES, "age": AGES.tolist(), "unknown": SITES, "number": NUMBERS.tolist()}
VECTORS = RNG.normal(size=(NUM_ROWS, 2, 3)).astype(np.float32)
REAL = Contents(Variable("real", (2, 3)))
PICTURES = RNG.integers(0, 256, (NUM_ROWS, 4, 5, 1)).astype(np.uint8)
PICTURES[9, 0, 0] = 255
GREY = data.pictures((4, 5, 1))


def write(path: Path, columns: dict) -> Path:
    """Writes a table as a file of this suffix."""
    if path.suffix == ".csv":
        rows = [list(columns), *(map(str, row) for row in zip(*columns.values(), strict=True))]
        path.write_text("\n".join(map(",".join, rows)))
    elif path.suffix == ".parquet":
        parquet.write_table(pa.table(columns), path, row_group_size=4)
    else:
        np.savez(path, **{name: np.array(values) for name, values in columns.items()})
    return path


def zipped(*members: tuple[str, bytes]) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def as_npy(values: np.ndarray) -> bytes:
    np.save(file := io.BytesIO(), values, allow_pickle=True)
    return file.getvalue()

"""Parquet files as tables."""

import datetime
import decimal
import hashlib
import itertools
import re
import struct

import jax
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from vae_jax import data
from vae_jax.data import Contents, DataError, Variable, parquet_files, schema, tables
from vae_jax.distributions import Masked

NUM_ROWS = 60
RNG = np.random.default_rng(0)
REAL, WHOLE = RNG.normal(size=NUM_ROWS), RNG.integers(0, 2, NUM_ROWS) + 5 * RNG.integers(0, 9, NUM_ROWS)
SITES = [["b", "a", "c"][i] for i in RNG.integers(0, 3, NUM_ROWS)]
# What numpy, pandas or Spark write for each kind, and what the column is taken for.
COLUMNS = {
    "number": (pa.array(range(NUM_ROWS)), "id"),
    "float": (pa.array(REAL), "real"),
    "float32": (pa.array(REAL.astype(np.float32)), "real"),
    "positive": (pa.array(np.exp(9 * REAL)), "positive"),
    "int": (pa.array(WHOLE), "count"),
    "int8": (pa.array(WHOLE.astype(np.int8)), "count"),
    "negative": (pa.array(WHOLE - 5), "real"),
    "int with holes": (pa.array([None if i % 7 == 0 else int(n) for i, n in enumerate(WHOLE)]), "count"),
    "bool": (pa.array(REAL > 0), "binary"),
    "zeros and ones": (pa.array((REAL > 0).astype(float)), "binary"),
    "text": (pa.array(SITES), "category"),
    "dictionary": (pa.array(SITES).dictionary_encode(), "category"),
    "two texts": (pa.array(["no" if i % 3 else "yes" for i in range(NUM_ROWS)]), "binary"),
    "constant": (pa.array([3.5] * NUM_ROWS), "ignore"),
    "null": (pa.nulls(NUM_ROWS), "ignore"),
    "time": (pa.array([datetime.datetime(2020, 1, 1)] * NUM_ROWS), "ignore"),
    "list": (pa.array([[1, 2]] * NUM_ROWS), "ignore"),
    "long texts": (pa.array(SITES, pa.large_string()), "category"),
    "text views": (pa.array(SITES, pa.string_view()), "category"),
    "decimal": (pa.array([decimal.Decimal(int(n)) / 4 - 1 for n in WHOLE]), "real"),
    # Which float64 does not hold.
    "large with holes": (
        pa.array([None if i % 7 == 0 else int(n) * 2**55 + 1 for i, n in enumerate(WHOLE)]),
        "positive",
    ),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """In row groups of seven rows."""
    path = tmp_path_factory.mktemp("parquet") / "cells.parquet"
    parquet.write_table(pa.table({name: values for name, (values, _) in COLUMNS.items()}), path, row_group_size=7)
    return path


@pytest.fixture(scope="module")
def table(file):
    return tables.read_table(file, schema=None)


def test_a_kind_is_guessed_by_the_type_and_the_values(table):
    assert {column.name: column.kind for column in table.columns} == {name: kind for name, (_, kind) in COLUMNS.items()}


def test_values_are_those_of_the_file(table):
    of = lambda name: table.values[name]
    np.testing.assert_array_equal(of("float").value, REAL.astype(np.float32))
    np.testing.assert_array_equal(of("int8").value, WHOLE)
    np.testing.assert_array_equal(of("bool").value, REAL > 0)
    assert [table.columns[11].levels[code] for code in of("dictionary").value] == SITES
    holes = np.arange(NUM_ROWS) % 7 == 0
    np.testing.assert_array_equal(of("int with holes").observed, ~holes)
    np.testing.assert_array_equal(of("int with holes").value, np.where(holes, 0, WHOLE))
    assert table.missing == {name: 9 * name.endswith("with holes") for name in table.missing}
    np.testing.assert_array_equal(of("decimal").value, (WHOLE / 4 - 1).astype(np.float32))
    np.testing.assert_array_equal(
        of("large with holes").value, np.where(holes, 0, WHOLE * 2.0**55 + 1).astype(np.float32)
    )


def test_a_column_of_another_type_is_ignored_with_a_note_or_refused_where_it_is_asked_for(file, table):
    assert "column 'time' is ignored: its type is timestamp[us]" in table.notes
    assert "column 'null' is ignored: it has no entries" in table.notes
    with pytest.raises(DataError, match=r"column 'list': its type is list<.*cannot be real"):
        tables.read_table(file, schema=schema.from_json({"list": "real"}))


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.int64(), pa.string()])
@pytest.mark.parametrize("last", [None, 2])
def test_numbers_may_be_categories_and_are_called_as_in_a_csv(tmp_path, kind, last):
    """Whole numbers with holes are floats in pandas."""
    values = pa.array([2, 10, 2, last]).cast(kind)
    parquet.write_table(pa.table({"x": REAL[:4], "c": values}), tmp_path / "c.parquet")
    column = tables.read_table(tmp_path / "c.parquet", schema=schema.from_json({"c": "category"})).columns[1]
    assert column.levels == ("2", "10")
    described = {"c": {"kind": "category", "levels": ["10", "2"]}}
    value = tables.read_table(tmp_path / "c.parquet", schema=schema.from_json(described)).values["c"]
    codes = value.value if isinstance(value, Masked) else value
    assert codes.tolist() == [1, 0, 1, 0 if last is None else 1]


def test_the_hash_of_a_row_depends_on_its_entries_alone(file, tmp_path):
    whole = tables.read_table(file, schema=None)
    some = [name for name in COLUMNS if name not in ("null", "time", "list", "constant", "number")]
    rows = np.r_[30:60, 3:10]
    columns = pa.table({name: COLUMNS[name][0] for name in some})
    parquet.write_table(pa.concat_tables([columns[30:60], columns[3:10]]), tmp_path / "part.parquet")
    np.testing.assert_array_equal(tables.read_table(tmp_path / "part.parquet", schema=None).hashes, whole.hashes[rows])
    assert len(np.unique(whole.hashes)) == NUM_ROWS


def test_the_hash_of_a_row_is_the_published_one_for_ever(tmp_path):
    """By whole numbers of Python: of float64's bits, 0 for −0 and one NaN for what is missing, and of texts."""
    columns = {"a": pa.array([-0.0, 1.5, None]), "b": pa.array([7, 1, 2], pa.int8()), "c": pa.array(["é", "NA", "x"])}
    parquet.write_table(pa.table(columns), tmp_path / "x.parquet")

    def mixed(y: int) -> int:
        y = (y ^ y >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        y = (y ^ y >> 27) * 0x94D049BB133111EB % 2**64
        return y ^ y >> 31

    bits = lambda number: int.from_bytes(struct.pack(">d", number), "big")
    of_text = lambda text: int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    rows = [(0, bits(7), of_text("é")), (bits(1.5), bits(1), of_text("")), (bits(np.nan), bits(2), of_text("x"))]
    sums = [sum(mixed(h) * mixed((j + 1) * 0x9E3779B97F4A7C15 % 2**64) for j, h in enumerate(row)) for row in rows]
    found = tables.read_table(tmp_path / "x.parquet", schema=schema.from_json({"c": "category"})).hashes
    assert found.tolist() == [mixed(total % 2**64) for total in sums]


@pytest.mark.parametrize(("limit", "kind"), [(3 * 2 * 5, np.ndarray), (3 * 2 * 5 - 1, np.memmap)])
def test_the_values_of_a_table_beyond_the_limit_are_in_a_file(tmp_path, limit, kind):
    parquet.write_table(pa.table({"x": [0.5, 1.0, 2.0], "y": [3, 1, 9]}), tmp_path / "x.parquet")
    values = tables.read_table(tmp_path / "x.parquet", schema=None, memory_limit=limit).values
    assert {type(of) for of in values.values()} == {kind}
    assert values["y"].tolist() == [3, 1, 9]


def test_a_table_that_is_streamed_is_that_in_memory(file):
    memory, streamed = (data.load("x", path=file, memory_gb=gb) for gb in (1.0, 2e-6))
    assert streamed.train.is_streamed
    for given in (np.arange(5), np.array([4, 0, 4])):
        jax.tree.map(np.testing.assert_array_equal, streamed.train.rows(given), memory.train.rows(given))


def test_blocks_hold_the_rows_in_order_whatever_the_row_groups(file):
    wanted = {"text": schema.Column("text", "category", ("a", "b", "c")), "float": schema.Column("float", "real")}
    blocks = list(parquet_files.ParquetRows(file).blocks(25, wanted))
    assert [found["text"].num_rows for _, found in blocks] == [25, 25, 10]
    assert list(itertools.chain(*(found["text"].of_rows for _, found in blocks))) == SITES
    np.testing.assert_array_equal(np.concatenate([found["float"].of_rows for _, found in blocks]), REAL)


def test_blocks_are_full_however_few_rows_a_batch_has(file, monkeypatch):
    whole = parquet.ParquetFile.iter_batches
    monkeypatch.setattr(
        parquet.ParquetFile, "iter_batches", lambda of, batch_size, columns: whole(of, 3, None, columns)
    )
    blocks = parquet_files.ParquetRows(file).blocks(20, {"float": schema.Column("float", "real")})
    assert [found["float"].num_rows for _, found in blocks] == [20, 20, 20]


def test_booleans_with_a_hole_are_zeros_and_ones_to_the_model(tmp_path):
    parquet.write_table(pa.table({"x": [True, False, None]}), tmp_path / "x.parquet")
    found = data.open_rows(tmp_path / "x.parquet", Contents({"x": Variable("binary")}, masked=True)).read()["x"]
    assert (found.value.tolist(), found.observed.tolist()) == ([1, 0, 0], [True, True, False])


LARGE = 2**60
# What names the rows is asked for as it is, in blocks of two rows.
AS_THEY_ARE = {
    "whole numbers": (pa.array([LARGE, LARGE + 1, 0]), [LARGE, LARGE + 1, 0]),
    "whole numbers with a hole in the last block": (
        pa.array([LARGE, LARGE + 1, None]),
        [str(LARGE), str(LARGE + 1), ""],
    ),
    "a dictionary of them": (pa.array([LARGE, None, LARGE]).dictionary_encode(), [str(LARGE), "", str(LARGE)]),
    "booleans with a hole in the last block": (pa.array([True, False, None]), ["True", "False", ""]),
    "without a sign": (pa.array([2**64 - 1, 0, 1], pa.uint64()), [2**64 - 1, 0, 1]),
    "decimals": (pa.array([decimal.Decimal(10**30 + n) for n in range(3)]), [str(10**30 + n) for n in range(3)]),
    "dates": (pa.array([datetime.date(2020, 1, day) for day in (1, 2, 3)]), [f"2020-01-0{day}" for day in (1, 2, 3)]),
    "bytes": (pa.array(["ä".encode(), None, b"b"]), ["ä", "", "b"]),
    "nothing": (pa.nulls(3), ["", "", ""]),
    "floats": (pa.array([0.5, -2.0, 1e300]), [0.5, -2.0, 1e300]),
    "floats of 32 bits": (pa.array([0.1, 0.2, 0.3], pa.float32()), [np.float32(n).item() for n in (0.1, 0.2, 0.3)]),
}


@pytest.mark.parametrize("case", AS_THEY_ARE)
def test_what_names_the_rows_is_exact_and_of_one_type_in_all_blocks(tmp_path, case):
    values, exact = AS_THEY_ARE[case]
    parquet.write_table(pa.table({"x": [0.5, 1.0, 2.0], "id": values}), tmp_path / "x.parquet")
    blocks = list(data.open_rows(tmp_path / "x.parquet", Contents({"x": Variable("real")})).blocks(2))
    assert len({block.ids.dtype for block in blocks}) == 1
    assert blocks[0].ids.dtype in (object, values.to_numpy(zero_copy_only=False).dtype)
    assert list(itertools.chain(*(block.ids.tolist() for block in blocks))) == exact


@pytest.mark.parametrize("name", ["id", "x"])
def test_a_column_that_is_no_number_and_no_text_is_no_missing_entry(tmp_path, name):
    columns = {"x": [0.5, 1.0], "id": [1, 2]} | {name: [[1], [2]]}
    parquet.write_table(pa.table(columns), tmp_path / "x.parquet")
    rows = data.open_rows(tmp_path / "x.parquet", Contents({"x": Variable("real")}, masked=True))
    with pytest.raises(DataError, match=rf"x\.parquet, column '{name}': its type is list<.*, neither numbers nor"):
        rows.read()


def test_a_text_that_is_not_in_utf8_is_refused_by_the_file(tmp_path):
    buffers = pa.array([b"a", b"\xff", b"b"], pa.binary()).buffers()
    parquet.write_table(pa.table({"y": pa.Array.from_buffers(pa.string(), 3, buffers)}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet cannot be read as a Parquet file: 'utf-8' codec"):
        tables.read_table(tmp_path / "x.parquet", schema=None)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.Table.from_arrays([pa.array([1])] * 3, ["a", "b", "a"]), "two columns are called 'a'; rename"),
        (pa.table({"x": REAL[:0]}), "holds no rows"),
    ],
)
def test_a_file_without_rows_or_with_two_columns_of_a_name_is_refused(tmp_path, table, message):
    parquet.write_table(table, tmp_path / "x.parquet")
    for read in (parquet_files.WholeParquet, parquet_files.ParquetRows):
        with pytest.raises(DataError, match=rf"x\.parquet:? {message}"):
            read(tmp_path / "x.parquet")


def test_a_column_of_more_rows_than_the_file_says_is_refused(tmp_path):
    parquet.write_table(pa.table({"x": REAL}), tmp_path / "x.parquet")
    content = (tmp_path / "x.parquet").read_bytes()
    footer, of_rows = len(content) - 8 - int.from_bytes(content[-8:-4], "little"), bytes([0x16, 2 * NUM_ROWS])
    place = content.index(of_rows, footer)
    (tmp_path / "x.parquet").write_bytes(content[:place] + bytes([0x16, 2 * NUM_ROWS - 2]) + content[place + 2 :])
    with pytest.raises(DataError, match=r"x\.parquet is damaged: column 'x' has 60 of its 59 rows"):
        tables.read_table(tmp_path / "x.parquet", schema=None)


def test_a_column_is_told_from_the_part_of_another_that_has_its_name(tmp_path):
    parquet.write_table(pa.table({"n": [{"a": 1}] * NUM_ROWS, "n.a": REAL}), tmp_path / "x.parquet")
    table = tables.read_table(tmp_path / "x.parquet", schema=None)
    np.testing.assert_array_equal(table.values["n.a"], REAL.astype(np.float32))


@pytest.mark.parametrize("kept", [0, 3, 100, 0.5, 0.99])
def test_a_file_that_ends_early_is_refused_by_name(file, tmp_path, kept):
    content = file.read_bytes()
    (tmp_path / "short.parquet").write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    with pytest.raises(DataError, match=r"short\.parquet cannot be read as a Parquet file") as caught:
        tables.read_table(tmp_path / "short.parquet", schema=None)
    assert "\n" not in str(caught.value)


def test_a_bad_entry_is_named_by_its_row(tmp_path):
    parquet.write_table(pa.table({"x": [0.5, 1e39, 2.0]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet, row 1, column 'x': 1e\+39 is infinite in float32"):
        tables.read_table(tmp_path / "x.parquet", schema=None)


def test_without_pyarrow_the_extra_is_named(file, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DataError, match=re.escape("cells.parquet needs pyarrow: pip install 'vae_jax[tables]'")):
        tables.read_table(file, schema=None)


def test_missing_entries_of_every_kind_are_masked(table):
    assert all(isinstance(table.values[name], Masked) for name in table.missing)

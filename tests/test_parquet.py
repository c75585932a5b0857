"""Parquet files as tables."""

import datetime
import itertools
import re

import jax
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from vae_jax import data
from vae_jax.data import DataError, parquet_files, schema, tables
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
    assert table.missing == {name: 9 if name == "int with holes" else 0 for name in table.missing}


def test_a_column_of_another_type_is_ignored_with_a_note_or_refused_where_it_is_asked_for(file, table):
    assert "column 'time' is ignored: its type is timestamp[us]" in table.notes
    with pytest.raises(DataError, match=r"column 'list': its type is list<.*cannot be real"):
        tables.read_table(file, schema=schema.from_json({"list": "real"}))


def test_numbers_may_be_categories_and_are_called_as_in_a_csv(tmp_path):
    """Whole numbers with holes are floats in pandas."""
    parquet.write_table(pa.table({"x": REAL[:4], "c": [2.0, 10.0, None, 2.0]}), tmp_path / "c.parquet")
    column = tables.read_table(tmp_path / "c.parquet", schema=schema.from_json({"c": "category"})).columns[1]
    assert column.levels == ("2", "10")


def test_the_hash_of_a_row_depends_on_its_entries_alone(file, tmp_path):
    whole = tables.read_table(file, schema=None)
    some = [name for name in COLUMNS if name not in ("null", "time", "list", "constant", "number")]
    rows = np.r_[30:60, 3:10]
    part = pa.table({name: COLUMNS[name][0] for name in some}).take(pa.array(rows))
    parquet.write_table(part, tmp_path / "part.parquet")
    np.testing.assert_array_equal(tables.read_table(tmp_path / "part.parquet", schema=None).hashes, whole.hashes[rows])
    assert len(np.unique(whole.hashes)) == NUM_ROWS


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

"""AnnData files, compared with what anndata reads."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from tests import commands
from tests.own_files import GREY, save_npy
from vae_jax import data
from vae_jax.data import matrices
from vae_jax.data.annotated import Annotated
from vae_jax.data.matrix_sources import annotated_source
from vae_jax.data.splits import row_hashes

CELLS, GENES, SPLITS = 100, 20, ("train", "validation", "test")
ROW = np.arange(CELLS)
RNG = np.random.default_rng(0)
# The first gene says which row it is; the others are mostly 0.
COUNTS = np.column_stack([ROW, RNG.poisson(2, (CELLS, GENES - 1)) * (RNG.random((CELLS, GENES - 1)) < 0.25)])
HOLES = np.column_stack([ROW, np.where(RNG.random((CELLS, GENES - 1)) < 0.2, np.nan, COUNTS[:, 1:] / 4 - 1)])
# Of 8,000 bytes as an array training takes 5,600, and another split less than 1,900; as it is stored X takes 4,500.
AS_STORED, LESS = 5000, 3500


def saved(path: Path, x: Any = COUNTS, obs: dict[str, Any] | None = None, **layers: Any) -> Path:
    rows, columns = x.shape
    frames = [pd.DataFrame(obs or {}, index=[f"cell{row}" for row in range(rows)])]
    frames.append(pd.DataFrame(index=[f"g{column}" for column in range(columns)]))
    anndata.AnnData(x, *frames, layers=layers).write_h5ad(path)
    return path


def load(path: Path, memory: int = 2**30, **options: Any) -> data.Dataset:
    return data.load("own", path=path, memory_gb=memory / 2**30, held_out=0.15, **options)


@pytest.fixture(autouse=True)
def _in_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A matrix is looked at some rows after others."""
    monkeypatch.setattr(matrices, "_AT_ONCE", 70)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layers = {
        "by_column": sparse.csc_matrix(COUNTS.astype(np.int32)),
        "dense": COUNTS.astype(np.float64),
        "real": HOLES,
    }
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    return saved(path, sparse.csr_matrix(COUNTS.astype(np.float32)), **layers)


@pytest.mark.parametrize("layer", [None, "by_column", "dense", "real"])
@pytest.mark.parametrize("rows", [[50, 3, 3, 59, 0, 20, 21, 12], range(7, 31), []], ids=["any", "slice", "none"])
def test_rows_are_those_that_anndata_reads(cells, layer, rows):
    whole = anndata.read_h5ad(cells)
    exact = whole.X if layer is None else whole.layers[layer]
    exact = exact.toarray() if sparse.issparse(exact) else exact
    file = Annotated(cells, layer)
    np.testing.assert_array_equal(file.matrix_rows(np.array(rows, np.int64)), exact[list(rows)])
    assert (len(file), file.shape) == (CELLS, whole.shape)
    assert file.obs_names.tolist() == whole.obs_names.tolist()
    assert file.var_names.tolist() == whole.var_names.tolist()


@pytest.mark.parametrize("memory", [2**30, AS_STORED, LESS], ids=["array", "stored", "file"])
@pytest.mark.parametrize("layer", [None, "by_column", "dense"])
def test_the_splits_are_the_rows_of_the_file_each_once(cells, layer, memory):
    """However they are stored, and wherever they are read from."""
    if (layer, memory) == ("by_column", LESS):
        memory = AS_STORED
    dataset = load(cells, memory, layer=layer)
    assert dataset.contents == data.Contents(data.Variable("count", (GENES,)))
    assert dataset.train.is_streamed == (memory < 2**30)
    examples = [getattr(dataset, split).examples[:] for split in SPLITS]
    assert {of.dtype for of in examples} == {np.dtype(np.int32)}
    found = np.concatenate(examples)
    assert sorted(found[:, 0]) == ROW.tolist()
    np.testing.assert_array_equal(found, COUNTS[found[:, 0]])


@pytest.mark.parametrize("memory", [2**30, AS_STORED], ids=["array", "file"])
@pytest.mark.parametrize(
    ("numbers", "dtype"), [(HOLES, np.float32), (np.abs(4 * HOLES), np.int32)], ids=["real", "counts"]
)
def test_missing_entries_are_known(tmp_path, numbers, dtype, memory):
    train = load(saved(tmp_path / "own.h5ad", numbers), memory).train
    x = train.rows(np.arange(train.number))
    exact = numbers[np.rint(x.value[:, 0] / numbers[1, 0]).astype(int)]
    assert (train.is_streamed, x.value.dtype) == (memory < 2**30, dtype)
    np.testing.assert_array_equal(x.observed, ~np.isnan(exact))
    np.testing.assert_array_equal(x.value, np.nan_to_num(exact))


@pytest.mark.parametrize(("memory", "is_read"), [(AS_STORED, False), (LESS, True)])
def test_a_sparse_matrix_that_fits_into_memory_is_not_read_again(cells, monkeypatch, memory, is_read):
    train, read = load(cells, memory).train, []
    part = matrices.SparseFile.part
    monkeypatch.setattr(matrices.SparseFile, "part", lambda self, rows: (read.append(rows), part(self, rows))[1])
    assert len(train.rows(np.array([3, 1]))) == 2
    assert bool(read) == is_read


@pytest.mark.parametrize("layer", [None, "by_column", "dense"])
def test_the_hash_of_a_row_is_of_its_numbers_alone(cells, layer):
    source = annotated_source(cells, layer, memory_limit=LESS if layer is None else 2**30)
    np.testing.assert_array_equal(source.hashes(), row_hashes(COUNTS))
    assert source.identity(ROW[5:7]) == row_hashes(COUNTS)[5:7].tobytes()


def changed(number: float) -> np.ndarray:
    return np.where((ROW == 7)[:, None] & (np.arange(GENES) == 4), number, COUNTS)


KINDS = {
    "counts in floats": (COUNTS.astype(np.float32), "count", "taken for counts"),
    "counts of one byte": (sparse.csr_matrix(COUNTS.astype(np.uint8)), "count", "taken for counts"),
    "zeros and ones": (sparse.csr_matrix((COUNTS > 1).astype(np.float32)), "binary", "zeros and ones"),
    "booleans": (COUNTS > 1, "binary", "taken for zeros and ones"),
    "a half": (sparse.csr_matrix(changed(0.5)), "real", "(no counts: row 7 has 0.5 at gene 'g4')"),
    "a negative number": (changed(-5).astype(int), "real", "(no counts: row 7 has -5 at gene 'g4')"),
    "one hole": (changed(np.nan), "count", "taken for counts, NaN where an entry is missing"),
    "one count": (np.minimum(changed(2), 1) + (changed(2) - COUNTS).clip(0, 1), "count", "taken for counts"),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_the_numbers_are_is_seen_and_said(tmp_path, name):
    x, kind, note = KINDS[name]
    dataset = load(saved(tmp_path / "own.h5ad", x))
    assert dataset.contents.x.kind == kind
    assert note in dataset.notes[0]
    assert dataset.contents.masked == ("NaN" in note)


OBS = {
    "site": pd.Categorical(np.array(["south", "north"])[ROW % 2], categories=["south", "unused", "north"]),
    "name": [f"n{row}" for row in ROW],
    "stage": ROW % 3 + 1,
    "is_old": ROW % 5 == 0,
    "dose": ROW / 4,
    "change": ROW - 20,
    "visit": pd.array(ROW % 4, dtype="Int64"),
    "cluster": pd.Categorical(ROW % 3 + 5),
}
CATEGORY = lambda *levels: data.Variable("category", (), levels)
KNOWN = {
    "site": (CATEGORY("south", "north"), ROW % 2),
    "name": (CATEGORY(*sorted(f"n{row}" for row in ROW)), None),
    "stage": (CATEGORY("1", "2", "3"), ROW % 3),
    "is_old": (CATEGORY("False", "True"), ROW % 5 == 0),
    "dose": (data.Variable("real"), ROW / 4),
    "change": (data.Variable("real"), ROW - 20),
    "visit": (CATEGORY("0", "1", "2", "3"), ROW % 4),
    "cluster": (CATEGORY("5", "6", "7"), ROW % 3),
}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    holes = {
        "no_site": pd.Categorical(np.where(ROW == 9, None, "a")),
        "no_dose": np.where(ROW == 9, np.nan, 1.5),
        "no_visit": pd.array([None if row == 9 else row for row in ROW], dtype="Int64"),
    }
    path = tmp_path_factory.mktemp("described") / "cells.h5ad"
    return saved(path, COUNTS, {**OBS, **holes}, counts=COUNTS, scaled=COUNTS / 2)


@pytest.mark.parametrize("name", KNOWN)
def test_each_cell_is_given_what_its_column_says(described, name):
    dataset = load(described)
    covariate, (variable, values) = dataset.covariates[name], KNOWN[name]
    assert covariate.variable == variable
    for split in SPLITS:
        row, found = getattr(dataset, split).examples[:, 0], getattr(covariate, split)
        assert found.dtype == (np.float32 if variable.kind == "real" else np.int32)
        if values is None:
            assert [variable.levels[code] for code in found] == [f"n{number}" for number in row]
        else:
            np.testing.assert_array_equal(found, values[row])


def test_columns_are_those_that_anndata_reads(described):
    obs, exact = Annotated(described).obs, anndata.read_h5ad(described).obs
    assert list(obs) == list(exact)
    for name, column in obs.items():
        shown = str if exact[name].dtype == "category" else lambda value: value
        plain = [None if pd.isna(value) else value for value in column]
        assert plain == [None if pd.isna(value) else shown(value) for value in exact[name]]


def test_columns_with_missing_entries_and_other_layers_are_noted(described):
    _, *notes = load(described).notes
    left_out = [
        f"the obs column '{name}' is left out: row 9 has no entry" for name in ("no_site", "no_dose", "no_visit")
    ]
    assert [note.removeprefix(f"{described}: ") for note in notes] == [
        *left_out,
        "X is read; data.layer may name one of its layers instead: counts, scaled",
    ]


LABELS: dict[str, tuple[dict[str, Any], np.ndarray | None, tuple[str, ...]]] = {
    "text before others": ({"cell_type": ROW % 2, "label": np.array(["b", "a"])[ROW % 2]}, 1 - ROW % 2, ("a", "b")),
    "types": ({"cell_type": pd.Categorical(np.array(["b", "a"])[ROW % 2], categories=["b", "a"])}, ROW % 2, ("b", "a")),
    "whole numbers": ({"y": 3 * (ROW % 4)}, 3 * (ROW % 4), ()),
    "one that is missing": ({"label": np.where(ROW == 2, np.nan, 1), "targets": ROW % 2 + 1}, ROW % 2 + 1, ()),
    "no classes": ({"y": ROW / 4}, None, ()),
    "others": ({"site": ROW % 4}, None, ()),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_are_of_the_first_column_that_has_them(tmp_path, case):
    obs, labels, levels = LABELS[case]
    dataset = load(saved(tmp_path / "own.h5ad", obs=obs), AS_STORED)
    row = dataset.train.examples[:][:, 0]
    if labels is None:
        assert dataset.train.labels is None
    else:
        np.testing.assert_array_equal(dataset.train.labels, labels[row])
    named = dataset.covariates.get("label")
    assert (named.variable.levels if named else ()) == levels


def drop(*names: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        for name in names:
            del file[name]

    return change


def put(name: str, place: Any, value: Any) -> Callable[[h5py.File], None]:
    """Writes a number into an array of the file, or another array in its place."""

    def change(file: h5py.File) -> None:
        if place is not None:
            file[name][place] = value
        else:
            about = dict(file[name].attrs)
            del file[name]
            file[name] = value
            file[name].attrs.update(about)

    return change


BAD: dict[str, tuple[Callable[[h5py.File], None], str | None, str]] = {
    "another layer": (
        lambda file: None,
        "by_colum",
        r"no layer 'by_colum' .* Did you mean 'by_column'\? In all, its layers are by_c",
    ),
    "no X": (drop("X"), None, r"has no X; its layers are by_column, dense, real, one of which data\.layer may name"),
    "no layers": (drop("layers"), "dense", r"has no layer 'dense' for data\.layer\. In all, it has no layers"),
    "no cells": (drop("obs"), None, r"is no AnnData file of version 0\.7 or later: it has no table 'obs'"),
    "fewer cells": (
        put("obs/_index", None, ["a"] * 99),
        None,
        r"X is \[100, 20\], and obs and var have \[99, 20\] names",
    ),
    "fewer genes": (
        put("var/_index", None, ["a"] * 19),
        "dense",
        r"layer 'dense' is \[100, 20\], .* have \[100, 19\] names",
    ),
    "texts": (
        put("layers/dense", None, np.full((100, 20), b"1")),
        "dense",
        r"must be of numbers or booleans, got \|S1",
    ),
    "a cube": (
        put("layers/dense", None, np.ones((100, 20, 1))),
        "dense",
        r"must be a matrix, dense or sparse .* 'array'",
    ),
    "infinite": (
        put("layers/dense", (33, 2), np.inf),
        "dense",
        r"row 33 has inf at gene 'g2': its numbers must be finite, or NaN",
    ),
    "infinite in float32": (put("layers/real", (33, 2), 1e300), "real", r"row 33 has 1e\+300 at gene 'g2'"),
    "a row of NaN": (put("layers/real", 33, np.nan), "real", r"row 33 has no entry: all of it is NaN"),
    "NaN that is stored": (
        put("X/data", 0, np.nan),
        None,
        r"row 0 has nan at gene 'g\d+': .* finite; only dense ones may be",
    ),
    "a count too large": (
        put("layers/dense", (9, 1), 2.0**31),
        "dense",
        r"row 9 has 2147483648\.0 at gene 'g1': its counts must",
    ),
    "an index too large": (put("X/indices", 3, 20), None, r"cannot be read: .*indices must be < 20"),
    "a negative index": (put("X/indices", 3, -1), None, r"cannot be read: .*indices must be >= 0"),
    "pointers that fall": (put("X/indptr", 5, 10**6), None, r"indptr must rise from 0 to the \d+ numbers"),
    "pointers not from 0": (put("X/indptr", 0, 1), None, r"indptr must rise from 0 to the \d+ numbers"),
    "few pointers": (put("X/indptr", None, np.arange(100)), None, r"indptr must have 101 numbers, .* got \[100\]"),
    "few numbers": (put("X/data", None, np.ones(7)), None, r"indices as many as data, got \[101\], \[\d+\] and \[7\]"),
    "pointers of floats": (
        put("X/indptr", None, np.arange(101) / 2),
        None,
        r"must be whole numbers, got float64 and int32",
    ),
    "columns that are damaged": (put("layers/by_column/indices", 3, 100), "by_column", r"indices must be < 100"),
    "no numbers": (drop("X/data"), None, r"cannot be read: .*data"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named_with_what_is_wrong(cells, tmp_path, case):
    change, layer, message = BAD[case]
    (tmp_path / "cells.h5ad").write_bytes(cells.read_bytes())
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        change(file)
    with pytest.raises(data.DataError, match=rf"cells\.h5ad.*{message}"):
        load(tmp_path / "cells.h5ad", layer=layer)


@pytest.mark.parametrize(
    "content", [lambda whole: whole[: len(whole) // 2], lambda whole: b"no HDF5" * 99, lambda whole: b""]
)
def test_a_file_that_ends_early_or_is_no_hdf5_is_named(cells, tmp_path, content):
    (tmp_path / "own.h5ad").write_bytes(content(cells.read_bytes()))
    with pytest.raises(data.DataError, match=r"own\.h5ad cannot be read: "):
        load(tmp_path / "own.h5ad")


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_a_file_without_numbers_is_named(tmp_path, shape):
    message = rf"own\.h5ad holds no numbers: it has {shape[0]} cells and {shape[1]} genes"
    with pytest.raises(data.DataError, match=message):
        load(saved(tmp_path / "own.h5ad", np.ones(shape), {"depth": np.arange(shape[0])}))


def test_columns_that_cannot_be_turned_into_rows_in_memory_are_refused(cells):
    with pytest.raises(data.DataError, match=r"layer 'by_column' is stored by columns .* save it as a csr_matrix"):
        load(cells, LESS, layer="by_column")


def test_a_column_of_another_length_is_left_out_and_named(cells, tmp_path):
    (tmp_path / "own.h5ad").write_bytes(cells.read_bytes())
    with h5py.File(tmp_path / "own.h5ad", "r+") as file:
        file["obs/short"] = np.ones(7)
        file["obs/short"].attrs.update(file["layers/dense"].attrs)
        file["obs"].attrs["column-order"] = ["short", "short"]
    dataset = load(tmp_path / "own.h5ad")
    assert (dict(dataset.covariates), len(dataset.notes)) == ({}, 3)
    assert "obs column 'short' cannot be read: it has 7 entries, and there are 100 cells; it is" in dataset.notes[1]


@pytest.mark.parametrize("name", ["anndata", "h5py"])
def test_what_is_to_be_installed_is_said(cells, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(data.DataError, match=r"cells\.h5ad needs anndata: pip install 'vae_jax\[anndata\]'"):
        load(cells)


def test_layers_are_of_annotated_files(tmp_path):
    with pytest.raises(
        ValueError, match=r"data\.layer is the name of one in an \.h5ad file, got 'counts' for .*own\.npy"
    ):
        load(save_npy(tmp_path / "own.npy", GREY), layer="counts")
    with pytest.raises(ValueError, match=r"in an \.h5ad file of data\.path, got 'counts' for digits_5k"):
        data.load("digits_5k", layer="counts")


def test_pictures_are_not_in_annotated_files(cells):
    with pytest.raises(data.DataError, match=r"data\.image_size and data\.channels are for pictures, not for a matrix"):
        load(cells, channels=1)


def test_counts_are_trained_from_the_file_given_type_and_total(tmp_path):
    types = np.array(["T", "B"])[ROW % 2]
    path = saved(tmp_path / "cells.h5ad", COUNTS / 2, {"cell_type": types}, counts=sparse.csr_matrix(COUNTS))
    commands.train(
        tmp_path / "run",
        *(f"--config.data.{name}={value}" for name, value in {"path": path, "layer": "counts"}.items()),
        *("--config.data.condition=label,size", f"--config.data.memory_gb={LESS / 2**30}"),
        *("--config.model.network=mlp(hidden=(8,))", "--config.model.latent_dim=2"),
        *(f"--config.training.{name}=10" for name in ("batch_size", "log_every", "eval_every", "checkpoint_every")),
        *("--config.training.num_steps=20", "--config.evaluation.num_samples=10"),
    )
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"]["likelihood"] == "negative_binomial"
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["remarks"]["test.nll"] == "log p(x|label, total)"

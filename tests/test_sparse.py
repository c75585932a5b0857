"""Sparse matrices in .npz files, compared with what SciPy reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tests.own_files import Touches, save_npz
from vae_jax import data
from vae_jax.data.splits import row_hashes, sparse_row_hashes

ROW = np.arange(90)
RNG = np.random.default_rng(0)
# The first column says which row it is.
COUNTS = np.column_stack([ROW, RNG.poisson(3, (90, 19)) * (RNG.random((90, 19)) < 0.1)]).astype(np.int32)
AS_ARRAY = COUNTS.nbytes
CSR = {"format": b"csr", "shape": (3, 4), "indptr": [0, 2, 2, 3], "indices": [0, 3, 1], "data": [1, 2, 3]}
COO = {"format": b"coo", "shape": (3, 4), "row": [0, 0, 2], "col": [0, 3, 1], "data": [1, 2, 3]}


def load(path: Path, memory: int = 2**30, **options: Any) -> data.Dataset:
    return data.load("own", path=path, memory_gb=memory / 2**30, held_out=0.15, **options)


def all_of(dataset: data.Dataset) -> np.ndarray:
    return np.concatenate([split.examples[:] for split in (dataset.train, dataset.validation, dataset.test)])


@pytest.mark.parametrize("memory", [2**30, int(0.65 * AS_ARRAY)], ids=["array", "streamed"])
@pytest.mark.parametrize("is_array", [True, False], ids=["array", "matrix"])
@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
def test_the_splits_are_the_rows_that_scipy_reads(tmp_path, kind, is_array, memory):
    matrix = getattr(sparse, f"{kind}_{'array' if is_array else 'matrix'}")(COUNTS)
    sparse.save_npz(tmp_path / "own.npz", matrix, compressed=is_array)
    dataset, exact = load(tmp_path / "own.npz", memory), sparse.load_npz(tmp_path / "own.npz").toarray()
    assert dataset.train.is_streamed == (memory < 2**30)
    found = all_of(dataset)
    assert sorted(found[:, 0]) == ROW.tolist()
    np.testing.assert_array_equal(found, exact[found[:, 0]])


@pytest.mark.parametrize(
    ("dtype", "unit", "kind"),
    [
        (np.uint8, 1, "count"),
        (np.float64, 1, "count"),
        (np.float16, 1, "count"),
        (np.float32, 0.25, "real"),
        (np.int64, -1, "real"),
        (np.dtype(">f4"), 0.25, "real"),
    ],
)
def test_numbers_of_any_type_are_kept(tmp_path, dtype, unit, kind):
    numbers = (unit * COUNTS).astype(dtype)
    sparse.save_npz(tmp_path / "own.npz", sparse.csr_array(numbers.astype(np.float64)))
    arrays = dict(np.load(tmp_path / "own.npz"))
    dataset = load(save_npz(tmp_path / "own.npz", **{**arrays, "data": arrays["data"].astype(dtype)}))
    found = all_of(dataset)
    assert (dataset.contents.x.kind, found.dtype) == (kind, np.int32 if kind == "count" else np.float32)
    np.testing.assert_array_equal(found, numbers[np.rint(found[:, 0] / unit).astype(int)])


@pytest.mark.parametrize("kind", ["csr", "coo"])
def test_entries_that_are_stored_twice_are_summed(tmp_path, kind):
    where = {"row": [0, 0, 2], "col": [3, 3, 1]} if kind == "coo" else {"indptr": [0, 2, 2, 3], "indices": [3, 3, 1]}
    path = save_npz(tmp_path / "own.npz", format=kind, shape=(3, 4), data=[1.5, 2.5, 7.0], **where)
    dataset = load(path)
    assert dataset.contents.x.kind == "count"
    assert sorted(map(tuple, all_of(dataset))) == [(0, 0, 0, 0), (0, 0, 0, 4), (0, 7, 0, 0)]


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool])
def test_the_hash_of_a_sparse_row_is_that_of_the_row(dtype):
    """-0 is stored in some places, and rows of zeros are among them."""
    numbers = np.where(RNG.random((50, 7)) < 0.3, RNG.normal(size=(50, 7)), -0.0).astype(dtype)
    stored = sparse.coo_array(np.ones((50, 7))).tocsr()
    stored = sparse.csr_array((numbers.ravel(), stored.indices, stored.indptr), shape=(50, 7))
    for of in (sparse.csr_array(numbers), stored):
        np.testing.assert_array_equal(sparse_row_hashes(of.data, of.indices, of.indptr, 7), row_hashes(numbers))


def without(arrays: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in arrays.items() if key != name}


BAD = {
    "an index too large": (CSR | {"indices": [0, 4, 1]}, r"indices must be < 4"),
    "a negative index": (CSR | {"indices": [0, -1, 1]}, r"indices must be >= 0"),
    "a row index of 2**63": (CSR | {"indices": np.array([0, 2**63, 1], np.uint64)}, r"cannot be read: "),
    "pointers that fall": (CSR | {"indptr": [0, 3, 2, 3]}, r"indptr must rise from 0 to the 3 numbers"),
    "pointers beyond": (CSR | {"indptr": [0, 2, 2, 4]}, r"indptr must rise from 0 to the 3 numbers"),
    "pointers before": (CSR | {"indptr": [0, -2, 2, 3]}, r"indptr must rise from 0 to the 3 numbers"),
    "pointers not from 0": (CSR | {"indptr": [1, 2, 2, 3]}, r"indptr must rise from 0 to the 3 numbers"),
    "numbers left over": (CSR | {"data": [1, 2, 3, 4], "indices": [0, 3, 1, 1]}, r"indptr must rise from 0 to the 4"),
    "few pointers": (CSR | {"indptr": [0, 2, 3]}, r"indptr must have 4 numbers, .* got \[3\]"),
    "few indices": (CSR | {"indices": [0, 3]}, r"indices as many as data, got \[4\], \[2\] and \[3\]"),
    "indices in two dimensions": (
        CSR | {"indices": [[0, 3, 1]] * 3, "data": np.ones((3, 3))},
        r"cannot be read: .*1-D",
    ),
    "indices of floats": (CSR | {"indices": [0.0, 3.0, 1.0]}, r"indices must be whole numbers, got int64 and float64"),
    "columns for rows": (CSR | {"format": b"csc"}, r"indptr must have 5 numbers"),
    "a row too large": (COO | {"row": [0, 0, 3]}, r"cannot be read: .*3"),
    "a negative column": (COO | {"col": [0, -1, 1]}, r"cannot be read: negative"),
    "few rows": (COO | {"row": [0, 0]}, r"its rows, columns and numbers must be as many"),
    "rows of floats": (COO | {"row": [0.0, 0.0, 2.0]}, r"must be as many, and the first two whole numbers"),
    "no pointers": (without(CSR, "indptr"), r"lacks the array 'indptr' of the format 'csr': save matrix\.tocsr\(\)"),
    "diagonals": (without(CSR, "indices") | {"format": b"dia", "offsets": [0]}, r"format 'dia'; .* save matrix\.tocsr"),
    "three dimensions": (COO | {"shape": (3, 4, 5)}, r"holds \[3, 4, 5\] numbers in the format 'coo'; a matrix"),
    "a negative shape": (CSR | {"shape": (-3, 4)}, r"holds \[-3, 4\] numbers"),
    "no rows": (CSR | {"shape": (0, 4), "indptr": [0], "indices": np.zeros(0, int), "data": []}, r"the shape \[0, 4\]"),
    "complex": (CSR | {"data": [1j, 2, 3]}, r"must be whole, floating or booleans, got complex128"),
    "infinite": (CSR | {"data": [1, 2, np.inf]}, r"row 2 has inf at column 1: its numbers must be finite; only dense"),
    "missing": (CSR | {"data": [1, np.nan, 3]}, r"row 0 has nan at column 3: its numbers must be finite; only dense"),
    "a count too large": (CSR | {"data": [1, 2**31, 3]}, r"row 0 has 2147483648 at column 3: its counts must be whole"),
    "objects": (CSR | {"data": np.array([1, 2, Ellipsis])}, r"lacks the array 'data'|Python objects"),
    "more rows than memory": (COO | {"shape": (2**40, 4)}, r"takes 8\.19e\+03 GiB, .* save it as an \.h5ad file"),
    "more columns than memory": (COO | {"shape": (3, 2**40)}, r"one example has 1099511627776 numbers, more than may"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, case):
    arrays, message = BAD[case]
    with pytest.raises(data.DataError, match=rf"own\.npz.*{message}"):
        load(save_npz(tmp_path / "own.npz", **arrays))


def test_a_matrix_larger_than_memory_is_refused_with_what_to_do(tmp_path):
    sparse.save_npz(tmp_path / "own.npz", sparse.csr_array(COUNTS))
    with pytest.raises(
        data.DataError, match=r"own\.npz .* unpacked it takes .* save it as an \.h5ad file, whose rows are"
    ):
        load(tmp_path / "own.npz", 1000)


def test_no_pickle_in_a_sparse_matrix_is_ever_executed(tmp_path):
    hostile = np.array([Touches(tmp_path / "executed")] * 3)
    with pytest.raises(data.DataError, match=r"own\.npz"):
        load(save_npz(tmp_path / "own.npz", **{**CSR, "data": hostile}))
    assert not (tmp_path / "executed").exists()


def test_an_array_called_data_is_no_sparse_matrix(tmp_path):
    """Unless a format and a shape are beside it."""
    dataset = load(save_npz(tmp_path / "own.npz", data=COUNTS, shape=ROW))
    np.testing.assert_array_equal(dataset.covariates["shape"].test, dataset.test.examples[:, 0])

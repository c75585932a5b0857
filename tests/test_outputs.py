"""Outputs that are written row by row, read back by the libraries that their formats are of."""

import csv
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from experiments.apply.outputs import FORMATS, open_output
from experiments.command.errors import UserError

NUM_ROWS = 11
RNG = np.random.default_rng(0)
FIELDS = {
    "mean": RNG.normal(size=(NUM_ROWS, 3)).astype(np.float32),
    "x": np.asfortranarray(RNG.integers(0, 9, (NUM_ROWS, 2, 2)).astype(np.int32)),
    "elbo": np.where(np.arange(NUM_ROWS) == 4, np.nan, RNG.normal(size=NUM_ROWS)).astype(np.float32),
    "number": RNG.integers(-9, 2**60, NUM_ROWS),
    "double": RNG.normal(size=NUM_ROWS),
    "site": np.array([*"abc", "é, 'd'", 'a "b"', "two\nlines", "", "a\rb" + "x" * 40, *"abc"], object),
    "flag": np.arange(NUM_ROWS) % 3 == 0,
    "one": RNG.normal(size=(NUM_ROWS, 1)),
}
IDS = np.array([f"id {number}" for number in range(9)] + ["ß", "a longer one"], object)
COLUMNS = ["elbo", "number", "double", "site", "flag"]
FLAT = [*(f"mean_{i}" for i in range(3)), *(f"x_{i}" for i in range(4)), *COLUMNS, "one_0"]


def write(path: Path, *, ids: np.ndarray | None = IDS, fields: dict | None = None, size: int = 4, **options) -> Path:
    """Writes the rows in blocks."""
    fields = FIELDS if fields is None else fields
    options = {"overwrite": False, "id_name": "patient", "layer": "imputed"} | options
    with open_output(path, **options) as output:
        for start in range(0, NUM_ROWS, size):
            rows = slice(start, start + size)
            output.write(
                None if ids is None else ids[rows].astype(str), {name: values[rows] for name, values in fields.items()}
            )
    assert [file.name for file in path.parent.iterdir() if file.name.startswith(".")] == []
    return path


def test_npz_holds_the_arrays_as_they_are_without_python_objects(tmp_path):
    with np.load(write(tmp_path / "o.npz"), allow_pickle=False) as found:
        assert list(found) == ["patient", *FIELDS]
        for name, values in FIELDS.items():
            np.testing.assert_array_equal(found[name], values if name != "site" else values.astype(str))
            assert name == "site" or found[name].dtype == values.dtype
        assert found["patient"].tolist() == IDS.tolist()


def test_csv_holds_texts_that_read_as_the_same_numbers_of_their_type(tmp_path):
    path = write(tmp_path / "o.csv")
    assert b"\r\n" not in path.read_bytes()
    with path.open(encoding="utf-8", newline="") as file:
        names, *rows = csv.reader(file)
    assert names == ["patient", *FLAT]
    found = dict(zip(names, zip(*rows, strict=True), strict=True))
    assert list(found["patient"]) == IDS.tolist()
    assert list(found["site"]) == FIELDS["site"].tolist()
    for place in range(3):
        np.testing.assert_array_equal(np.array(found[f"mean_{place}"], np.float32), FIELDS["mean"][:, place])
    np.testing.assert_array_equal(np.array(found["x_2"], int), FIELDS["x"][:, 1, 0])
    np.testing.assert_array_equal(np.array(found["double"], float), FIELDS["double"])
    np.testing.assert_array_equal(np.array(found["number"], np.int64), FIELDS["number"])
    np.testing.assert_array_equal(np.array(found["flag"], int), FIELDS["flag"])
    assert found["elbo"][4] == ""
    assert max(map(len, found["mean_0"])) <= 13  # the shortest, not float64's 17 digits


def test_parquet_keeps_the_types(tmp_path):
    found = parquet.read_table(write(tmp_path / "o.parquet"))
    assert found.column_names == ["patient", *FLAT]
    assert found["patient"].to_pylist() == IDS.tolist()
    assert found["site"].to_pylist() == FIELDS["site"].tolist()
    np.testing.assert_array_equal(found["mean_1"].to_numpy(), FIELDS["mean"][:, 1])
    assert [str(found.schema.field(name).type) for name in ("mean_0", "double", "x_0", "flag")] == [
        "float",
        "double",
        "int32",
        "bool",
    ]
    np.testing.assert_array_equal(found["elbo"].to_numpy(), FIELDS["elbo"])


def test_h5ad_has_columns_in_obs_x_in_a_layer_and_other_arrays_in_obsm(tmp_path):
    found = anndata.read_h5ad(write(tmp_path / "o.h5ad"))
    assert found.obs_names.tolist() == IDS.tolist()
    assert found.obs.columns.tolist() == COLUMNS
    assert found.obs["site"].tolist() == FIELDS["site"].tolist()
    np.testing.assert_array_equal(found.obs["elbo"], FIELDS["elbo"])
    np.testing.assert_array_equal(found.obsm["X_vae_mean"], FIELDS["mean"])
    np.testing.assert_array_equal(found.layers["imputed"], FIELDS["x"].reshape(NUM_ROWS, 4))
    assert found.var_names.tolist() == list("0123")


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_without_ids_have_none_but_in_h5ad_their_numbers(tmp_path, suffix):
    path = write(tmp_path / f"o{suffix}", ids=None, id_name="elbo", fields={"elbo": FIELDS["double"]})
    if suffix == ".npz":
        assert list(np.load(path)) == ["elbo"]
    elif suffix == ".h5ad":
        assert anndata.read_h5ad(path).obs_names.tolist() == [str(number) for number in range(NUM_ROWS)]
    else:
        assert (parquet.read_table if suffix == ".parquet" else pd.read_csv)(path).shape == (NUM_ROWS, 1)


@pytest.fixture
def cells(tmp_path) -> Path:
    columns = {"elbo": np.zeros(NUM_ROWS), "kind": pd.Categorical(["a"] * NUM_ROWS)}
    obs = pd.DataFrame(columns, index=pd.Index(IDS, dtype="string"))
    adata = anndata.AnnData(np.ones((NUM_ROWS, 4), np.float32), obs, pd.DataFrame(index=list("wxyz")))
    with anndata.settings.override(allow_write_nullable_strings=True):
        adata.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def test_an_h5ad_from_another_is_a_copy_with_more_in_it(tmp_path, cells):
    fields = {name: FIELDS[name] for name in ("mean", "x", "double", "site")}
    found = anndata.read_h5ad(write(tmp_path / "o.h5ad", fields=fields, like=cells))
    assert found.obs.columns.tolist() == ["elbo", "kind", "double", "site"]
    assert found.var_names.tolist() == list("wxyz")
    np.testing.assert_array_equal(found.X, 1)
    np.testing.assert_array_equal(found.layers["imputed"], FIELDS["x"].reshape(NUM_ROWS, 4))
    np.testing.assert_array_equal(found.obsm["X_vae_mean"], FIELDS["mean"])
    assert anndata.read_h5ad(cells).obs.columns.tolist() == ["elbo", "kind"]


@pytest.mark.parametrize("copied", [True, False])
def test_elements_of_x_are_found_by_their_names_in_an_h5ad(tmp_path, cells, copied):
    """In a copy they stand in the order of the copied file."""
    path = write(tmp_path / "o.h5ad", like=cells if copied else None, overwrite=True, element_names=list("zxwy"))
    found = anndata.read_h5ad(path)
    assert found.var_names.tolist() == list("wxyz" if copied else "zxwy")
    np.testing.assert_array_equal(found[:, list("zxwy")].layers["imputed"], FIELDS["x"].reshape(NUM_ROWS, 4))


@pytest.mark.parametrize("name", ["row_index", "x"])
def test_a_number_for_each_row_is_a_column_of_obs_whatever_it_is_called(tmp_path, name):
    found = anndata.read_h5ad(write(tmp_path / "o.h5ad", fields={name: FIELDS["double"]}))
    np.testing.assert_array_equal(found.obs[name], FIELDS["double"])


def test_a_latent_of_more_axes_is_a_row_of_obsm(tmp_path):
    found = anndata.read_h5ad(write(tmp_path / "o.h5ad", fields={"mean": FIELDS["x"]}))
    np.testing.assert_array_equal(found.obsm["X_vae_mean"], FIELDS["x"].reshape(NUM_ROWS, 4))


def test_ids_without_a_name_are_called_id_and_never_like_an_array(tmp_path):
    path = write(tmp_path / "o.csv", id_name=None, fields={"elbo": FIELDS["double"]})
    assert pd.read_csv(path)["id"].tolist() == IDS.tolist()
    with pytest.raises(UserError, match="'elbo' names the rows and what is computed of them"):
        write(tmp_path / "o.npz", id_name="elbo")


def test_what_the_input_has_already_is_replaced_only_if_asked_for(tmp_path, cells):
    fields = {"elbo": FIELDS["double"]}
    with pytest.raises(UserError, match=r"the input has obs\['elbo'\] already; --overwrite"):
        write(tmp_path / "o.h5ad", fields=fields, like=cells)
    found = anndata.read_h5ad(write(tmp_path / "o.h5ad", fields=fields, like=cells, overwrite=True))
    np.testing.assert_array_equal(found.obs["elbo"], FIELDS["double"])
    assert found.obs.columns.tolist() == ["kind", "elbo"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"x": FIELDS["mean"]}, "x has 3 elements, and the file 4 var"),
        ({"elbo/2": FIELDS["double"]}, "holds a slash"),
    ],
)
def test_what_an_h5ad_cannot_hold_is_refused(tmp_path, cells, fields, message):
    with pytest.raises(UserError, match=message):
        write(tmp_path / "o.h5ad", fields=fields, like=cells)
    assert list(tmp_path.iterdir()) == [cells]


def end_early(path: Path, error: BaseException | None) -> None:
    with open_output(path, overwrite=True, id_name=None, layer="x") as output:
        if error is not None:
            output.write(IDS, FIELDS)
            raise error


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_output_is_whole_or_the_older_one(tmp_path, suffix):
    """Whatever ends it, also what is no error of Python's."""
    path = tmp_path / f"o[1]{suffix}"
    path.write_text("older")
    with pytest.raises(UserError, match="exists; --overwrite replaces it"):
        write(path)
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error, match="the end"):
            end_early(path, error("the end"))
    with pytest.raises(UserError, match="would have no rows"):
        end_early(path, None)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]
    write(path, overwrite=True)
    assert path.stat().st_size > 100


@pytest.mark.parametrize(("number", "limit"), [(200_000, 600_000), (100, 2000)])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_disk_that_fills_is_one_message_and_leaves_nothing(tmp_path, largest_file, suffix, number, limit):
    """While rows are written, or at the end: a limit on the size of files stands for the disk."""
    many = {"elbo": RNG.normal(size=number), "mean": RNG.normal(size=(number, 3))}
    largest_file(limit)
    with (
        pytest.raises(UserError) as caught,
        open_output(tmp_path / f"o{suffix}", overwrite=False, id_name=None, layer="x") as output,
    ):
        output.write(None, many)
    start = f"--output={tmp_path / 'o'}{suffix} cannot be written, and nothing of it is left: "
    arrows = "Error writing bytes to file. Detail: [errno 27] " if suffix == ".parquet" else ""
    assert str(caught.value) == f"{start}{arrows}File too large"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("o.txt", r"must be of the kind \.npz, \.csv, \.parquet, \.h5ad"), ("no/o.csv", "there is no folder")],
)
def test_another_place_or_kind_is_refused(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        write(tmp_path / name)


@pytest.mark.parametrize(
    ("suffix", "module", "extra"), [(".parquet", "pyarrow", "tables"), (".h5ad", "anndata", "anndata")]
)
def test_without_the_extra_its_name_is_told(tmp_path, monkeypatch, suffix, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    for name in ("parquet", "annotated"):
        monkeypatch.delitem(sys.modules, f"experiments.apply.{name}", raising=False)
    with pytest.raises(UserError, match=rf"needs {module}: pip install 'vae_jax\[{extra}\]'"):
        write(tmp_path / f"o{suffix}")

"""The rows of a file as the examples of a trained model."""

import itertools
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from tests.row_files import (
    AGES,
    COLUMNS,
    GREY,
    IDS,
    NUM_ROWS,
    NUMBERS,
    PICTURES,
    REAL,
    SITES,
    TABLE,
    VECTORS,
    as_npy,
    write,
    zipped,
)
from vae_jax import data
from vae_jax.data import Contents, Variable
from vae_jax.distributions import Masked


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
@pytest.mark.parametrize("size", [3, 100])
def test_rows_of_a_table_come_in_order_by_the_names_of_the_columns(tmp_path, suffix, size):
    rows = data.open_rows(write(tmp_path / f"rows{suffix}", COLUMNS), TABLE, id_name="name")
    blocks = list(rows.blocks(size, ["unknown"]))
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(block.examples for block in blocks))
    np.testing.assert_array_equal(joined["age"], AGES)
    np.testing.assert_array_equal(joined["number"], NUMBERS)
    np.testing.assert_array_equal(joined["site"], [ord(site) - ord("a") for site in SITES])
    assert {name: leaf.dtype for name, leaf in joined.items()} == {"age": "f4", "number": "i4", "site": "i4"}
    assert [block.start for block in blocks] == list(range(0, NUM_ROWS, size))
    assert list(itertools.chain(*(block.ids for block in blocks))) == IDS
    assert list(itertools.chain(*(block.columns["unknown"].of_rows for block in blocks))) == SITES
    assert rows.number == (None if suffix == ".csv" else NUM_ROWS)
    assert (rows.unused(), rows.unused(["unknown"])) == (["unknown"], [])


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_a_table_may_have_one_row(tmp_path, suffix):
    file = write(tmp_path / f"rows{suffix}", {name: values[:1] for name, values in COLUMNS.items()})
    assert data.open_rows(file, TABLE).read()["number"].tolist() == NUMBERS[:1].tolist()


def test_ids_in_a_csv_file_are_its_texts(tmp_path):
    ids = ["007", "1e3", "1_0", "nan", "", "-0", "1.50", "\u00e4", "2", "3"]
    (block,) = data.open_rows(write(tmp_path / "rows.csv", COLUMNS | {"id": ids}), TABLE).blocks(100)
    assert block.ids.tolist() == ids


@pytest.mark.parametrize(
    ("names", "schema", "found"),
    [
        (["id"], None, "id"),
        (["ids", "patient"], {"patient": "id"}, "patient"),
        (["patient"], {"patient": "ignore"}, None),
        (["patient"], {"somebody": "id"}, None),
    ],
)
def test_the_column_that_names_the_rows_is_found_by_the_schema_or_its_name(tmp_path, names, schema, found):
    file = write(tmp_path / "rows.csv", COLUMNS | dict.fromkeys(names, IDS))
    assert data.open_rows(file, TABLE, schema=schema).id_name == found


def test_a_modelled_column_called_id_names_no_rows(tmp_path):
    contents = Contents({"id": Variable("real")})
    assert data.open_rows(write(tmp_path / "rows.csv", {"id": AGES.tolist()}), contents).id_name is None


def array_file(folder: Path, form: str) -> Path:
    if form == "npy":
        np.save(folder / "x.npy", VECTORS)
    elif form == "npy of version 2":
        with (folder / "x.npy").open("wb") as file:
            np.lib.format.write_array(file, VECTORS, version=(2, 0))
    elif form == "columns first":
        np.save(folder / "x.npy", np.asfortranarray(VECTORS))
    elif form == "npz":
        np.savez_compressed(folder / "x.npz", x=VECTORS, id=IDS)
    elif form == "npz, columns first":
        np.savez(folder / "x.npz", np.asfortranarray(VECTORS))
    else:
        flat = VECTORS.reshape(NUM_ROWS, -1)
        return write(folder / f"x.{form}", {f"x_{place}": flat[:, place].tolist() for place in range(6)})
    return next(folder.glob("x.*"))


FORMS = ["npy", "npy of version 2", "columns first", "npz", "npz, columns first", "csv", "parquet"]


@pytest.mark.parametrize("form", FORMS)
def test_an_array_is_read_from_every_kind_of_file(tmp_path, form):
    rows = data.open_rows(array_file(tmp_path, form), REAL)
    blocks = list(rows.blocks(4))
    assert [len(block.examples) for block in blocks] == [4, 4, 2]
    np.testing.assert_array_equal(rows.read(), VECTORS)
    assert rows.id_name == ("id" if form == "npz" else None)


def test_counts_are_whole_numbers_of_32_bits(tmp_path):
    np.save(tmp_path / "x.npy", NUMBERS.astype(np.float64))
    found = data.open_rows(tmp_path / "x.npy", Contents(Variable("count", ()))).read()
    np.testing.assert_array_equal(found, NUMBERS.astype(np.int32), strict=True)


@pytest.mark.parametrize("form", ["npy", "npz"])
def test_an_array_that_is_stored_row_by_row_is_never_read_as_a_whole(tmp_path, form, monkeypatch):
    rows = data.open_rows(array_file(tmp_path, form), REAL)
    monkeypatch.setattr(np.lib.format, "read_array", None)
    np.testing.assert_array_equal(rows.read(), VECTORS)


WAYS = {
    "bytes": (PICTURES, PICTURES / np.float32(255)),
    "without channels": (PICTURES[..., 0], PICTURES / np.float32(255)),
    "int64": (PICTURES.astype(np.int64), PICTURES / np.float32(255)),
    "16 bits": (PICTURES.astype(np.uint16) * 200, (PICTURES.astype(np.float32) * 200) / np.float32(65535)),
    "16 bits in the dark": ((PICTURES > 99) * np.uint16(256), (PICTURES > 99) * np.float32(256) / np.float32(65535)),
    "16 bits, the brightest": ((PICTURES > 99) * np.uint16(65535), (PICTURES > 99).astype(np.float32)),
    "floats": (PICTURES / 255, (PICTURES / 255).astype(np.float32)),
    "booleans": (PICTURES > 99, (PICTURES > 99).astype(np.float32)),
    "black and white": ((PICTURES > 99).astype(np.uint8), (PICTURES > 99).astype(np.float32)),
}


@pytest.mark.parametrize("way", WAYS)
def test_pictures_are_numbers_from_0_to_1_however_they_are_stored(tmp_path, way):
    stored, expected = WAYS[way]
    np.save(tmp_path / "x.npy", stored)
    found = data.open_rows(tmp_path / "x.npy", GREY).read()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_pictures_may_be_the_columns_of_a_table(tmp_path):
    grey = (PICTURES / 255).astype(np.float32)
    file = write(tmp_path / "x.csv", {f"x_{n}": of.tolist() for n, of in enumerate(grey.reshape(NUM_ROWS, -1).T)})
    np.testing.assert_array_equal(data.open_rows(file, GREY).read(), grey)


def test_a_picture_has_the_channels_of_the_models(tmp_path):
    Image.fromarray(np.repeat(PICTURES[0], 3, axis=2)).save(tmp_path / "x.png")
    np.testing.assert_array_equal(data.open_rows(tmp_path / "x.png", GREY).read(), PICTURES[:1] / np.float32(255))


def test_a_folder_of_pictures_and_one_picture_are_named_by_their_files(tmp_path):
    for number, picture in enumerate(PICTURES):
        folder = tmp_path / ("b" if number % 2 else "a")
        folder.mkdir(exist_ok=True)
        Image.fromarray(picture[..., 0]).save(folder / f"{number}.png")
    rows = data.open_rows(tmp_path, GREY)
    (block,) = rows.blocks(100, ["label"])
    order = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    assert [len(block.examples) for block in rows.blocks(4)] == [4, 4, 2]
    assert block.ids.tolist() == [f"{'b' if number % 2 else 'a'}/{number}.png" for number in order]
    assert block.columns["label"].of_rows.tolist() == ["a"] * 5 + ["b"] * 5
    np.testing.assert_array_equal(block.examples, PICTURES[order] / np.float32(255))
    (one,) = data.open_rows(tmp_path / "a" / "4.png", GREY).read()
    np.testing.assert_array_equal(one, PICTURES[4] / np.float32(255))


def test_pictures_are_made_to_the_size_of_the_models(tmp_path):
    large = np.repeat(np.repeat(PICTURES, 2, axis=1), 2, axis=2)
    np.save(tmp_path / "x.npy", np.repeat(large, 3, axis=3))
    rows = data.open_rows(tmp_path / "x.npy", GREY, image_size=(4, 5), channels=1)
    assert rows.read().shape == PICTURES.shape


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
def test_missing_entries_are_masked_where_the_model_knows_them(tmp_path, suffix):
    if suffix == ".npy":
        np.save(tmp_path / "rows.npy", np.where(VECTORS > 1, np.nan, VECTORS))
        found = data.open_rows(tmp_path / "rows.npy", REAL._replace(masked=True)).read()
        np.testing.assert_array_equal(found.observed, VECTORS <= 1)
        np.testing.assert_array_equal(found.value, np.where(VECTORS > 1, 0, VECTORS))
        return
    holes = {**COLUMNS, "age": [None if n == 3 else age for n, age in enumerate(COLUMNS["age"])]}
    holes = {n: ["" if v is None else v for v in of] for n, of in holes.items()} if suffix == ".csv" else holes
    found = data.open_rows(write(tmp_path / f"rows{suffix}", holes), TABLE._replace(masked=True)).read()
    assert np.flatnonzero(~found["age"].observed).tolist() == [3]
    assert isinstance(found["site"], Masked)
    assert found["site"].observed.all()


def test_what_is_given_stands_beside_x_and_a_label_by_any_of_its_names(tmp_path):
    contents = REAL._replace(condition={"label": Variable("category", (), ("a", "b", "c")), "dose": Variable("real")})
    np.savez(tmp_path / "x.npz", x=VECTORS, targets=SITES, dose=AGES)
    x, c = data.open_rows(tmp_path / "x.npz", contents).read()
    np.testing.assert_array_equal(x, VECTORS)
    np.testing.assert_array_equal(c["label"], [ord(site) - ord("a") for site in SITES])
    np.testing.assert_array_equal(c["dose"], AGES)


def test_a_zip_file_of_another_program_may_have_folders_and_no_suffixes(tmp_path):
    (tmp_path / "x.npz").write_bytes(zipped(("a/", b""), ("a/x", as_npy(VECTORS))))
    np.testing.assert_array_equal(data.open_rows(tmp_path / "x.npz", REAL).read(), VECTORS)


def test_the_rows_of_a_table_in_an_npz_file_are_those_of_its_first_vector(tmp_path):
    file = write(tmp_path / "x.npz", {"version": 3, "whole": np.eye(3), **COLUMNS})
    assert data.open_rows(file, TABLE).number == NUM_ROWS


def test_arrays_beside_the_examples_that_are_no_columns_are_passed_over(tmp_path):
    dates = np.zeros(NUM_ROWS, "M8[D]")
    np.savez(tmp_path / "x.npz", x=VECTORS, objects=np.array([{}], object), few=AGES[1:], dates=dates, age=AGES)
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("notes.txt", "no array")
    rows = data.open_rows(tmp_path / "x.npz", REAL)
    assert rows.names == ["age"]
    np.testing.assert_array_equal(rows.read(), VECTORS)


def test_bytes_are_texts_whatever_they_are(tmp_path):
    columns = {"site": [site.encode() for site in SITES], "id": ["ä".encode(), *[b"\xff"] * 9]}
    file = write(tmp_path / "x.npz", COLUMNS | columns)
    (block,) = data.open_rows(file, TABLE).blocks(100)
    np.testing.assert_array_equal(block.examples["site"], [ord(site) - ord("a") for site in SITES])
    assert block.ids.tolist() == ["ä", *["\ufffd"] * 9]

"""Rows that are refused, by the file, the row and the column."""

import io
import json
import zipfile

import numpy as np
import pytest

from tests.row_files import AGES, COLUMNS, GREY, NUM_ROWS, PICTURES, REAL, SITES, TABLE, VECTORS, as_npy, write, zipped
from vae_jax import data
from vae_jax.data import Contents, DataError, Variable


def test_pictures_of_floats_are_not_made_to_another_size(tmp_path):
    np.save(tmp_path / "x.npy", PICTURES[:, :2] / 255)
    with pytest.raises(DataError, match=r"examples of shape \[2, 5, 1\], and the model's are of shape \[4, 5, 1\]"):
        data.open_rows(tmp_path / "x.npy", GREY, image_size=(4, 5)).read()


def test_what_is_given_has_no_hole_where_x_may_have_some(tmp_path):
    contents = Contents({"age": Variable("real")}, {"number": Variable("count")}, masked=True)
    file = write(tmp_path / "x.csv", COLUMNS | {"number": ["1"] * 9 + ["NA"]})
    with pytest.raises(DataError, match=r"row 9 .*column 'number': 'NA' is a missing entry, and a condition must"):
        data.open_rows(file, contents).read()


def a_table(change: dict) -> dict:
    return {name: of for name, of in (COLUMNS | change).items() if of is not None}


BAD_TABLES = {
    "no such column": (a_table({"age": None, "Age": COLUMNS["age"]}), r"lacks the column 'age'\. Did you mean 'Age'"),
    "another level": (a_table({"site": [*SITES[:9], "d"]}), r"row 9.*column 'site': 'd' is none of the 3 levels"),
    "no number": (a_table({"age": ["1.5"] * 7 + ["old"] * 3}), r"row 7.*column 'age': 'old' is no number"),
    "a hole": (a_table({"age": ["1.5"] * 8 + [""] * 2}), r"row 8.*column 'age': '' is a missing entry, and the model"),
    "no count": (a_table({"number": [0.5] * 10}), r"row 0.*column 'number': 0\.5 is no count"),
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_row_that_is_not_like_the_models_is_refused_by_its_number(tmp_path, case, suffix):
    columns, message = BAD_TABLES[case]
    file = write(tmp_path / f"rows{suffix}", columns)
    with pytest.raises(DataError, match=rf"rows\{suffix}.*{message}") as caught:
        list(data.open_rows(file, TABLE).blocks(4))
    assert "\n" not in str(caught.value)


def of(change) -> np.ndarray:
    values = VECTORS.astype(np.float64)
    change(values)
    return values


BAD_ARRAYS = {
    "another shape": (VECTORS[:, :, :2], REAL, r"examples of shape \[2, 2\], and the model's are of shape \[2, 3\]"),
    "infinite": (of(lambda x: x.__setitem__((8, 1, 2), np.inf)), REAL, r"row 8 has inf at \[1, 2\]"),
    "missing": (of(lambda x: x.__setitem__((8, 1, 2), np.nan)), REAL, r"row 8, \[1, 2\]: NaN is a missing entry"),
    "negative": (np.int64(VECTORS), REAL._replace(x=Variable("count", (2, 3))), "counts must be whole numbers from 0"),
    "a half": (abs(VECTORS), REAL._replace(x=Variable("count", (2, 3))), "counts must be whole numbers from 0"),
    "two": (2 * (VECTORS > 0), REAL._replace(x=Variable("binary", (2, 3))), "zeros and ones must be 0 or 1"),
    "a table": (VECTORS, TABLE, "holds an array, and the model's examples are a table"),
    "no rows": (VECTORS[:0], REAL, "holds no rows"),
    "a number": (np.array(1.0), REAL, "holds no rows"),
    "256": (np.int16(PICTURES) + 1, GREY, "pictures must be whole numbers .* got int16 from [0-9]* to 256"),
    "dark": (np.int16(PICTURES) - 9, GREY, r"pictures must be whole numbers .* got int16 from -[0-9] to"),
    "bright": (np.float32(PICTURES), GREY, "pictures must be floats from 0 to 1"),
    "text": (np.full((NUM_ROWS, 2, 3), "a"), REAL, r"its numbers must be whole, floating or booleans, got <U1"),
    "text for pictures": (np.full((NUM_ROWS, 4, 5), "a"), GREY, r"its numbers must be whole, floating or booleans"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_an_array_that_is_not_like_the_models_is_refused(tmp_path, case):
    values, contents, message = BAD_ARRAYS[case]
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(DataError, match=rf"x\.npy.*{message}"):
        list(data.open_rows(tmp_path / "x.npy", contents).blocks(4))


@pytest.mark.parametrize("values", [VECTORS[:, :, :2], PICTURES[:, :2, :, 0]])
def test_another_shape_is_refused_before_a_row_is_read(tmp_path, values):
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(DataError, match="holds examples of shape"):
        data.open_rows(tmp_path / "x.npy", GREY if values.dtype == np.uint8 else REAL)


def test_a_column_that_the_file_lacks_is_refused_when_it_is_asked_for(tmp_path):
    np.save(tmp_path / "x.npy", VECTORS)
    file = write(tmp_path / "x.csv", COLUMNS)
    with pytest.raises(DataError, match=r"x\.npy lacks the column 'label'\. It has: none"):
        data.open_rows(tmp_path / "x.npy", REAL).blocks(4, ["label"])
    with pytest.raises(DataError, match=r"lacks the column 'nam'\. Did you mean 'name'\? It has: name, site, age"):
        data.open_rows(file, TABLE, id_name="nam")


def test_what_is_neither_zero_nor_one_is_refused_by_its_row(tmp_path):
    file = write(tmp_path / "x.csv", {"x": ["0", "1", "2"]})
    with pytest.raises(DataError, match=r"row 2 .*column 'x': '2' is neither 0 nor 1"):
        data.open_rows(file, Contents({"x": Variable("binary")})).read()


def test_a_count_in_a_column_of_an_array_is_refused_by_its_column(tmp_path):
    file = write(tmp_path / "x.csv", {"x_0": ["1", "2"], "x_1": ["3", "0.5"]})
    with pytest.raises(DataError, match=r"row 1 .*column 'x_1': 0\.5 is no count"):
        data.open_rows(file, Contents(Variable("count", (2,)))).read()


def test_a_table_for_a_model_of_arrays_is_refused_with_the_names_of_its_columns(tmp_path):
    with pytest.raises(DataError, match=r"is a table, .* columns x_0 to x_5, of which 'x_0' is missing"):
        data.open_rows(write(tmp_path / "rows.csv", COLUMNS), REAL)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_file_that_ends_early_is_refused_by_name(tmp_path, suffix, kept):
    path = tmp_path / f"x{suffix}"
    np.save(path, VECTORS) if suffix == ".npy" else np.savez(path, x=VECTORS)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=rf"x\{suffix} cannot be read"):
        data.open_rows(path, REAL).read()


def test_numbers_that_were_changed_in_a_zip_file_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=VECTORS)
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[content.index(VECTORS[5].tobytes()[:8])] ^= 1
    (tmp_path / "x.npz").write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"x\.npz cannot be read: Bad CRC"):
        data.open_rows(tmp_path / "x.npz", REAL).read()


def damaged(compression: int) -> bytes:
    """Returns an .npz file whose numbers are compressed in this way, and some of whose bytes are others."""
    with zipfile.ZipFile(file := io.BytesIO(), "w", compression) as archive:
        archive.writestr("x.npy", as_npy(VECTORS))
    content = bytearray(file.getvalue())
    content[60:80] = b"\xff" * 20
    return bytes(content)


BAD_ZIPS = {
    "LZMA": (damaged(zipfile.ZIP_LZMA), "cannot be read: Corrupt input data"),
    "bzip2": (damaged(zipfile.ZIP_BZIP2), "cannot be read: Invalid data stream"),
    "a name twice": (zipped(("x.npy", as_npy(VECTORS)), ("x", b"")), "cannot be read: it holds 'x' twice"),
    "objects": (zipped(("x.npy", as_npy(VECTORS.astype(object)))), "the array 'x': it holds Python objects"),
    "no array": (zipped(("x.npy", b"text"), ("y.npy", as_npy(AGES))), "the array 'x': it does not begin as an array"),
    "an open bracket": (
        zipped(("x.npy", as_npy(VECTORS).replace(b"(10", b"((("))),
        "the array 'x': its header cannot be read: .*EOF in multi-line",
    ),
    "scalars alone": (zipped(("a.npy", as_npy(np.array(1))), ("b.npy", as_npy(np.array(1)))), "holds no rows"),
}


@pytest.mark.parametrize("case", BAD_ZIPS)
def test_an_npz_file_without_examples_is_refused_with_the_reason(tmp_path, case):
    content, message = BAD_ZIPS[case]
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match=rf"x\.npz.*{message}"):
        data.open_rows(tmp_path / "x.npz", REAL).read()


def test_a_number_that_float64_does_not_hold_is_refused_by_its_row(tmp_path):
    ages = AGES.astype(np.longdouble)
    ages[4] = np.finfo(np.longdouble).max
    with pytest.raises(DataError, match=r"row 4, column 'age': .* is infinite in float32"):
        data.open_rows(write(tmp_path / "x.npz", COLUMNS | {"age": ages}), TABLE).read()


@pytest.mark.parametrize("text", ["-nan", "1_0"])
def test_only_what_is_a_number_in_training_is_one(tmp_path, text):
    file = write(tmp_path / "x.csv", a_table({"age": ["1.5"] * 9 + [text]}))
    with pytest.raises(DataError, match=rf"row 9 .*'{text}' is no number"):
        data.open_rows(file, TABLE._replace(masked=True)).read()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no.csv", "no.csv does not exist"),
        ("x.txt", "x.txt is of the kind .txt, .* no pictures; give an .npy"),
        ("", "is a folder, and the model's examples are no pictures; give an .npy"),
    ],
)
def test_other_paths_are_refused(tmp_path, name, message):
    (tmp_path / "x.txt").write_text(json.dumps([1]))
    with pytest.raises((DataError, FileNotFoundError), match=message):
        data.open_rows(tmp_path / name, REAL)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds no image files \(.*\.png"):
        data.open_rows(tmp_path, GREY)


def test_a_layer_is_of_an_h5ad_file(tmp_path):
    np.save(tmp_path / "x.npy", VECTORS)
    with pytest.raises(ValueError, match=r"a layer is one of an \.h5ad file, got 'counts' for .*x\.npy"):
        data.open_rows(tmp_path / "x.npy", REAL, layer="counts")

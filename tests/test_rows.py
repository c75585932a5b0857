"""The rows of a file as the examples of a trained model."""

import io
import itertools
import json
import zipfile
from pathlib import Path

import jax
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from vae_jax import data
from vae_jax.data import Contents, DataError, Variable
from vae_jax.distributions import Masked

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


PICTURES = RNG.integers(0, 256, (NUM_ROWS, 4, 5, 1)).astype(np.uint8)
PICTURES[9, 0, 0] = 255
GREY = data.pictures((4, 5, 1))
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


def test_pictures_of_floats_are_not_made_to_another_size(tmp_path):
    np.save(tmp_path / "x.npy", PICTURES[:, :2] / 255)
    with pytest.raises(DataError, match=r"examples of shape \[2, 5, 1\], and the model's are of shape \[4, 5, 1\]"):
        data.open_rows(tmp_path / "x.npy", GREY, image_size=(4, 5)).read()


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


def zipped(*members: tuple[str, bytes]) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def as_npy(values: np.ndarray) -> bytes:
    np.save(file := io.BytesIO(), values, allow_pickle=True)
    return file.getvalue()


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


def test_a_zip_file_of_another_program_may_have_folders_and_no_suffixes(tmp_path):
    (tmp_path / "x.npz").write_bytes(zipped(("a/", b""), ("a/x", as_npy(VECTORS))))
    np.testing.assert_array_equal(data.open_rows(tmp_path / "x.npz", REAL).read(), VECTORS)


def test_the_rows_of_a_table_in_an_npz_file_are_those_of_its_first_vector(tmp_path):
    file = write(tmp_path / "x.npz", {"version": 3, "whole": np.eye(3), **COLUMNS})
    assert data.open_rows(file, TABLE).number == NUM_ROWS


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

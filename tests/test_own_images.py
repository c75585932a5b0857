"""One's own images: arrays in files and folders of pictures."""

import jax
import numpy as np
import pytest
from PIL import Image

from tests.own_files import COLOUR, GREY, LABELS, NUM, save_folder, save_npy, save_npz
from vae_jax import data

SPLITS = ("train", "validation", "test")


def assert_is(dataset: data.Dataset, images: np.ndarray, labels: np.ndarray | None) -> None:
    """Asserts that the splits are `images`, no two of which are alike, each once and in order, with their labels."""
    places = {image.tobytes(): row for row, image in enumerate(images.astype(np.uint8))}
    found = []
    for name in SPLITS:
        split = getattr(dataset, name)
        assert split.examples.dtype == np.uint8
        rows = [places[image.tobytes()] for image in split.examples]
        assert rows == sorted(rows)
        found += rows
        if labels is None:
            assert split.labels is None
        else:
            np.testing.assert_array_equal(split.labels, labels[rows])
            assert split.labels.dtype == np.int32
    assert sorted(found) == list(range(len(images)))


@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("kind", ["npy", "npz", "folder"])
def test_the_splits_are_the_images_of_the_file_each_once(tmp_path, kind, images):
    path = tmp_path / f"own.{kind}"
    {"npy": save_npy, "npz": lambda p, x: save_npz(p, x=x), "folder": save_folder}[kind](path, images)
    dataset = data.load("own", path=path)
    assert_is(dataset, images, None)
    assert dataset.event_shape == images.shape[1:]
    assert_is(data.load("own", path=str(path)), images, None)


@pytest.mark.parametrize("images", ["x", "images", "data"])
@pytest.mark.parametrize("labels", ["y", "labels", "label", "targets"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_arrays_of_an_npz_are_found_by_their_names(tmp_path, images, labels, save):
    save(tmp_path / "own.npz", **{labels: LABELS, "extra": np.zeros(3), images: GREY})
    assert_is(data.load("own", path=tmp_path / "own.npz"), GREY, LABELS)


def test_an_npz_of_one_array_may_call_it_anything(tmp_path):
    assert_is(data.load("own", path=save_npz(tmp_path / "own.npz", faces=GREY[..., 0])), GREY, None)


@pytest.mark.parametrize("last", ["fly", b"fly", b"\xff"])
def test_labels_of_text_are_numbered_in_alphabetical_order(tmp_path, last):
    first = ["ant", "bee", "cat", "cow", "dog", "eel"]
    words = np.array([*(first if isinstance(last, str) else map(str.encode, first)), last])
    assert_is(data.load("own", path=save_npz(tmp_path / "own.npz", x=GREY, y=words[LABELS])), GREY, LABELS)


def test_a_path_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    save_npy(tmp_path / "own.npy", GREY)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert_is(data.load("own", path="~/own.npy"), GREY, None)


def test_sub_folders_are_the_classes_in_alphabetical_order(tmp_path):
    """And a class may have folders below."""
    classes = ("cat", "ant", "bee")
    save_folder(tmp_path, GREY, below=lambda row: f"{classes[row % 3]}/{'deeper' if row == 4 else ''}")
    ordered = sorted(range(NUM), key=lambda row: (classes[row % 3], row == 4, row))  # "ant/deeper" is ant's last
    labels = np.array([{"ant": 0, "bee": 1, "cat": 2}[classes[row % 3]] for row in ordered])
    assert_is(data.load("own", path=tmp_path), GREY[ordered], labels)


def test_a_picture_beside_the_classes_leaves_all_without_labels(tmp_path):
    save_folder(tmp_path, GREY, below=lambda row: "a" if row else "")
    dataset = data.load("own", path=tmp_path)
    assert [split.labels for split in (dataset.train, dataset.validation, dataset.test)] == [None, None, None]


def test_files_that_are_no_pictures_are_passed_over(tmp_path):
    save_folder(tmp_path, GREY)
    (tmp_path / "readme.txt").write_text("no picture")
    (tmp_path / "000.png").rename(tmp_path / "000.PNG")
    assert_is(data.load("own", path=tmp_path), GREY, None)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "bool"])
def test_zeros_and_ones_are_black_and_white(tmp_path, dtype):
    bits = (GREY > 127).astype(dtype)
    assert_is(data.load("own", path=save_npy(tmp_path / "own.npy", bits)), np.where(GREY > 127, 255, 0), None)


def test_floats_keep_their_depth(tmp_path):
    numbers = np.random.default_rng(0).uniform(size=(NUM, 6, 9)).astype(np.float32)
    dataset = data.load("own", path=save_npy(tmp_path / "own.npy", numbers))
    assert dataset.contents == data.pictures((6, 9, 1))
    found = np.concatenate([dataset.train.examples, dataset.validation.examples, dataset.test.examples])
    assert set(map(bytes, found)) == set(map(bytes, numbers))


def test_sixteen_bits_keep_their_depth(tmp_path):
    deep = np.random.default_rng(0).integers(0, 2**16, (NUM, 6, 9)).astype(np.uint16)
    dataset = data.load("own", path=save_npy(tmp_path / "own.npy", deep))
    assert dataset.contents == data.pictures((6, 9, 1))
    assert dataset.train.examples.dtype == np.uint16
    exact = dataset.train.examples[:3] / 65535
    view = data.view(dataset)
    observed = jax.vmap(view.observe)(jax.random.split(jax.random.key(0), 3), dataset.train.examples[:3])
    np.testing.assert_allclose(observed, exact, rtol=1e-6)


@pytest.mark.parametrize("kind", ["npy", "folder"])
def test_images_are_cut_from_the_centre_and_made_grey_or_colour(tmp_path, kind):
    path = tmp_path / f"own.{kind}"
    {"npy": save_npy, "folder": save_folder}[kind](path, GREY)
    dataset = data.load("own", path=path, image_size=(6, 3), channels=3)
    assert_is(dataset, np.repeat(GREY[:, :, 3:6], 3, axis=-1), None)
    assert dataset.event_shape == (6, 3, 3)


def test_pictures_of_all_sizes_and_kinds_are_made_alike(tmp_path):
    for row in range(NUM):
        mode, size = ("L", "RGB", "RGBA")[row % 3], (4 + row, 33 - row)
        grey = (8 * row, (8 * row,) * 3, (8 * row,) * 3 + (255,))[row % 3]
        Image.new(mode, size, grey).save(tmp_path / f"{row:03d}.png")
    exact = np.tile(8 * np.arange(NUM).reshape(-1, 1, 1, 1), (1, 5, 7, 1))
    assert_is(data.load("own", path=tmp_path, image_size=(5, 7), channels=1), exact, None)


def test_held_out_is_the_fraction_of_validation_and_of_test(tmp_path):
    """But for the chance in the hashes: 4 standard deviations of 5,000 draws."""
    images = np.random.RandomState(2).randint(0, 256, (5000, 2, 3)).astype(np.uint8)
    dataset = data.load("own", path=save_npy(tmp_path / "own.npy", images), held_out=0.3)
    np.testing.assert_allclose([len(dataset.validation.examples), len(dataset.test.examples)], 1500, atol=130)


@pytest.mark.parametrize("kind", ["npy", "folder"])
def test_images_larger_than_memory_are_streamed(tmp_path, kind):
    path = tmp_path / f"own.{kind}"
    {"npy": save_npy, "folder": save_folder}[kind](path, GREY)
    dataset, held = data.load("own", path=path, memory_gb=1000 / 2**30), data.load("own", path=path)
    assert isinstance(dataset.train.examples, data.Streamed)
    for name in SPLITS:
        np.testing.assert_array_equal(getattr(dataset, name).examples[:], getattr(held, name).examples)


def test_numbers_with_missing_entries_are_streamed_as_they_are_held(tmp_path):
    numbers = np.where(np.arange(4) == np.arange(NUM)[:, None] % 7, np.nan, GREY.reshape(NUM, -1)[:, :4] / 7)
    path = save_npy(tmp_path / "own.npy", numbers)
    streamed, held = data.load("own", path=path, memory_gb=500 / 2**30), data.load("own", path=path)
    assert (streamed.train.is_streamed, streamed.contents) == (True, held.contents)
    places = {row.tobytes(): place for place, row in enumerate(np.nan_to_num(numbers).astype(np.float32))}
    for name in SPLITS:
        split = getattr(held, name)
        found = getattr(streamed, name).rows(np.arange(split.number))
        jax.tree.map(np.testing.assert_array_equal, found, split.examples)
        rows = [places[row.tobytes()] for row in found.value]
        np.testing.assert_array_equal(found.observed, ~np.isnan(numbers[rows]))


def test_a_row_of_another_kind_among_many_is_named_with_what_to_do(tmp_path):
    """Of an array larger than memory some rows are looked at, and this is not one of them."""
    numbers = np.random.default_rng(0).integers(0, 99, (5000, 9))
    numbers[1003, 2] = -4
    path = save_npy(tmp_path / "own.npy", numbers)
    message = r"own\.npy: its counts must be .*; row 1003 has -4 at column 2\. .* a larger data\.memory_gb has all"
    with pytest.raises(data.DataError, match=message):
        data.load("own", path=path, memory_gb=1e-4).train.examples[:]
    assert data.load("own", path=path).contents.x.kind == "real"


@pytest.mark.parametrize("kind", ["npy", "folder"])
def test_no_rows_of_streamed_images_are_no_images(tmp_path, kind):
    """An array gives them too, and the batches of no steps are none."""
    path = tmp_path / f"own.{kind}"
    {"npy": save_npy, "folder": save_folder}[kind](path, GREY)
    images = data.load("own", path=path, image_size=(6, 3), memory_gb=400 / 2**30).train.examples
    assert isinstance(images, data.Streamed)
    assert images[5:5].shape == (0, 6, 3, 1)
    assert images[np.zeros((0, 4), np.int32)].shape == (0, 4, 6, 3, 1)


def test_raw_files_are_of_named_data_sets(tmp_path):
    with pytest.raises(ValueError, match=r"data\.manual_dir .*data\.path"):
        data.load("own", path=save_npy(tmp_path / "own.npy", GREY), manual_dir=tmp_path)


def test_objects_beside_the_images_are_left_out_and_named(tmp_path):
    path = save_npz(tmp_path / "own.npz", x=GREY, y=LABELS, about=np.array([{"made": "here"}]))
    dataset = data.load("own", path=path)
    assert_is(dataset, GREY, LABELS)
    assert any("the array 'about', which cannot be read, is left out" in note for note in dataset.notes)

"""One's own folders of pictures: which files count, once, of which class and in which split."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from tests.own_files import COLOUR, GREY, NUM, save_folder
from vae_jax import data
from vae_jax.data import folders

SPLITS = ("train", "validation", "test")


def in_splits(folder: Path, *names: str) -> Path:
    """The thirty images dealt to sub-folders in turn, each in a class below: a, b, a, b …"""
    return save_folder(folder, GREY, below=lambda row: f"{names[row % len(names)]}/{'ab'[row // len(names) % 2]}")


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Train", "valid", "Test"), ("train", "validation", "test")]
)
def test_sub_folders_called_as_splits_are_the_splits(tmp_path, names):
    """And the folders below them are the classes."""
    dataset = data.load("own", path=in_splits(tmp_path, *names))
    for number, split in enumerate(SPLITS):
        images, labels = getattr(dataset, split)
        rows = sorted(range(number, NUM, 3), key=lambda row: (row // 3 % 2, row))
        np.testing.assert_array_equal(images, GREY[rows])
        np.testing.assert_array_equal(labels, [row // 3 % 2 for row in rows])


def test_a_class_has_one_number_in_all_splits(tmp_path):
    """Though the test images have no class a."""
    save_folder(tmp_path, GREY, below=lambda row: "train/" + "abc"[row % 3] if row < 20 else "test/" + "bc"[row % 2])
    assert set(data.load("own", path=tmp_path).test.labels) == {1, 2}


def test_a_split_without_a_folder_is_held_out_of_the_training_images(tmp_path):
    dataset = data.load("own", path=in_splits(tmp_path, "train", "test"))
    assert [len(getattr(dataset, split).examples) for split in SPLITS] == [14, 1, 15]


def test_a_picture_may_have_a_name_that_is_not_in_utf8(tmp_path):
    (save_folder(tmp_path, GREY[:1]) / "000.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    (source,) = folders.folder_sources(tmp_path, size=None, channels=None).values()
    assert source.identity(np.arange(1)).startswith(b"\xff.png/")


MIXED = {
    "a class beside": (
        ("train", "test", "cat"),
        "has the sub-folders test, train, which are .* but cat lies beside them",
    ),
    "no train": (("val", "test"), "has the sub-folders test, val, .* but none of them is called train"),
    "two of one": (("train", "val", "validation"), ".*val and validation are one split"),
}


@pytest.mark.parametrize("case", MIXED)
def test_splits_that_make_no_sense_are_refused_by_name(tmp_path, case):
    names, said = MIXED[case]
    with pytest.raises(data.DataError, match=f"data.path {re.escape(str(tmp_path))}.{said}"):
        data.load("own", path=in_splits(tmp_path, *names))


def test_a_picture_beside_splits_is_refused_by_name(tmp_path):
    save_folder(tmp_path, GREY, below=lambda row: "train" if row else "")
    with pytest.raises(data.DataError, match=r"000\.png lies beside them"):
        data.load("own", path=tmp_path)


def test_a_split_without_pictures_is_refused_by_name(tmp_path):
    (in_splits(tmp_path, "train") / "test").mkdir()
    with pytest.raises(data.DataError, match="test holds no image files"):
        data.load("own", path=tmp_path)


def test_a_picture_of_another_split_must_be_like_the_training_images(tmp_path):
    save_folder(tmp_path / "train", GREY)
    save_folder(tmp_path / "test", COLOUR)
    with pytest.raises(data.DataError, match=r"test/000\.png is 6×9 colour, but .*train/000\.png is 6×9 grey"):
        data.load("own", path=tmp_path)


def images_of(path: Path) -> np.ndarray:
    """All images, in the order of their bytes."""
    dataset = data.load("own", path=path)
    images = np.concatenate([getattr(dataset, split).examples for split in SPLITS])
    return np.array(sorted(images.tolist()), np.uint8)


def in_classes(folder: Path) -> Path:
    return save_folder(folder, GREY, below=lambda row: "ab"[row % 2])


ALL = np.array(sorted(GREY.tolist()), np.uint8)


def test_what_begins_with_a_dot_is_left_out(tmp_path):
    save_folder(in_classes(tmp_path) / ".ipynb_checkpoints", COLOUR[:1])
    save_folder(tmp_path / "a" / ".thumbnails", COLOUR[:1])
    (tmp_path / "a" / "._000.png").write_text("of macOS")
    np.testing.assert_array_equal(images_of(tmp_path), ALL)
    assert set(data.load("own", path=tmp_path).train.labels) == {0, 1}


def test_a_link_to_a_folder_elsewhere_is_a_class(tmp_path):
    in_classes(tmp_path / "there")
    (tmp_path / "here").mkdir()
    for name in "ab":
        (tmp_path / "here" / name).symlink_to(tmp_path / "there" / name)
    np.testing.assert_array_equal(images_of(tmp_path / "here"), ALL)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_file_counts_once_by_whatever_links(tmp_path, link):
    file = in_classes(tmp_path) / "a" / "000.png"
    link(file, file.with_name("again.png"))
    np.testing.assert_array_equal(images_of(tmp_path), ALL)


def test_a_file_in_two_classes_by_a_link_is_refused_by_name(tmp_path):
    (in_classes(tmp_path) / "b" / "again.png").symlink_to(tmp_path / "a" / "000.png")
    with pytest.raises(data.DataError, match=r"b/again\.png and .*a/000\.png are one file by a link"):
        data.load("own", path=tmp_path)


@pytest.mark.parametrize(("link", "target"), [("c", "a"), ("a/round", "."), ("a/round", "a")])
def test_a_folder_that_is_reached_twice_is_refused_by_name(tmp_path, link, target):
    """One that lies in itself too, which has no end."""
    (in_classes(tmp_path) / link).symlink_to(tmp_path / target)
    with pytest.raises(data.DataError, match="are one folder by a link; remove one"):
        data.load("own", path=tmp_path)


@pytest.mark.parametrize("target", ["nowhere.png", "link.png"])
def test_a_link_that_leads_nowhere_is_named(tmp_path, target):
    (in_classes(tmp_path) / "a" / "link.png").symlink_to(target)
    with pytest.raises(data.DataError, match=r"a/link\.png cannot be read: "):
        data.load("own", path=tmp_path)


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def forbidden(folder: Path):
        if folder.name == "b":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    scandir = os.scandir
    in_classes(tmp_path)
    monkeypatch.setattr(folders.os, "scandir", forbidden)
    with pytest.raises(data.DataError, match=f"{tmp_path / 'b'} cannot be read: Permission denied"):
        data.load("own", path=tmp_path)

"""Arrays kept beside a prepared data set: read instead of it, and never where they are not the same."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import pytest

from tests.raw_files import Examples, assert_holds, publish, write_raw
from vae_jax import data
from vae_jax.data import cache, prepared


class Tiny(NamedTuple):
    """A data_dir in which a data set was loaded once, and what its raw files hold."""

    raw: dict[str, Examples]
    data_dir: Path
    dataset: data.Dataset


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> list[Tiny]:
    """Two that are called mnist, of other images."""
    results = []
    for seed in range(2):
        folder = tmp_path_factory.mktemp("cache")
        raw = write_raw("mnist", folder / "raw", seed)
        with pytest.MonkeyPatch.context() as patch:
            publish(patch, "mnist", folder / "raw")
            dataset = data.load("mnist", data_dir=folder / "tfds", manual_dir=folder / "raw")
        results.append(Tiny(raw, folder / "tfds", dataset))
    return results


@pytest.fixture
def data_dir(tiny, tmp_path) -> Path:
    """The prepared data set, loaded once: from now on its arrays are kept."""
    shutil.copytree(tiny[0].data_dir / "mnist", tmp_path / "mnist")
    data.load("mnist", data_dir=tmp_path)
    return tmp_path


@pytest.fixture
def builds(monkeypatch) -> list[str]:
    """A list that grows with every reading of a prepared data set."""
    names, prepared_sources = [], prepared.prepared_sources

    def counted(name: str, **options):
        names.append(name)
        return prepared_sources(name, **options)

    monkeypatch.setattr(prepared, "prepared_sources", counted)
    return names


def kept(data_dir: Path) -> Path:
    (file,) = (data_dir / "vae_jax").iterdir()
    return file


def test_the_second_load_reads_arrays(tiny, data_dir, builds):
    """Not only the images: their order too, and their labels."""
    dataset = data.load("mnist", data_dir=data_dir)
    assert builds == []
    assert_holds(dataset, tiny[0].raw)
    assert (dataset.name, dataset.event_shape) == ("mnist", (28, 28, 1))
    for split in ("train", "validation", "test"):
        images, labels = getattr(dataset, split)
        np.testing.assert_array_equal(images, getattr(tiny[0].dataset, split).examples)
        np.testing.assert_array_equal(labels, getattr(tiny[0].dataset, split).labels)
        assert (images.dtype, labels.dtype) == (np.uint8, np.int32)


def test_a_data_set_without_labels_is_kept_without_labels(tmp_path, monkeypatch, builds):
    raw = write_raw("binarized_mnist", tmp_path / "raw")
    publish(monkeypatch, "binarized_mnist", tmp_path / "raw")
    for _ in range(2):
        dataset = data.load("binarized_mnist", data_dir=tmp_path / "tfds", manual_dir=tmp_path / "raw")
        assert_holds(dataset, raw)
        assert dataset.train.labels is None
    assert len(builds) == 1


def replace_prepared(data_dir: Path, other: Tiny) -> None:
    shutil.rmtree(data_dir / "mnist")
    shutil.copytree(other.data_dir / "mnist", data_dir / "mnist")


def test_another_prepared_data_set_is_read_anew(tiny, data_dir):
    replace_prepared(data_dir, tiny[1])
    assert_holds(data.load("mnist", data_dir=data_dir), tiny[1].raw)


def test_another_prepared_data_set_in_a_copied_folder_is_read_anew(tiny, data_dir, tmp_path_factory):
    """Though the folder that was copied is as it was."""
    copy = tmp_path_factory.mktemp("copy") / "tfds"
    shutil.copytree(data_dir, copy)
    replace_prepared(copy, tiny[1])
    assert_holds(data.load("mnist", data_dir=copy), tiny[1].raw)


@pytest.mark.parametrize("change", ["touched", "longer", "another file", "a file less", "none is left"])
def test_a_changed_folder_is_read_anew(data_dir, builds, change):
    """Where nothing is left it is missed: the arrays alone are no prepared data set."""
    version = data_dir / "mnist" / "3.0.1"
    features = version / "features.json"
    if change == "touched":
        os.utime(features, ns=(0, 0))
    elif change == "longer":
        before = features.stat()
        features.write_text(features.read_text() + "\n")
        os.utime(features, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "another file":
        (version / "new").touch()
    elif change == "a file less":
        features.unlink()
    else:
        shutil.rmtree(version)
    try:
        data.load("mnist", data_dir=data_dir, manual_dir=data_dir)
    except (data.DataError, FileNotFoundError):
        assert change in ("a file less", "none is left")
    assert builds == ["mnist"]


@pytest.mark.parametrize("length", [0, 1, 100, 5000, -100, -1])
def test_truncated_arrays_are_read_anew(tiny, data_dir, builds, length):
    content = kept(data_dir).read_bytes()
    kept(data_dir).write_bytes(content[:length])
    assert_holds(data.load("mnist", data_dir=data_dir), tiny[0].raw)
    assert builds == ["mnist"]
    data.load("mnist", data_dir=data_dir)
    assert builds == ["mnist"]  # they are whole again


def directory_entry(content: bytes, name: str) -> int:
    """Where the zip file's directory names an array."""
    return content.rindex(name.encode())


# Where a bit is flipped in the file of arrays.
PLACES = {
    "the first byte": lambda content: 0,
    "the name of an array": lambda content: content.index(b"train_images"),
    "the header of an array": lambda content: content.index(b"'shape'"),
    "the number of images": lambda content: content.index(b"(27, 28") + 1,
    "the pixels": lambda content: len(content) // 2,
    "the directory's name of images": lambda content: directory_entry(content, "test_images.npy"),
    "the directory's name of labels": lambda content: directory_entry(content, "train_labels.npy"),
    "the directory's compression": lambda content: directory_entry(content, "test_images.npy") - 46 + 10,
    "the directory's encryption": lambda content: directory_entry(content, "test_images.npy") - 46 + 8,
    "the end": lambda content: len(content) - 10,
}


@pytest.mark.parametrize("bit", [0, 3, 6])
@pytest.mark.parametrize("place", PLACES)
def test_a_flipped_bit_never_gives_other_images(tiny, data_dir, place, bit):
    content = bytearray(kept(data_dir).read_bytes())
    content[PLACES[place](bytes(content))] ^= 1 << bit
    kept(data_dir).write_bytes(content)
    dataset = data.load("mnist", data_dir=data_dir)
    assert_holds(dataset, tiny[0].raw)
    assert [len(getattr(dataset, split).examples) for split in ("train", "validation", "test")] == [27, 3, 10]
    assert all(getattr(dataset, split).labels is not None for split in ("train", "validation", "test"))


def edit(data_dir: Path, change: Callable[[dict, dict], object], *, signed: bool) -> None:
    """Changes what is kept by hand: (what it says of itself, its arrays); `signed` makes the hash the new arrays'."""
    with np.load(kept(data_dir)) as file:
        arrays = dict(file)
    about = json.loads(str(arrays.pop("about")))
    about = change(about, arrays) or about
    if signed:
        about["sha256"] = cache._digest(arrays)
    np.savez(kept(data_dir), about=np.array(json.dumps(about)), **arrays)


# Each makes a change, or returns what stands in the place of what the file says of itself.
EDITS = {
    "inverted": lambda about, arrays: arrays.update(test_images=255 - arrays["test_images"]),
    "another label": lambda about, arrays: arrays["train_labels"].__setitem__(0, 7 - arrays["train_labels"][0]),
    "no hash": lambda about, arrays: about.pop("sha256") and None,
    "a list": lambda about, arrays: [1, 2],
    "a folder that is a number": lambda about, arrays: about.update(folder=3),
    "a size that is none": lambda about, arrays: about.update(train_bytes="x"),
    "objects": lambda about, arrays: arrays.update(test_labels=np.array([None] * 10)),
}
SIGNED = {
    "floats": lambda about, arrays: arrays.update(test_images=arrays["test_images"] / 255),
    "smaller images": lambda about, arrays: arrays.update(test_images=arrays["test_images"][:, :3, :3]),
    "no channels": lambda about, arrays: arrays.update(train_images=arrays["train_images"][..., 0]),
    "two labels": lambda about, arrays: arrays.update(train_labels=arrays["train_labels"][:2]),
    "wide labels": lambda about, arrays: arrays.update(train_labels=arrays["train_labels"].astype(np.int64)),
    "negative labels": lambda about, arrays: arrays.update(train_labels=-1 - arrays["train_labels"]),
    "labels of two splits": lambda about, arrays: arrays.pop("test_labels") is None,
}


@pytest.mark.parametrize("name", [*EDITS, *SIGNED])
def test_arrays_edited_by_hand_are_read_anew(tiny, data_dir, builds, name):
    edit(data_dir, (EDITS | SIGNED)[name], signed=name in SIGNED)
    assert_holds(data.load("mnist", data_dir=data_dir), tiny[0].raw)
    assert builds == ["mnist"]


def test_other_options_have_other_arrays(tiny, data_dir, builds):
    for _ in range(2):
        assert data.load("mnist", data_dir=data_dir, image_size=(20, 14)).event_shape == (20, 14, 1)
        coloured = data.load("mnist", data_dir=data_dir, channels=3)
        np.testing.assert_array_equal(coloured.test.examples, np.repeat(tiny[0].dataset.test.examples, 3, axis=-1))
        assert len(data.load("mnist", data_dir=data_dir, held_out=0.2).validation.examples) == 6
        assert_holds(data.load("mnist", data_dir=data_dir), tiny[0].raw)
    assert len(builds) == 3


def test_arrays_larger_than_memory_are_not_read(tiny, data_dir, builds):
    """27 images of 784 bytes, and the limit is one byte less; at the limit they are read again."""
    streamed = data.load("mnist", data_dir=data_dir, memory_gb=(27 * 784 - 1) / 2**30)
    assert builds == ["mnist"]
    assert isinstance(streamed.train.examples, data.Streamed)
    np.testing.assert_array_equal(streamed.train.examples[:], tiny[0].dataset.train.examples)
    assert streamed.train.examples.identity() == b"mnist/3.0.1/train"
    assert isinstance(data.load("mnist", data_dir=data_dir, memory_gb=27 * 784 / 2**30).train.examples, np.ndarray)
    assert builds == ["mnist"]


def test_a_folder_that_cannot_be_made_is_no_error(tiny, data_dir, builds):
    shutil.rmtree(data_dir / "vae_jax")
    (data_dir / "vae_jax").write_text("a file of the user's")
    for _ in range(2):
        assert_holds(data.load("mnist", data_dir=data_dir), tiny[0].raw)
    assert len(builds) == 2
    assert (data_dir / "vae_jax").read_text() == "a file of the user's"


def test_a_disk_that_is_full_is_no_error_and_leaves_nothing(tiny, data_dir, monkeypatch):
    def savez(file, **arrays) -> NoReturn:
        file.write(b"PK\x03\x04" * 100)
        raise OSError(errno.ENOSPC, "No space left on device")

    kept(data_dir).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", savez)
        assert_holds(data.load("mnist", data_dir=data_dir), tiny[0].raw)
    assert list((data_dir / "vae_jax").iterdir()) == []

"""Data sets of TFDS prepared without TensorFlow: from raw files whose content is known."""

import gzip
import hashlib
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.raw_files import CIFAR_LABELS, Examples, assert_holds, idx, publish, rows_of, write_raw
from vae_jax import data
from vae_jax.data.builders import BUILDERS

NAMES = ("mnist", "fashion_mnist", "kmnist", "emnist/balanced", "binarized_mnist", "cifar10")
IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


class Prepared(NamedTuple):
    """What was written as raw files, and what came of it."""

    raw: dict[str, Examples]
    folder: Path
    data_dir: Path
    dataset: data.Dataset


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> dict[str, Prepared]:
    """Every data set, as loaded for the first time."""
    folder = tmp_path_factory.mktemp("builders")
    results = {}
    with pytest.MonkeyPatch.context() as patch:
        for seed, name in enumerate(NAMES):
            raw = write_raw(name, folder / name, seed)
            publish(patch, name, folder / name)
            dataset = data.load(name, data_dir=folder / "tfds", manual_dir=folder / name)
            results[name] = Prepared(raw, folder / name, folder / "tfds", dataset)
    return results


@pytest.fixture
def mnist(prepared, monkeypatch, tmp_path) -> Path:
    """A copy of the raw files of MNIST, which count as published."""
    publish(monkeypatch, "mnist", prepared["mnist"].folder)
    return Path(shutil.copytree(prepared["mnist"].folder, tmp_path / "raw"))


@pytest.mark.parametrize("name", NAMES)
def test_a_data_set_has_the_images_and_labels_of_its_raw_files(prepared, name):
    raw, _, _, dataset = prepared[name]
    assert_holds(dataset, raw)
    sizes = (30, 12, 10) if name == "binarized_mnist" else (27, 3, 10)
    splits = (dataset.train, dataset.validation, dataset.test)
    assert tuple(len(split.examples) for split in splits) == sizes
    for split in splits:
        assert split.examples.dtype == np.uint8
        assert split.labels is None if name == "binarized_mnist" else split.labels.dtype == np.int32


@pytest.mark.parametrize("name", NAMES)
def test_the_official_reader_finds_the_same_images_and_labels(prepared, name):
    """What is prepared here is what TFDS calls by that name; binary images are zeros and ones there."""
    raw, _, data_dir, _ = prepared[name]
    for split, (images, labels) in raw.items():
        examples = list(tfds.data_source(name, data_dir=data_dir, split=split))
        white = 255 if name == "binarized_mnist" else 1
        found = [white * example["image"] for example in examples]
        found_labels = None if labels is None else [example["label"] for example in examples]
        assert Counter(rows_of(Examples(np.stack(found), found_labels))) == Counter(rows_of(Examples(images, labels)))


def test_images_are_in_the_order_of_the_records(prepared):
    """Those that are streamed too, whatever rows are asked for; three of thirty are held out."""
    data_dir = prepared["mnist"].data_dir
    train, test = (
        np.stack([example["image"] for example in tfds.data_source("mnist", data_dir=data_dir, split=split)])
        for split in ("train", "test")
    )
    np.testing.assert_array_equal(prepared["mnist"].dataset.test.examples, test)
    streamed = data.load("mnist", data_dir=data_dir, memory_gb=10_000 / 2**30).train.examples
    assert isinstance(streamed, data.Streamed)
    rows = np.array([[20, 3], [0, 20]])
    np.testing.assert_array_equal(streamed[rows], np.delete(train, [2, 13, 28], axis=0)[rows])


def test_cifar10_has_the_names_of_its_classes_and_the_numbers_of_its_images(prepared):
    raw, _, data_dir, _ = prepared["cifar10"]
    builder = tfds.builder("cifar10", data_dir=data_dir)
    assert tuple(builder.info.features["label"].names) == CIFAR_LABELS
    for split in ("train", "test"):
        numbered = {example["id"]: example["image"] for example in builder.as_data_source(split=split)}
        assert len(numbered) == len(raw[split].examples)
        for row, image in enumerate(raw[split].examples):
            np.testing.assert_array_equal(numbered[f"{split}_{row:05d}".encode()], image)


def test_no_tensorflow_is_imported(prepared):
    """Neither to prepare nor to read."""
    assert "tensorflow" not in sys.modules


def refused(name: str, data_dir: Path, manual_dir: Path, *, error: type[Exception] = data.DataError) -> str:
    """The message with which `load` refuses the raw files; nothing must be left that passes for prepared."""
    with pytest.raises(error) as caught:
        data.load(name, data_dir=data_dir, manual_dir=manual_dir)
    assert list(data_dir.rglob("*.*.*")) == []  # a version, whole or not
    assert list(data_dir.rglob("*array_record*")) == []
    return str(caught.value)


def url_of(file: str) -> str:
    (url,) = (url for url, info in BUILDERS["mnist"].published.url_infos.items() if info.filename == file)
    return url


def test_unpacked_files_are_accepted_by_their_own_hashes(prepared, mnist, monkeypatch, tmp_path):
    """Two of the four, beside packed ones."""
    hashes = {}
    for file in IDX_FILES[1:3]:
        content = gzip.decompress((mnist / file).read_bytes())
        (mnist / file).unlink()
        (mnist / file).with_suffix("").write_bytes(content)
        hashes[file.removesuffix(".gz")] = hashlib.md5(content).hexdigest()
    monkeypatch.setattr(BUILDERS["mnist"], "raw_md5", hashes)
    assert_holds(data.load("mnist", data_dir=tmp_path / "tfds", manual_dir=mnist), prepared["mnist"].raw)


@pytest.mark.parametrize("file", IDX_FILES)
@pytest.mark.parametrize("damage", ["bit", "truncated", "empty"])
def test_a_damaged_raw_file_is_named_with_its_url(mnist, tmp_path, file, damage):
    content = (mnist / file).read_bytes()
    flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    (mnist / file).write_bytes({"bit": flipped, "truncated": content[:-1], "empty": b""}[damage])
    message = refused("mnist", tmp_path / "tfds", mnist)
    assert str(mnist / file) in message
    assert url_of(file) in message
    assert "damaged" in message


@pytest.mark.parametrize("missing", [*((file,) for file in IDX_FILES), IDX_FILES])
def test_missing_raw_files_are_all_named_with_their_urls(mnist, tmp_path, missing):
    for file in missing:
        (mnist / file).unlink()
    message = refused("mnist", tmp_path / "tfds", mnist, error=FileNotFoundError)
    assert str(mnist) in message
    assert [f"{file}: {url_of(file)}" in message for file in IDX_FILES] == [file in missing for file in IDX_FILES]


@pytest.mark.parametrize("file", IDX_FILES)
def test_an_unpacked_file_of_another_hash_is_named(mnist, tmp_path, file):
    (mnist / file).unlink()
    unpacked = (mnist / file).with_suffix("")
    unpacked.write_bytes(idx(np.zeros((1, 28, 28), np.uint8)))
    message = refused("mnist", tmp_path / "tfds", mnist)
    assert f"{unpacked} " in message
    assert "md5" in message


def test_an_unpacked_file_without_a_published_hash_is_refused(prepared, monkeypatch, tmp_path):
    raw = Path(shutil.copytree(prepared["kmnist"].folder, tmp_path / "raw"))
    publish(monkeypatch, "kmnist", raw)
    (raw / IDX_FILES[0]).rename((raw / IDX_FILES[0]).with_suffix(""))
    message = refused("kmnist", tmp_path / "tfds", raw)
    assert str((raw / IDX_FILES[0]).with_suffix("")) in message
    assert f"only the hash of {IDX_FILES[0]}" in message


@pytest.mark.parametrize("name", NAMES)
def test_the_hashes_are_those_that_were_published(prepared, tmp_path, name):
    """With nothing replaced by a test: files of the right names and formats that are not the published ones."""
    message = refused(name, tmp_path / "tfds", prepared[name].folder)
    assert f"{prepared[name].folder}/" in message
    assert "sha256" in message


def test_a_folder_of_raw_files_that_does_not_exist_is_named(tmp_path):
    message = refused("mnist", tmp_path / "tfds", tmp_path / "nowhere", error=FileNotFoundError)
    assert f"data.manual_dir {tmp_path / 'nowhere'}" in message


def test_a_refused_file_does_not_spoil_the_folder(prepared, mnist, tmp_path):
    content = (mnist / IDX_FILES[0]).read_bytes()
    (mnist / IDX_FILES[0]).write_bytes(content[:-1])
    refused("mnist", tmp_path / "tfds", mnist)
    (mnist / IDX_FILES[0]).write_bytes(content)
    assert_holds(data.load("mnist", data_dir=tmp_path / "tfds", manual_dir=mnist), prepared["mnist"].raw)


def packed(raw: dict[str, Examples]) -> dict[str, np.ndarray]:
    """The bits of every image in 98 bytes, the first bit the highest."""
    parts = {"train": "train", "validation": "valid", "test": "test"}
    weights = 2 ** np.arange(7, -1, -1)
    return {parts[s]: ((raw[s].examples.reshape(-1, 98, 8) > 0) @ weights).astype(np.uint8) for s in raw}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_packed_bits_stand_for_the_text(prepared, monkeypatch, tmp_path, save):
    publish(monkeypatch, "binarized_mnist", prepared["binarized_mnist"].folder)
    save(tmp_path / "binarized_mnist.npz", **packed(prepared["binarized_mnist"].raw))
    dataset = data.load("binarized_mnist", data_dir=tmp_path / "tfds", manual_dir=tmp_path)
    assert_holds(dataset, prepared["binarized_mnist"].raw)


@pytest.mark.parametrize("part", ["train", "valid", "test"])
@pytest.mark.parametrize("change", ["bit", "row", "missing", "type"])
def test_packed_bits_that_are_others_are_refused(prepared, monkeypatch, tmp_path, part, change):
    publish(monkeypatch, "binarized_mnist", prepared["binarized_mnist"].folder)
    arrays = packed(prepared["binarized_mnist"].raw)
    if change == "bit":
        arrays[part][5, 50] ^= 1
    elif change == "row":
        arrays[part] = arrays[part][:-1]
    elif change == "type":
        arrays[part] = arrays[part].astype(np.int32)
    else:
        del arrays[part]
    np.savez(tmp_path / "binarized_mnist.npz", **arrays)
    assert str(tmp_path / "binarized_mnist.npz") in refused("binarized_mnist", tmp_path / "tfds", tmp_path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("place", range(8))
def test_a_flipped_bit_in_the_file_of_packed_bits_is_refused(prepared, monkeypatch, tmp_path, save, place):
    """Wherever it is, and in the first byte of an array."""
    publish(monkeypatch, "binarized_mnist", prepared["binarized_mnist"].folder)
    file = tmp_path / "binarized_mnist.npz"
    save(file, **packed(prepared["binarized_mnist"].raw))
    content = bytearray(file.read_bytes())
    start = 30 + int.from_bytes(content[26:28], "little") + int.from_bytes(content[28:30], "little")
    content[start + place * (len(content) - start) // 8] ^= 2
    file.write_bytes(content)
    assert str(file) in refused("binarized_mnist", tmp_path / "tfds", tmp_path)

"""Prepared data sets that are damaged, and what cannot be prepared: told in one message, never wrong images."""

import errno
import io
import json
import re
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import pytest
from PIL import EpsImagePlugin

from tests.raw_files import Examples, assert_holds, publish, write_raw
from vae_jax import data
from vae_jax.data import builders
from vae_jax.data.builders import BUILDERS

RECORDS = "mnist-train.array_record-00000-of-00001"
FILES = ("dataset_info.json", "features.json", RECORDS, "mnist-test.array_record-00000-of-00001")


class Tiny(NamedTuple):
    """A prepared MNIST of forty images, its raw files and what they hold."""

    raw: dict[str, Examples]
    manual_dir: Path
    version: Path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    folder = tmp_path_factory.mktemp("prepared")
    raw = write_raw("mnist", folder / "raw")
    with pytest.MonkeyPatch.context() as patch:
        publish(patch, "mnist", folder / "raw")
        data.load("mnist", data_dir=folder / "tfds", manual_dir=folder / "raw")
    return Tiny(raw, folder / "raw", folder / "tfds" / "mnist" / "3.0.1")


@pytest.fixture
def version(tiny, tmp_path) -> Path:
    """A copy of the prepared folder, in tmp_path as the data_dir; no arrays are kept beside it."""
    return Path(shutil.copytree(tiny.version, tmp_path / "mnist" / "3.0.1"))


def assert_refused(version: Path) -> str:
    """Asserts that the message names the folder and what to do; returns it."""
    said = f"the prepared data set {re.escape(str(version))} is damaged(.|\n)*delete that folder"
    with pytest.raises(data.DataError, match=said) as caught:
        data.load("mnist", data_dir=version.parent.parent)
    return str(caught.value)


def test_a_prepared_folder_needs_no_raw_files(tiny, version):
    assert_holds(data.load("mnist", data_dir=version.parent.parent), tiny.raw)


def test_an_empty_folder_is_refused(version):
    shutil.rmtree(version)
    version.mkdir()
    assert_refused(version)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(version, file):
    (version / file).unlink()
    assert f"it has no {file}" in assert_refused(version)


@pytest.mark.parametrize("kept", [0, 1, 63, 1000, 30_000, 65_536, 70_000, 131_071])
def test_a_truncated_file_of_records_is_refused(version, kept):
    content = (version / RECORDS).read_bytes()
    assert len(content) > kept
    (version / RECORDS).write_bytes(content[:kept])
    assert_refused(version)


def test_a_flipped_bit_in_the_records_never_gives_wrong_images(tiny, version):
    """Twenty bits, most of them in bytes that are no padding: refused, or without effect."""
    content = (version / RECORDS).read_bytes()
    used = np.flatnonzero(np.frombuffer(content, np.uint8))
    rng = np.random.RandomState(0)
    places = np.concatenate([rng.choice(used, 16), rng.choice(used[:64], 2), rng.choice(len(content), 2)])
    refused = 0
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.randint(8)
        (version / RECORDS).write_bytes(flipped)
        try:
            dataset = data.load("mnist", data_dir=version.parent.parent)
        except data.DataError:
            assert_refused(version)
            refused += 1
        else:
            assert_holds(dataset, tiny.raw)
            shutil.rmtree(version.parent.parent / "vae_jax")
    assert refused >= 16


def edited(change: Callable[[dict], object]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        content = json.loads(text)
        change(content)
        return json.dumps(content)

    return edit


DAMAGED_INFO = {
    "empty": lambda text: "",
    "truncated": lambda text: text[: len(text) // 2],
    "junk": lambda text: "junk",
    "a list": lambda text: "[]",
    "nothing in it": lambda text: "{}",
    "no splits": edited(lambda info: info.pop("splits")),
    "a record too few": edited(lambda info: info["splits"][0].update(shardLengths=["29"])),
    "a record too many": edited(lambda info: info["splits"][1].update(shardLengths=["11"])),
    "a shard too many": edited(lambda info: info["splits"][0].update(shardLengths=["30", "30"])),
    "no shards": edited(lambda info: info["splits"][0].pop("shardLengths")),
    "a length that is none": edited(lambda info: info["splits"][0].update(shardLengths=["many"])),
    "another split": edited(lambda info: info["splits"][0].update(name="trbin")),
    "file names that are none": edited(lambda info: info["splits"][0].update(filepathTemplate="{DATASIT}")),
}


@pytest.mark.parametrize("damage", DAMAGED_INFO)
def test_a_damaged_description_is_refused(version, damage):
    info = version / "dataset_info.json"
    info.write_text(DAMAGED_INFO[damage](info.read_text()))
    assert_refused(version)


@pytest.mark.parametrize(("name", "meant"), [("mnst", "mnist"), ("cifar_10", "cifar10"), ("digits5k", "digits_5k")])
def test_an_unknown_name_is_refused_with_the_nearest(tmp_path, name, meant):
    with pytest.raises(ValueError, match=rf"unknown data set '{name}'\. Did you mean .*'{meant}'"):
        data.load(name, data_dir=tmp_path)


@pytest.mark.parametrize("name", ["emnist/balancd", "mnist/balanced"])
def test_an_unknown_variant_is_refused(tmp_path, name):
    with pytest.raises(data.DataError, match=f"{name}.*"):
        data.load(name, data_dir=tmp_path)


def test_a_data_set_without_images_is_refused_before_anything_is_fetched(monkeypatch, tmp_path):
    monkeypatch.setattr(urllib.request, "urlopen", forbidden)
    with pytest.raises(data.DataError, match=r"imdb_reviews has no images: its features are .*text"):
        data.load("imdb_reviews", data_dir=tmp_path)


def forbidden(*_, **__) -> NoReturn:
    raise AssertionError("this was not to be called")


@pytest.mark.parametrize("name", ["mnist", "emnist/balanced", "binarized_mnist", "cifar10", "svhn_cropped"])
def test_without_a_network_every_file_to_fetch_is_listed(monkeypatch, tmp_path, name):
    """After one look, and not after the minutes for which TFDS would try; svhn_cropped is a builder of TFDS."""
    asked = []

    def unreachable(request: urllib.request.Request, timeout: float) -> NoReturn:
        asked.append(timeout)
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(FileNotFoundError, match="no route to host") as caught:
        data.load(name, data_dir=tmp_path)
    message = str(caught.value)
    assert len(asked) == 1
    assert asked[0] <= 10
    for said in (str(tmp_path), "no route to host", "data.manual_dir", *PUBLISHED[name]):
        assert said in message


PUBLISHED = {
    "mnist": [
        f"https://storage.googleapis.com/cvdf-datasets/mnist/{part}-ubyte.gz"
        for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    ],
    "emnist/balanced": ["https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"],
    "binarized_mnist": [f"/binarized_mnist/binarized_mnist_{part}.amat" for part in ("train", "valid", "test")],
    "cifar10": ["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"],
    "svhn_cropped": [f"/housenumbers/{part}_32x32.mat" for part in ("train", "test", "extra")],
}


def test_what_needs_tensorflow_names_the_extra(monkeypatch, tiny, tmp_path):
    def download_and_prepare(*_, **__) -> NoReturn:
        raise ImportError("No module named 'tensorflow'")

    publish(monkeypatch, "mnist", tiny.manual_dir)
    monkeypatch.setattr(BUILDERS["mnist"], "download_and_prepare", download_and_prepare)
    with pytest.raises(data.DataError, match=r"vae_jax\[tensorflow\]") as caught:
        data.load("mnist", data_dir=tmp_path, manual_dir=tiny.manual_dir)
    for said in ("vae_jax[tensorflow]", "file_format='array_record'", str(tmp_path / "mnist" / "3.0.1")):
        assert said in str(caught.value)


def test_a_disk_that_is_full_leaves_nothing_that_passes_for_prepared(monkeypatch, tiny, tmp_path):
    """And what is prepared afterwards is whole."""

    def some_then_full(images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[int, dict]]:
        for number, example in enumerate(whole(images, labels)):
            if number == 7:
                raise OSError(errno.ENOSPC, "No space left on device")
            yield example

    whole = builders._labelled
    publish(monkeypatch, "mnist", tiny.manual_dir)
    monkeypatch.setattr(builders, "_labelled", some_then_full)
    with pytest.raises(OSError, match="No space left"):
        data.load("mnist", data_dir=tmp_path, manual_dir=tiny.manual_dir)
    assert list(tmp_path.rglob("*.*.*")) == []
    monkeypatch.setattr(builders, "_labelled", whole)
    assert_holds(data.load("mnist", data_dir=tmp_path, manual_dir=tiny.manual_dir), tiny.raw)


def test_records_of_another_format_are_not_called_damaged(version):
    """They may be another program's, and whole."""
    info = version / "dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    (version / RECORDS).rename(version / RECORDS.replace("array_record", "tfrecord"))
    (version / FILES[3]).rename(version / FILES[3].replace("array_record", "tfrecord"))
    with pytest.raises(data.DataError, match="format without random access") as caught:
        data.load("mnist", data_dir=version.parent.parent)
    assert str(version) in str(caught.value)
    assert "damaged" not in str(caught.value)


def test_a_data_set_without_training_images_is_refused(version):
    info = version / "dataset_info.json"
    info.write_text(info.read_text().replace('"train"', '"extra"'))
    (version / RECORDS).rename(version / RECORDS.replace("train", "extra"))
    with pytest.raises(data.DataError, match=r"no split called train; its splits are .*extra"):
        data.load("mnist", data_dir=version.parent.parent)


# Where a class outside TFDS stands in a features.json, in each form that TFDS reads.
NAMED = {
    "at the top": lambda features: features.update(pythonClassName="hostile_module.FeaturesDict"),
    "below": lambda features: features["featuresDict"]["features"]["image"].update(pythonClassName="hostile_module.X"),
    "spelt as in Python": lambda features: (
        features.pop("pythonClassName"),
        features.update(python_class_name="hostile_module.X"),
    ),
    "in the older form": lambda features: features.update(type="hostile_module.FeaturesDict", content={}),
    "in a list": lambda features: features.update(more=[{"pythonClassName": "hostile_module.X"}]),
}


@pytest.mark.parametrize("where", NAMED)
def test_a_prepared_folder_makes_nothing_be_imported(version, monkeypatch, where):
    """TFDS would import the module of a class, of a data set that it does not know itself."""
    (version.parent.parent / "hostile_module.py").write_text("")
    monkeypatch.syspath_prepend(version.parent.parent)
    monkeypatch.delitem(sys.modules, "hostile_module", raising=False)
    version = version.parent.rename(version.parent.parent / "hostile") / version.name
    features = version / "features.json"
    features.write_text(edited(NAMED[where])(features.read_text()))
    with pytest.raises(data.DataError, match=r"names hostile_module\.\w+, which is no part of TFDS"):
        data.load("hostile", data_dir=version.parent.parent)
    assert "hostile_module" not in sys.modules


def test_features_nested_without_end_are_refused(version):
    (version / "features.json").write_text(200_000 * "[")
    assert "recursion" in assert_refused(version)


def test_a_record_is_handed_to_no_program_whatever_its_content(monkeypatch, tiny, tmp_path):
    """PIL goes by content, and runs Ghostscript for PostScript."""
    handed = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given: handed.append(given))
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\nshowpage\n"
    publish(monkeypatch, "mnist", tiny.manual_dir)
    monkeypatch.setattr(
        builders,
        "_labelled",
        lambda images, labels: ((row, {"image": io.BytesIO(text), "label": 0}) for row in range(9)),
    )
    with pytest.raises(data.DataError, match=r"a picture begins with b'%!PS-Ado', as none of PNG, JPEG, GIF and BMP"):
        data.load("mnist", data_dir=tmp_path, manual_dir=tiny.manual_dir)
    assert handed == []

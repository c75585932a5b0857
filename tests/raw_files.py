"""Tiny raw files of published data sets, in the formats in which they are published, and what is in them."""

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from tensorflow_datasets.core.download.checksums import UrlInfo

from vae_jax import data
from vae_jax.data.builders import BUILDERS

SIZES = {"train": 30, "validation": 12, "test": 10}
CIFAR_LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Examples(NamedTuple):
    """Images [n, height, width, channels] as bytes, and labels, as they were drawn."""

    examples: np.ndarray
    labels: np.ndarray | None


def rows_of(split: data.Split | Examples) -> list[bytes]:
    """Every image with its label, to be compared as a multiset."""
    labels = [0] * len(split.examples) if split.labels is None else split.labels
    return [image.tobytes() + bytes([label]) for image, label in zip(split.examples, labels, strict=True)]


def assert_holds(dataset: data.Dataset, raw: dict[str, Examples]) -> None:
    """Asserts that `dataset` has the images of `raw`, each once with its label; validation may be part of train."""
    test, others = Counter(rows_of(raw["test"])), Counter(rows_of(raw["train"]))
    if "validation" in raw:
        assert Counter(rows_of(dataset.validation)) == Counter(rows_of(raw["validation"]))
    else:
        others.subtract(rows_of(dataset.validation))
    assert Counter(rows_of(dataset.test)) == test
    assert Counter(rows_of(dataset.train)) == +others
    assert min(others.values()) >= 0


def draw(
    seed: int, count: int, *, shape: tuple[int, ...] = (28, 28, 1), classes: int = 10, stop: int = 256
) -> Examples:
    rng = np.random.RandomState(seed)
    images = rng.randint(0, stop, (count, *shape)).astype(np.uint8)
    return Examples(images, rng.randint(0, classes, count).astype(np.uint8))


def idx(array: np.ndarray) -> bytes:
    """The format of MNIST: two zeros, 8 for bytes, the number of dimensions, the sizes (big-endian), the bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def idx_files(parts: dict[str, Examples]) -> dict[str, bytes]:
    files = {}
    for part, (images, labels) in parts.items():
        files[f"{part}-images-idx3-ubyte.gz"] = gzip.compress(idx(images[..., 0]))
        files[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(idx(labels))
    return files


def amat(images: np.ndarray) -> bytes:
    """One image a line: zeros and ones with blanks between."""
    return "".join(" ".join(str(bit) for bit in image.ravel()) + "\n" for image in images).encode()


def emnist_zip(config: str, raw: dict[str, Examples]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, file in idx_files({f"emnist-{config}-{split}": raw[split] for split in raw}).items():
            archive.writestr(f"gzip/{name}", file)
    return content.getvalue()


def cifar_tar(raw: dict[str, Examples]) -> bytes:
    """Five batches and a sixth for tests; of every image its label, its reds, its greens and its blues."""
    planes = {
        split: [bytes([y]) + x.transpose(2, 0, 1).tobytes() for x, y in zip(*raw[split], strict=True)] for split in raw
    }
    members = {
        f"data_batch_{batch + 1}.bin": b"".join(planes["train"][6 * batch : 6 * batch + 6]) for batch in range(5)
    }
    members["test_batch.bin"] = b"".join(planes["test"])
    members["batches.meta.txt"] = "\n".join(CIFAR_LABELS).encode() + b"\n\n"
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, file in members.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(file)
            archive.addfile(member, io.BytesIO(file))
    return content.getvalue()


def write_raw(name: str, folder: Path, seed: int = 0) -> dict[str, Examples]:
    """Writes the raw files of a data set of random images to `folder`; returns the images as they must come back."""
    folder.mkdir(parents=True, exist_ok=True)
    base, _, config = name.partition("/")
    kinds = {
        "emnist": {"classes": 47},
        "cifar10": {"shape": (32, 32, 3)},
        "binarized_mnist": {"stop": 2},
    }
    splits = ("train", "validation", "test") if base == "binarized_mnist" else ("train", "test")
    raw = {split: draw(10 * seed + number, SIZES[split], **kinds.get(base, {})) for number, split in enumerate(splits)}
    if base == "binarized_mnist":
        parts = {"train": "train", "validation": "valid", "test": "test"}
        files = {f"binarized_mnist_{parts[split]}.amat": amat(raw[split].examples) for split in raw}
        raw = {split: Examples(255 * images, None) for split, (images, _) in raw.items()}
    elif base == "emnist":
        files = {"gzip.zip": emnist_zip(config, raw)}
    elif base == "cifar10":
        files = {"cifar-10-binary.tar.gz": cifar_tar(raw)}
    else:
        files = idx_files({"train": raw["train"], "t10k": raw["test"]})
    for file, content in files.items():
        (folder / file).write_bytes(content)
    return raw


def publish(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path, *, host: str | None = None) -> None:
    """Makes the hashes of the raw files in `folder` the published ones (at URLs below `host`, where it is given)."""
    builder = BUILDERS[name.partition("/")[0]]
    url_infos = {}
    for url, info in builder.published.url_infos.items():
        content = (folder / info.filename).read_bytes()
        url_infos[url if host is None else f"{host}/{info.filename}"] = UrlInfo(
            size=len(content), checksum=hashlib.sha256(content).hexdigest(), filename=info.filename
        )
    monkeypatch.setattr(builder, "published", SimpleNamespace(url_infos=url_infos))

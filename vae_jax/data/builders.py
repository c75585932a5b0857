"""TFDS builders that prepare without TensorFlow.

Each is TFDS's own builder with another way to read the raw files, so that TFDS reads what is prepared here.
"""

import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.datasets.binarized_mnist import binarized_mnist_dataset_builder as binarized_mnist
from tensorflow_datasets.image_classification import cifar, mnist

from .arrays import read_npz
from .dataset import DataError
from .raw import check_hash, parse_idx, read_raw

Examples = Iterator[tuple[int, dict[str, Any]]]


class _Raw(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder of raw files that the user may have put into `manual_dir`."""

    manual_dir: Path | None = None
    published: Any  # TFDS's own, which knows the URLs

    def _raw(self, dl_manager: Any) -> dict[str, bytes]:
        return read_raw(
            self.published.url_infos,
            manual_dir=self.manual_dir,
            download=dl_manager.download,
            alternative=self._alternative,
        )

    def _alternative(self, folder: Path, filename: str) -> bytes | None:
        return None


class _Idx(_Raw, skip_registration=True):
    raw_md5: ClassVar[dict[str, str]] = {}  # of the uncompressed files

    def _split_generators(self, dl_manager: Any) -> Any:
        files = self._raw(dl_manager)
        return {
            split: _labelled(
                parse_idx(files[f"{part}-images-idx3-ubyte.gz"]), parse_idx(files[f"{part}-labels-idx1-ubyte.gz"])
            )
            for split, part in (("train", "train"), ("test", "t10k"))
        }

    def _alternative(self, folder: Path, filename: str) -> bytes | None:
        file = folder / filename.removesuffix(".gz")
        if not file.exists():
            return None
        if file.name not in self.raw_md5:
            raise DataError(f"{file}: only the hash of {filename} is published for {self.name}; put that file there")
        content = file.read_bytes()
        check_hash(file, content, "md5", self.raw_md5[file.name], f"{filename}, unpacked")
        return content


class Mnist(_Idx, mnist.MNIST, skip_registration=True):
    name = "mnist"
    published = mnist.MNIST
    raw_md5: ClassVar = {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }


class FashionMnist(_Idx, mnist.FashionMNIST, skip_registration=True):
    name = "fashion_mnist"
    published = mnist.FashionMNIST
    # As torchvision's mirrors and others list them; the hashes of the .gz files are TFDS's.
    raw_md5: ClassVar = {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    }


class KMnist(_Idx, mnist.KMNIST, skip_registration=True):
    name = "kmnist"
    published = mnist.KMNIST


class EMnist(_Raw, mnist.EMNIST, skip_registration=True):
    name = "emnist"
    published = mnist.EMNIST

    def _split_generators(self, dl_manager: Any) -> Any:
        (archive,) = self._raw(dl_manager).values()
        with zipfile.ZipFile(io.BytesIO(archive)) as members:

            def array(split: str, kind: str) -> np.ndarray:
                return parse_idx(members.read(f"gzip/emnist-{self.builder_config_name}-{split}-{kind}-ubyte.gz"))

            arrays = {split: (array(split, "images-idx3"), array(split, "labels-idx1")) for split in ("train", "test")}
        return {split: _labelled(*pair) for split, pair in arrays.items()}


class BinarizedMnist(_Raw, binarized_mnist.Builder, skip_registration=True):
    name = "binarized_mnist"
    published = binarized_mnist.Builder

    def _split_generators(self, dl_manager: Any) -> Any:
        files = self._raw(dl_manager)
        parts = {"train": "train", "validation": "valid", "test": "test"}
        return {split: _unlabelled(_parse_amat(files[_amat(part)])) for split, part in parts.items()}

    def _alternative(self, folder: Path, filename: str) -> bytes | None:
        """`binarized_mnist.npz`: arrays "train", "valid" and "test" of bits, packed: uint8 [n, 98]."""
        file = folder / "binarized_mnist.npz"
        if not file.exists():
            return None
        (part,) = (part for part in ("train", "valid", "test") if _amat(part) == filename)
        info = next(info for info in self.published.url_infos.values() if info.filename == filename)
        try:
            packed = read_npz(file, lambda names: [part], memory_limit=info.size)[part]
            bits = np.unpackbits(packed, axis=1)[:, : 28 * 28]
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{file} is damaged: {error}") from error
        # The published text has one image a line, "0 1 … 0\n": its hash is that of these bits.
        text = np.full((len(bits), 2 * bits.shape[1]), ord(" "), np.uint8)
        text[:, ::2] = bits + ord("0")
        text[:, -1] = ord("\n")
        content = text.tobytes()
        check_hash(file, content, "sha256", info.checksum, f"{filename}, whose text the array {part!r} stands for")
        return content


class Cifar10(_Raw, cifar.Cifar10, skip_registration=True):
    name = "cifar10"
    published = cifar.Cifar10

    def _split_generators(self, dl_manager: Any) -> Any:
        (archive,) = self._raw(dl_manager).values()
        published = self._cifar_info
        with tarfile.open(fileobj=io.BytesIO(archive)) as members:

            def read(filename: str) -> bytes:
                member: Any = members.extractfile(published.prefix + filename)
                return member.read()

            features: Any = self.info.features
            features["label"].names = read(published.label_files[0]).decode().split()
            splits = {
                "train": b"".join(read(filename) for filename in published.train_files),
                "test": b"".join(read(filename) for filename in published.test_files),
            }
        return {split: _cifar_examples(split, content) for split, content in splits.items()}


BUILDERS = {builder.name: builder for builder in (Mnist, FashionMnist, KMnist, EMnist, BinarizedMnist, Cifar10)}


def _amat(part: str) -> str:
    return f"binarized_mnist_{part}.amat"


def _parse_amat(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint8).reshape(-1, 2 * 28 * 28)[:, ::2].reshape(-1, 28, 28) - ord("0")


def _labelled(images: np.ndarray, labels: np.ndarray) -> Examples:
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        yield row, {"image": Image.fromarray(image), "label": int(label)}


def _unlabelled(images: np.ndarray) -> Examples:
    for row, image in enumerate(images):
        yield row, {"image": Image.fromarray(image)}


def _cifar_examples(split: str, content: bytes) -> Examples:
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    for row, (label, image) in enumerate(zip(records[:, 0], records[:, 1:].reshape(-1, 3, 32, 32), strict=True)):
        picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
        yield row, {"id": f"{split}_{row:05d}", "image": picture, "label": int(label)}

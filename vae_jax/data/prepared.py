"""Data sets of TFDS, prepared on disk as array records and read without TensorFlow."""

import contextlib
import fcntl
import http.client
import logging
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import naming
from tensorflow_datasets.core.registered import DatasetNotFoundError

from ..names import nearest
from .builders import BUILDERS
from .contents import pictures
from .dataset import DataError, Source
from .images import black_and_white, fit_all, to_bytes
from .order import spread_rows
from .prepared_folder import check_features, check_whole, damaged

# TFDS recommends OpenCV in a warning at every first read.
logging.getLogger("absl").addFilter(lambda record: "OpenCV" not in record.getMessage())

_SECONDS_TO_ANSWER = 4
_LOOKED_AT = 256
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM")


def prepared_sources(
    name: str, *, data_dir: Path, manual_dir: Path | None, size: tuple[int, int] | None, channels: int | None
) -> tuple[Path, dict[str, Source]]:
    """(the version's folder, its splits) of a data set of TFDS, prepared first where it is not yet.

    Raises:
      FileNotFoundError: without a network and without raw files, naming what to fetch and where to put it.
      ValueError: for an unknown name, a damaged raw file or prepared folder, or a set without images.
    """
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    builder = _builder(name, data_dir)
    folder = Path(builder.data_dir)
    feature = _image_feature(name, builder)
    if not folder.exists():
        with _alone(data_dir / f".lock-{name.replace('/', '-')}"):
            if not folder.exists():
                _prepare(name, builder, data_dir, manual_dir)
        builder = _builder(name, data_dir)
    check_whole(builder, folder)
    sources = {}
    for split in ("train", "validation", "test"):
        if split in builder.info.splits:
            sources[split] = _PreparedSplit(builder, split, feature, size, channels)
    if "train" not in sources:
        raise DataError(f"{name} has no split called train; its splits are {', '.join(builder.info.splits)}")
    return folder, sources


class _PreparedSplit:
    def __init__(
        self, builder: Any, split: str, feature: str, size: tuple[int, int] | None, channels: int | None
    ) -> None:
        self._folder, self._feature = Path(builder.data_dir), feature
        self._size, self._channels = size, channels
        features = dict(builder.info.features.items())
        self._labelled = isinstance(features.get("label"), tfds.features.ClassLabel)
        # No other feature is decoded: a film or a sound would be handed to a program.
        wanted = [feature, "label"] if self._labelled else [feature]
        self._features = tfds.features.FeaturesDict({name: features[name] for name in wanted})
        try:
            self._records = builder.as_data_source(
                split=split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
            )
        except NotImplementedError as error:
            raise DataError(
                f"{self._folder} was prepared in a format without random access; choose another data_dir, or delete "
                "that folder and run again"
            ) from error
        self._name = f"{builder.info.full_name}/{split}"
        looked_at = spread_rows(len(self), _LOOKED_AT)
        self._binary = False
        self._binary = black_and_white(np.stack([np.max(r[feature]) for r in self._get(looked_at)]))
        self._shape: tuple[int, ...] | None = None
        self._shape = self.read(looked_at[:1])[0].shape[1:]
        self.contents = pictures(self._shape)

    def __len__(self) -> int:
        return len(self._records)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        records = self._get(rows)
        images = [self._image(record[self._feature]) for record in records]
        labels = np.array([record["label"] for record in records], np.int32) if self._labelled else None
        return np.stack(images), labels

    def identity(self, rows: np.ndarray) -> bytes:
        """Name and version: the files of one version, prepared twice, need not be alike, but their images are."""
        return self._name.encode()

    def _image(self, values: np.ndarray) -> np.ndarray:
        (image,) = fit_all(to_bytes(values[None], binary=self._binary), size=self._size, channels=self._channels)
        if self._shape not in (None, image.shape):
            raise DataError(
                f"{self._folder} holds images of {list(image.shape)} and of {list(self._shape or ())}; data.image_size "
                "and data.channels make them alike"
            )
        return image

    def _get(self, rows: np.ndarray) -> Any:
        try:
            return [self._example(record) for record in self._records.__getitems__([int(row) for row in rows])]
        except Exception as error:  # whatever a reader or decoder makes of damaged bytes
            raise damaged(self._folder, error) from error

    def _example(self, record: Any) -> dict[str, Any]:
        skipped = {self._feature: tfds.decode.SkipDecoding()}
        example: Any = self._features.deserialize_example_np(record, decoders=skipped)
        encoded = bytes(example[self._feature])
        if not encoded.startswith(_MAGIC):  # TFDS would let PIL choose, and hand PostScript to a program
            raise ValueError(f"a picture begins with {encoded[:8]!r}, as none of PNG, JPEG, GIF and BMP does")
        return example | {self._feature: self._features[self._feature].decode_example_np(encoded)}


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Lets one process at a time pass, of those that see the same disk."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _builder(name: str, data_dir: Path) -> Any:
    base, _, config = name.partition("/")
    try:
        check_features(data_dir / naming.parse_builder_name_kwargs(name)[0].name)
        if base in BUILDERS:
            return BUILDERS[base](data_dir=data_dir, config=config or None)
        return tfds.builder(name, data_dir=data_dir)
    except DatasetNotFoundError as error:
        known = {"digits_5k", *tfds.list_builders(with_community_datasets=False)}
        raise ValueError(
            f"unknown data set {base!r}.{nearest(base, sorted(known))} Known are digits_5k and the image data sets of "
            "TFDS; one's own images are read from data.path"
        ) from error
    except DataError:
        raise
    except Exception as error:
        versions = [
            f for f in data_dir.joinpath(*name.split("/")).glob("**/") if re.fullmatch(r"\d+(\.\d+){2}", f.name)
        ]
        if not versions:
            raise DataError(f"{name}: {error}") from error
        raise damaged(max(versions), error) from error


def _image_feature(name: str, builder: Any) -> str:
    features = builder.info.features
    images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
    if not images:
        raise DataError(f"{name} has no images: its features are {', '.join(features)}")
    return "image" if "image" in images else images[0]


def _prepare(name: str, builder: Any, data_dir: Path, manual_dir: Path | None) -> None:
    ours = isinstance(builder, tuple(BUILDERS.values()))
    urls = (builder.published if ours else builder).url_infos or {}
    if ours:
        builder.manual_dir = manual_dir
    _check_reachable(name, urls, data_dir, manual_dir, whole=ours)
    options = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    try:
        builder.download_and_prepare(download_config=options, file_format="array_record")
    except (ImportError, AttributeError) as error:
        if "tensorflow" not in str(error).replace("tensorflow_datasets", ""):
            raise
        raise DataError(
            f"preparing {name} needs TensorFlow: install the extra `tensorflow` (pip install 'vae_jax[tensorflow]'), "
            f"or copy a folder prepared elsewhere, with file_format='array_record', to {builder.data_dir}"
        ) from error
    except (OSError, ValueError):
        raise
    except Exception as error:  # a builder of TFDS may raise anything
        raise DataError(f"{name} could not be prepared in {builder.data_dir}: {error}") from error


def _check_reachable(
    name: str, urls: Mapping[str, Any], data_dir: Path, manual_dir: Path | None, *, whole: bool
) -> None:
    """Asks one of the hosts for an answer: TFDS would try for minutes."""
    if manual_dir is not None and (whole or all((manual_dir / info.filename).exists() for info in urls.values())):
        return
    downloads = data_dir / "downloads"
    cached = {info.read_text() for info in downloads.glob("**/*.INFO")} if downloads.is_dir() else set()
    wanted = [url for url in urls if not any(url in info for info in cached)]
    if not wanted:
        return
    try:
        request = urllib.request.Request(wanted[0], method="HEAD")
        urllib.request.urlopen(request, timeout=_SECONDS_TO_ANSWER).close()
    except urllib.error.HTTPError:
        return  # it answers; TFDS will say what is wrong
    except (OSError, http.client.HTTPException) as error:
        listed = "\n  ".join(urls)
        raise FileNotFoundError(
            f"{name} is not prepared in {data_dir}, and its files cannot be downloaded ({error}). Where there is a "
            f"network, fetch\n  {listed}\nput them into one folder, and give that folder as data.manual_dir; or copy a "
            f"prepared {data_dir.joinpath(*name.split('/'))} here"
        ) from error

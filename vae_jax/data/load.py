"""A data set by its name or its path."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..extras import needed_for
from ..names import check_name
from .cache import cache_file, read_cache, write_cache
from .conditions import with_condition
from .dataset import Dataset, assemble
from .digits import digits_5k
from .embedded import EMBEDDED
from .missing import with_holes
from .splits import SPLIT_RULES


def load(
    name: str,
    *,
    path: str | Path | None = None,
    data_dir: str | Path | None = None,
    manual_dir: str | Path | None = None,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    held_out: float = 0.1,
    memory_gb: float = 2.0,
    split_rule: str = "content",
    schema: str | Path | Mapping[str, Any] | None = None,
    condition: Sequence[str] = (),
    layer: str | None = None,
    missing: float = 0.0,
) -> Dataset:
    """Returns the data set called `name`, or of the data at `path`, in three splits.

    Pictures are bytes [n, height, width, channels], and other arrays what they are, as `Dataset.contents` says.

    Args:
      name: "digits_5k", "wine" or "synthetic_cells", which need no files; or any data set of images that TFDS has, as
        "mnist" or "emnist/balanced". mnist, fashion_mnist, kmnist, emnist, binarized_mnist and cifar10 are prepared
        without TensorFlow.
      path: one's own data: an .npy, .npz, .h5ad, .csv or .parquet file, or a folder of pictures (docs/data.md); the set
        is then called by its path.
      data_dir: where TFDS keeps what is prepared; $TFDS_DATA_DIR or ~/tensorflow_datasets by default.
      manual_dir: a folder of the raw files, for machines that reach no network.
      image_size: (height, width) to crop, centred, and resample to.
      channels: 1 for grey, 3 for colour; as they are by default.
      held_out: the fraction of the training images that validation takes, and test too, where the source has no such
        split: of a data set of TFDS by a fixed shuffle, of one's own images as `split_rule` says.
      memory_gb: training examples of more GiB are streamed: read from disk as they are needed (`Streamed`), or from a
        sparse matrix in memory. An .npz file, which cannot be streamed, is refused.
      split_rule: "content": an image of one's own is held out by a hash of its file's name or its array's row, so that
        images that are added move none from train to test, and equal rows are in one split. "position": by a fixed
        shuffle of all, as earlier versions did.
      schema: what the columns of a .csv or .parquet file are: a JSON file, or what it holds (docs/data.md); None
        guesses.
      condition: what is given beside x: "label", columns of a table or other covariates, and for counts "size", their
        total.
      layer: of an .h5ad file, that which is read in the place of X.
      missing: the fraction of the entries of x that are hidden, at random: to see how well they are imputed.

    Raises:
      FileNotFoundError: for files that are neither there nor to be had, naming them.
      ValueError: for an unknown name, damaged files, or examples that are not alike.
      ModuleNotFoundError: naming the extra, where a package is missing.
    """
    with needed_for(f"the data set {path or name}"):
        dataset = _load(
            name,
            path=path,
            data_dir=data_dir,
            manual_dir=manual_dir,
            image_size=image_size,
            channels=channels,
            held_out=held_out,
            memory_gb=memory_gb,
            split_rule=split_rule,
            schema=schema,
            condition=condition,
            layer=layer,
        )
    is_table = path is not None and dataset.contents.is_table
    dataset = dataset if is_table else with_condition(dataset, condition)
    return with_holes(dataset, missing) if missing else dataset


def _load(
    name: str,
    *,
    path: str | Path | None,
    data_dir: str | Path | None,
    manual_dir: str | Path | None,
    image_size: tuple[int, int] | None,
    channels: int | None,
    held_out: float,
    memory_gb: float,
    split_rule: str,
    schema: str | Path | Mapping[str, Any] | None,
    condition: Sequence[str],
    layer: str | None,
) -> Dataset:
    size = None if image_size is None else (int(image_size[0]), int(image_size[1]))
    limit = int(memory_gb * 2**30)
    if path is not None:
        from .own import own_sources  # these three import much that the bundled digits do not need

        if manual_dir is not None:
            raise ValueError(
                f"data.manual_dir {manual_dir} is for raw files of a named data set; data.path {path} is set"
            )
        check_name(split_rule, "split_rule", SPLIT_RULES)
        sources = own_sources(
            path, size=size, channels=channels, memory_limit=limit, schema=schema, condition=condition, layer=layer
        )
        hashes = sources["train"].hashes() if split_rule == "content" and len(sources) < 3 else None
        return assemble(str(path), sources, held_out=held_out, memory_limit=limit, hashes=hashes)
    if layer is not None:
        raise ValueError(f"data.layer is the name of one in an .h5ad file of data.path, got {layer!r} for {name}")
    if schema is not None:
        raise ValueError(f"data.schema says what the columns of a table of data.path are; the data set is {name}")
    if name in EMBEDDED:
        if manual_dir is not None or size is not None or channels is not None:
            raise ValueError(f"{name} comes with a package as it is: no data.manual_dir, image_size or channels")
        return EMBEDDED[name](held_out)
    if name == "digits_5k":
        if manual_dir is not None or size is not None or channels is not None:
            raise ValueError("digits_5k comes with a package as it is: no data.manual_dir, image_size or channels")
        return digits_5k()
    folder = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets").expanduser()
    cache = cache_file(folder, name, (size, channels, held_out))
    kept = read_cache(cache, memory_limit=limit)
    if kept is not None:
        return kept
    from .prepared import prepared_sources

    manual = None if manual_dir is None else Path(manual_dir).expanduser()
    version, sources = prepared_sources(name, data_dir=folder, manual_dir=manual, size=size, channels=channels)
    dataset = assemble(name, sources, held_out=held_out, memory_limit=limit)
    if not dataset.train.is_streamed:
        write_cache(cache, dataset, version)
    return dataset

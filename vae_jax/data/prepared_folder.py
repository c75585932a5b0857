"""What a prepared folder of TFDS must hold, and must not name."""

import json
import os
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader

from .dataset import DataError


def damaged(folder: Path, reason: object) -> DataError:
    return DataError(
        f"the prepared data set {folder} is damaged or not whole ({reason}); delete that folder, run again"
    )


def check_features(folder: Path) -> None:
    """Raises `DataError` where a prepared data set names a class outside TFDS, whose module TFDS would import."""
    for file in folder.glob("**/features.json"):
        try:
            pending = [json.loads(file.read_text())]
        except Exception as error:  # JSON may be nested deeper than Python counts
            raise damaged(file.parent, error) from error
        while pending:
            value = pending.pop()
            if isinstance(value, list):
                pending.extend(value)
            if not isinstance(value, dict):
                continue
            pending.extend(value.values())
            # Protocol buffers are read with either spelling; the third is TFDS's older form, which has a "content".
            names = [value.get("pythonClassName"), value.get("python_class_name")]
            names += [value.get("type")] * ("content" in value)
            for name in names:
                if isinstance(name, str) and not name.startswith("tensorflow_datasets."):
                    raise damaged(file.parent, f"its features.json names {name}, which is no part of TFDS")


def check_whole(builder: Any, folder: Path) -> None:
    """Raises `DataError` where files or records are missing; TFDS takes any folder named as a version for prepared."""
    for name in ("dataset_info.json", "features.json"):
        if not (folder / name).is_file():
            raise damaged(folder, f"it has no {name}")
    if not builder.info.splits:
        raise damaged(folder, "it lists no splits")
    for split, info in builder.info.splits.items():
        try:
            files = list(zip(info.filepaths, info.shard_lengths, strict=True))
        except Exception as error:  # whatever TFDS makes of what the file lists
            raise damaged(folder, error) from error
        if not files:
            raise damaged(folder, f"it lists no records of {split}")
        for path, count in files:
            if not Path(path).is_file():
                raise damaged(folder, f"it has no {Path(path).name}")
            if builder.info.file_format.value != "array_record":
                continue
            try:
                reader = ArrayRecordReader(os.fspath(path))
                found = reader.num_records()
                reader.close()
            except Exception as error:  # its exceptions are not documented
                raise damaged(folder, error) from error
            if found != count:
                raise damaged(folder, f"{split} should have {count} records in {Path(path).name}, which has {found}")

"""One's own images as files: random ones, with labels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

NUM = 30
GREY = np.random.RandomState(0).randint(0, 256, (NUM, 6, 9, 1)).astype(np.uint8)
COLOUR = np.random.RandomState(1).randint(0, 256, (NUM, 6, 9, 3)).astype(np.uint8)
LABELS = np.arange(NUM, dtype=np.int64) % 7


def save_folder(folder: Path, images: np.ndarray, *, below: Callable[[int], str] = lambda row: "") -> Path:
    """The images as pictures of ascending names, each in the sub-folder that `below` gives for its row."""
    for row, image in enumerate(images):
        file = folder / below(row) / f"{row:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file)
    return folder


def save_npy(file: Path, images: np.ndarray) -> Path:
    np.save(file, images)
    return file


def save_npz(file: Path, **arrays: np.ndarray) -> Path:
    np.savez(file, **arrays)
    return file

"""One's own images as files: random ones, with labels."""

import struct
import zlib
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


class Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def deep_png(colours: np.ndarray) -> bytes:
    """A PNG file of sixteen bits a channel, which PIL reads and does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, _ = colours.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in colours)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)

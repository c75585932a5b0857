"""One's own images where a file is damaged or holds something else: one message that names it."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.own_files import COLOUR, GREY, LABELS, NUM, save_folder, save_npy, save_npz
from vae_jax import data


def changed(images: np.ndarray, where: tuple[int, ...], value: float) -> np.ndarray:
    images = images.astype(np.result_type(images, type(value)))
    images[where] = value
    return images


def npz_of_broken_bits(file: Path) -> Path:
    """One bit of an image's pixels is another: the array's checksum no longer fits."""
    save_npz(file, x=GREY)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    file.write_bytes(content)
    return file


def npz_of_a_method_unknown(file: Path) -> Path:
    """The directory names a compression method that does not exist."""
    save_npz(file, x=GREY)
    content = bytearray(file.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 10] ^= 64
    file.write_bytes(content)
    return file


def npz_of_broken_compression(file: Path) -> Path:
    """The compressed bytes begin with a block of a kind that does not exist."""
    np.savez_compressed(file, x=GREY)
    content = bytearray(file.read_bytes())
    start = 30 + int.from_bytes(content[26:28], "little") + int.from_bytes(content[28:30], "little")
    content[start] = 0b111
    file.write_bytes(content)
    return file


def npz_cut_in_its_header(file: Path) -> Path:
    """One bit makes 3,000 images 2,000: the rest is never read, so that no checksum is compared."""
    save_npz(file, x=np.tile(GREY, (100, 1, 1, 1)))
    file.write_bytes(file.read_bytes().replace(b"(3000, ", b"(2000, ", 1))
    return file


def written(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


def npy_bytes(images: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, images)
    return buffer.getvalue()


# What is made at the path, and what the message must say beside the path.
BAD_FILES = {
    "junk.npy": (lambda p: written(p, b"junk" * 100), "cannot be read"),
    "junk.npz": (lambda p: written(p, b"junk" * 100), "cannot be read"),
    "empty.npy": (lambda p: written(p, b""), "cannot be read"),
    "empty.npz": (lambda p: written(p, b""), "cannot be read"),
    "truncated.npy": (lambda p: written(p, npy_bytes(GREY)[:-1]), "cannot be read"),
    "header.npy": (lambda p: written(p, npy_bytes(GREY)[:40]), "cannot be read"),
    "truncated.npz": (lambda p: written(save_npz(p, x=GREY), p.read_bytes()[:-30]), "cannot be read"),
    "bits.npz": (npz_of_broken_bits, "cannot be read"),
    "method.npz": (npz_of_a_method_unknown, "cannot be read"),
    "compression.npz": (npz_of_broken_compression, "cannot be read"),
    "shape.npz": (npz_cut_in_its_header, "cannot be read"),
    "an.npz": (lambda p: written(p, npy_bytes(GREY)), "cannot be read"),
    "an.npy": (lambda p: save_npz(p.with_suffix(".npz"), x=GREY).rename(p), "cannot be read"),
    "objects.npy": (lambda p: save_npy(p, np.array([None] * NUM)), "cannot be read"),
    "number.npy": (lambda p: save_npy(p, np.array(0.5)), "[]"),
    "flat.npy": (lambda p: save_npy(p, GREY.reshape(NUM, -1)), "54]"),
    "four.npy": (lambda p: save_npy(p, np.zeros((NUM, 4, 4, 4), np.uint8)), "4, 4, 4]"),
    "pixels.npy": (lambda p: save_npy(p, np.zeros((NUM, 0, 4), np.uint8)), "0, 4"),
    "none.npy": (lambda p: save_npy(p, GREY[:0]), "holds no images"),
    "two.npy": (lambda p: save_npy(p, GREY[:2]), "too few to hold out 2 × 1"),
    "nan.npy": (
        lambda p: save_npy(p, changed(GREY / 255, (17, 2, 3, 0), np.nan)),
        "image 17 has nan at pixel [2, 3, 0]",
    ),
    "high.npy": (lambda p: save_npy(p, changed(GREY / 255, (3, 0, 0, 0), 1.5)), "image 3 has 1.5"),
    "bytes.npy": (lambda p: save_npy(p, GREY.astype(np.float32)), "float32 images must lie in [0.0, 1.0]"),
    "wide.npy": (lambda p: save_npy(p, changed(GREY.astype(np.int32), (3, 0, 0, 0), 300)), "image 3 has 300"),
    "complex.npy": (lambda p: save_npy(p, GREY * 1j), "complex128"),
    "names.npz": (lambda p: save_npz(p, a=GREY, b=GREY), "['a', 'b']"),
    "few_labels.npz": (lambda p: save_npz(p, x=GREY, y=LABELS[:-1]), "30 images need as many labels, got [29]"),
    "one_hot.npz": (lambda p: save_npz(p, x=GREY, y=np.eye(NUM)), "30 images need as many labels, got [30, 30]"),
    "halves.npz": (lambda p: save_npz(p, x=GREY, y=LABELS + 0.5), "labels"),
    "nan_label.npz": (lambda p: save_npz(p, x=GREY, y=LABELS * np.nan), "labels"),
    "images.tar": (lambda p: written(p, b""), "must be an .npy or .npz file or a folder"),
    "no_files": (lambda p: p.mkdir(), "holds no image files"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, name):
    make, said = BAD_FILES[name]
    make(tmp_path / name)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / name))) as caught:
        data.load("own", path=tmp_path / name)
    assert said in str(caught.value)


def test_a_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npy does not exist"):
        data.load("own", path=tmp_path / "nowhere.npy")


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "png")
    return buffer.getvalue()


# What stands in the place of one picture among others, and what the message must say.
BAD_PICTURES = {
    "smaller": (png(GREY[0, :5, :, 0]), "is 5×9 grey, but", "data.image_size"),
    "colour": (png(COLOUR[0]), "is 6×9 colour, but", "data.channels"),
    "truncated": (png(GREY[0, ..., 0])[:-40], "cannot be read as an image"),
    "empty": (b"", "cannot be read as an image"),
    "junk": (b"junk" * 100, "cannot be read as an image"),
    "sixteen bits": (png(GREY[0, ..., 0].astype(np.uint16)), "cannot be read as an image", "not bytes"),
}


@pytest.mark.parametrize("row", [0, 17])
@pytest.mark.parametrize("name", BAD_PICTURES)
def test_a_bad_picture_among_others_is_named(tmp_path, name, row):
    """Where the first is the odd one it is named beside the first that is not like it."""
    save_folder(tmp_path, GREY)
    content, *said = BAD_PICTURES[name]
    (tmp_path / f"{row:03d}.png").write_bytes(content)
    with pytest.raises(data.DataError, match=f"{row:03d}.png") as caught:
        data.load("own", path=tmp_path)
    assert str(tmp_path / f"{row:03d}.png") in str(caught.value)
    if row:
        assert all(text in str(caught.value) for text in said)

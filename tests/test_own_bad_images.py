"""One's own images where a file is damaged or holds something else: one message that names it."""

import io
import re
import socket
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from tests.own_files import COLOUR, GREY, LABELS, NUM, Touches, deep_png, save_folder, save_npy, save_npz
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


def header(shape: tuple[int, ...]) -> bytes:
    """An .npy file of bytes without the bytes."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def zipped(file: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a name that is there already
        for name, content in members:
            archive.writestr(name, content)
    return file


# What is made at the path, and what the message must say beside the path.
BAD_FILES = {
    "junk.npy": (lambda p: written(p, b"junk" * 100), "cannot be read"),
    "junk.npz": (lambda p: written(p, b"junk" * 100), "cannot be read"),
    "empty.npy": (lambda p: written(p, b""), "cannot be read"),
    "empty.npz": (lambda p: written(p, b""), "cannot be read"),
    "truncated.npy": (lambda p: written(p, npy_bytes(GREY)[:-1]), "cannot be read"),
    "header.npy": (lambda p: written(p, npy_bytes(GREY)[:40]), "cannot be read"),
    "truncated.npz": (lambda p: written(save_npz(p, x=GREY), p.read_bytes()[:-30]), "is no whole .npz file"),
    "bits.npz": (npz_of_broken_bits, "cannot be read"),
    "method.npz": (npz_of_a_method_unknown, "cannot be read"),
    "compression.npz": (npz_of_broken_compression, "cannot be read"),
    "shape.npz": (npz_cut_in_its_header, "cannot be read"),
    "an.npz": (lambda p: written(p, npy_bytes(GREY)), "cannot be read"),
    "an.npy": (lambda p: save_npz(p.with_suffix(".npz"), x=GREY).rename(p), "cannot be read"),
    "objects.npy": (lambda p: save_npy(p, np.array([None] * NUM)), "Python objects, which are never unpickled"),
    "objects.npz": (lambda p: save_npz(p, x=GREY, y=np.array([None] * NUM)), "y.npy in it: it holds Python objects"),
    "negative.npy": (lambda p: written(p, header((-2, -3, 5)) + bytes(30)), "its header describes [-2, -3, 5] numbers"),
    "huge.npy": (lambda p: written(p, header((10**11, 28, 28))), "its header describes [100000000000, 28, 28]"),
    "huge.npz": (lambda p: zipped(p, ("x.npy", header((10**11, 28, 28)))), "describes [100000000000, 28, 28]"),
    "appended.npy": (lambda p: written(p, 2 * npy_bytes(GREY)), "which take 1620 bytes; it has 3368"),
    "text.npz": (lambda p: zipped(p, ("x", b"no array")), "x in it: it does not begin as an array"),
    "version.npy": (lambda p: written(p, npy_bytes(GREY).replace(b"Y\1", b"Y\3")), "version 3.0"),
    "twice.npz": (lambda p: zipped(p, *2 * [("x.npy", npy_bytes(GREY))]), "it holds 'x' twice"),
    "number.npy": (lambda p: save_npy(p, np.array(0.5)), "[]"),
    "pixels.npy": (lambda p: save_npy(p, np.zeros((NUM, 0, 4), np.uint8)), "0, 4"),
    "none.npy": (lambda p: save_npy(p, GREY[:0]), "holds no examples"),
    "two.npy": (lambda p: save_npy(p, GREY[:2]), "has 2 different training examples: too few to hold out"),
    "infinite.npy": (
        lambda p: save_npy(p, changed(GREY.reshape(NUM, -1) / 7, (3, 5), np.inf)),
        "must be finite, or NaN where one is missing; row 3 has inf at column 5",
    ),
    "empty_row.npy": (lambda p: save_npy(p, changed(GREY.reshape(NUM, -1) / 7, (3,), np.nan)), "row 3 has no entry"),
    "large.npy": (lambda p: save_npy(p, changed(GREY.reshape(NUM, -1) * 9, (3, 5), 2**31)), "row 3 has 2147483648 at"),
    "complex.npy": (lambda p: save_npy(p, GREY * 1j), "complex128"),
    "names.npz": (lambda p: save_npz(p, a=GREY, b=GREY), "['a', 'b']"),
    "few_labels.npz": (lambda p: save_npz(p, x=GREY, y=LABELS[:-1]), "30 examples need as many labels, got [29]"),
    "one_hot.npz": (lambda p: save_npz(p, x=GREY, y=np.eye(NUM)), "30 examples need as many labels, got [30, 30]"),
    "halves.npz": (lambda p: save_npz(p, x=GREY, y=LABELS + 0.5), "label 0 is 0.5"),
    "nan_label.npz": (lambda p: save_npz(p, x=GREY, y=LABELS * np.nan), "label 0 is nan"),
    "minus.npz": (lambda p: save_npz(p, x=GREY, y=LABELS - 2), "from 0 to 2**31 - 1; label 0 is -2"),
    "wide_label.npz": (lambda p: save_npz(p, x=GREY, y=changed(LABELS, (4,), 2**31)), "label 4 is 2147483648"),
    "complex_label.npz": (lambda p: save_npz(p, x=GREY, y=LABELS * 1j), "whole numbers or text, got complex128"),
    "images.tar": (lambda p: written(p, b""), "must be an .npy, .npz, .h5ad, .csv or .parquet file or a folder"),
    "no_files": (lambda p: p.mkdir(), "holds no image files"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, name):
    make, said = BAD_FILES[name]
    make(tmp_path / name)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / name))) as caught:
        data.load("own", path=tmp_path / name)
    assert said in str(caught.value)


@pytest.mark.parametrize("kind", ["npy", "npz"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # numpy's, of what a pickle is
def test_no_pickle_in_a_file_is_ever_executed(tmp_path, kind):
    objects = np.array([Touches(tmp_path / "executed")] * NUM)
    path = save_npy(tmp_path / "own.npy", objects) if kind == "npy" else save_npz(tmp_path / "own.npz", x=objects)
    with pytest.raises(data.DataError, match="never unpickled"):
        data.load("own", path=path)
    np.load(path, allow_pickle=True)["x" if kind == "npz" else 0]  # the control: here it is
    assert (tmp_path / "executed").exists()


def test_an_npz_larger_than_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "own.npz", x=np.zeros((500, 64, 64), np.uint8))
    monkeypatch.setattr(np.lib.format, "read_array", None)
    with pytest.raises(data.DataError, match=r"takes 0\.00191 GiB.* \(0\.001 GiB, data\.memory_gb\): save .* \.npy"):
        data.load("own", path=tmp_path / "own.npz", memory_gb=0.001)


@pytest.mark.parametrize("path", ["nowhere.npy", "~nobody_of_this_name/x.npy"])
def test_a_path_that_does_not_exist_is_named(path):
    with pytest.raises(FileNotFoundError, match=f"data.path {path} does not exist"):
        data.load("own", path=path)


def png(array: np.ndarray) -> bytes:
    return encoded([array], "png")


def encoded(frames: list[np.ndarray], kind: str) -> bytes:
    buffer = io.BytesIO()
    first, *others = [Image.fromarray(frame) for frame in frames]
    first.save(buffer, kind, save_all=bool(others), append_images=others)
    return buffer.getvalue()


FRAMES = list(GREY[:2, ..., 0])
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 6\n%%EndComments\nshowpage\n"


# What stands in the place of one picture among others, and what the message must say.
BAD_PICTURES = {
    "smaller": (png(GREY[0, :5, :, 0]), "is 5×9 grey, but", "data.image_size"),
    "colour": (png(COLOUR[0]), "is 6×9 colour, but", "data.channels"),
    "truncated": (png(GREY[0, ..., 0])[:-40], "cannot be read as an image"),
    "empty": (b"", "cannot be read as an image"),
    "junk": (b"junk" * 100, "cannot be read as an image"),
    "sixteen bits": (png(GREY[0, ..., 0].astype(np.uint16)), "cannot be read as an image", "not bytes", "to 8 bits"),
    "sixteen bits of colour": (deep_png(COLOUR[0]), "not bytes", "RGB;16B", "convert it to 8 bits"),
    "sixteen bits of a ppm": (b"P6 9 6 65535\n" + bytes(2 * 9 * 6 * 3), "not bytes", "convert it to 8 bits"),
    "two frames of a gif": (encoded(FRAMES, "gif"), "several frames", "save each"),
    "two frames of a tiff": (encoded(FRAMES, "tiff"), "several frames"),
    "two frames of a png": (encoded(FRAMES, "png"), "several frames"),
    "two frames of a webp": (encoded(FRAMES, "webp"), "several frames"),
    "PostScript": (POSTSCRIPT, "cannot be read as an image", "cannot identify"),
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


def test_a_picture_is_handed_to_no_program_whatever_its_content(tmp_path, monkeypatch):
    """PIL goes by content, and runs Ghostscript for PostScript."""
    handed = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given: handed.append(given))
    (save_folder(tmp_path, GREY) / "005.png").write_bytes(POSTSCRIPT)
    with pytest.raises(data.DataError, match=r"005\.png cannot be read"):
        data.load("own", path=tmp_path)
    assert handed == []


@pytest.mark.parametrize("name", ["page.eps", "page.PDF", "page.jp2"])
def test_a_picture_of_a_kind_that_is_not_read_is_named(tmp_path, name):
    (save_folder(tmp_path, GREY) / name).write_bytes(POSTSCRIPT)
    with pytest.raises(data.DataError, match=rf"{name} is of a kind that is not read \(.*\.png.* are\): convert it"):
        data.load("own", path=tmp_path)


def test_what_is_no_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(save_folder(tmp_path, GREY))
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("socket.png")
    with pytest.raises(data.DataError, match=r"socket\.png .*it is no file"):
        data.load("own", path=tmp_path)

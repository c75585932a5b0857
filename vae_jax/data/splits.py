"""Which examples are held out for validation and test, where a data set does not say so itself."""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int, Shaped, UInt64

# How one's own images are divided; those of earlier versions were by position.
SPLIT_RULES = ("content", "position")
HELD_OUT = ("test", "validation")
_AT_ONCE = 2**22
# The 64-bit golden ratio and the multipliers of SplitMix64 (Steele, Lea and Flood 2014).
_STEP, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def by_hash(hashes: UInt64[np.ndarray, " n"], held_out: float, missing: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Returns the rows of "train" and of each split in `missing`; None where one of them would be empty.

    With hashes as fractions of 2⁶⁴, test is hash < held_out and validation held_out ≤ hash < 2 held_out; one that is
    empty takes the next hash above. So an example's split does not depend on the others, but for an empty one's: no
    example that is added moves another from train to a held-out split.
    """
    free = np.ones(len(hashes), bool)
    rows = {}
    for number, split in enumerate(HELD_OUT):
        if split not in missing:
            continue
        low, high = (np.uint64(int(edge * held_out * 2**64)) for edge in (number, number + 1))
        chosen = free & (low <= hashes) & (hashes < high)
        above = hashes[free & (hashes >= high)]
        if not chosen.any() and len(above):
            chosen = free & (hashes == above.min())
        rows[split] = np.flatnonzero(chosen)
        free &= ~chosen
    rows["train"] = np.flatnonzero(free)
    return rows if all(map(len, rows.values())) else None


def by_position(number: int, held_out: float, missing: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Returns the rows of "train" and of each split in `missing`, by a fixed shuffle; None where there are too few.

    For published data sets, and for the runs on one's own images of earlier versions: one example more divides all of
    them otherwise.
    """
    count = max(1, round(held_out * number))
    if number <= len(missing) * count:
        return None
    # RandomState, since its streams are frozen for ever; those of numpy's newer generators are not.
    shuffled = np.random.RandomState(0).permutation(number)
    rows = {split: np.sort(shuffled[at * count : (at + 1) * count]) for at, split in enumerate(missing)}
    return {**rows, "train": np.sort(shuffled[len(missing) * count :])}


def row_hashes(rows: np.ndarray) -> UInt64[np.ndarray, " n"]:
    """Returns a hash of the numbers in each row of an array [n, …] of real numbers.

    A row's numbers, in C order, are rounded to float32, whose bits are x_j. With SplitMix64's finaliser
    f(y) = (y ^ y >> 30) · 0xBF58476D1CE4E5B9, then (y ^ y >> 27) · 0x94D049BB133111EB, then y ^ y >> 31, the hash is
    f(Σ_j x_j f((j + 1) · 0x9E3779B97F4A7C15)), all modulo 2⁶⁴: the sum is the multilinear hash of Lemire and Kaser 2014
    (arXiv:1202.4961), whose high bits f spreads. It is the same on every machine and for every type that holds the same
    numbers, and must stay so: published runs are divided by it.
    """
    length = int(np.prod(rows.shape[1:]))
    factors = _mixed(np.arange(1, length + 1, dtype=np.uint64) * _STEP)
    hashes = np.empty(len(rows), np.uint64)
    step = max(1, _AT_ONCE // max(1, length))
    for start in range(0, len(rows), step):
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = np.asarray(rows[start : start + step]).reshape(-1, length).astype(np.float32)
        numbers += np.float32(0)  # of −0
        hashes[start : start + step] = numbers.view(np.uint32).astype(np.uint64) @ factors
    return _mixed(hashes)


def sparse_row_hashes(
    values: Shaped[np.ndarray, " stored"],
    columns: Int[np.ndarray, " stored"],
    starts: Int[np.ndarray, " n_and_1"],
    length: int,
) -> UInt64[np.ndarray, " n"]:
    """Returns `row_hashes` of rows of `length` numbers, of which some are stored: the bits of the others, 0, are 0.

    Row i has values[starts[i] : starts[i + 1]] in these columns, none of them twice.
    """
    factors = _mixed(np.arange(1, length + 1, dtype=np.uint64) * _STEP)
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = values.astype(np.float32) + np.float32(0)  # of −0
    products = numbers.view(np.uint32).astype(np.uint64) * factors[columns]
    totals = np.concatenate([np.zeros(1, np.uint64), np.cumsum(products)])  # modulo 2⁶⁴, as their differences
    return _mixed(totals[starts[1:]] - totals[starts[:-1]])


def combined_hashes(columns: Iterable[UInt64[np.ndarray, " n"]], number: int) -> UInt64[np.ndarray, " n"]:
    """Returns f(Σ_j f(h_j) f((j + 1) · 0x9E3779B97F4A7C15)) of the hashes h_j of n rows' columns.

    f is that of `row_hashes`, and all of it must stay as it is for ever.
    """
    total = np.zeros(number, np.uint64)
    for place, hashes in enumerate(columns):
        (factor,) = _mixed(np.array([place + 1], np.uint64) * _STEP)
        total += _mixed(hashes) * factor
    return _mixed(total)


def name_hashes(names: Sequence[str]) -> UInt64[np.ndarray, " n"]:
    """Returns the first 64 bits of the SHA-256 of each name, in UTF-8 and Unicode's form NFC, for ever."""
    encoded = (unicodedata.normalize("NFC", name).encode(errors="surrogateescape") for name in names)
    return np.array([int.from_bytes(hashlib.sha256(name).digest()[:8], "big") for name in encoded], np.uint64)


def _mixed(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))

"""Images that are read when they are asked for stand where an array in memory does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import data
from vae_jax.data import binarization
from vae_jax.data.dataset import Source, assemble
from vae_jax.distributions import Masked
from vae_jax.keys import example_keys

NUM = 2500
LOTS = 2**30


def numbered(count: int, first: int = 0) -> np.ndarray:
    """Images [count, 2, 3, 1] that all differ: their number in two bytes, with sums and differences of these."""
    low, high = (first + np.arange(count)) % 256, (first + np.arange(count)) // 256
    pixels = np.stack([low, high, low + high, low - high, 7 * low, 255 - low], axis=-1)
    return (pixels % 256).astype(np.uint8).reshape(count, 2, 3, 1)


class Arrays:
    """A source of what it was given, which remembers what it was asked for."""

    def __init__(self, images: np.ndarray, labels: np.ndarray | None = None) -> None:
        self.images, self.labels = images, labels
        self.contents = data.pictures(images.shape[1:])
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        self.asked.extend(rows.tolist())
        return self.images[rows], None if self.labels is None else self.labels[rows]

    def identity(self, rows: np.ndarray) -> bytes:
        return self.images[rows].tobytes()


def sources(*, train: int = NUM) -> dict[str, Source]:
    """All three splits, so that `train` is the whole of its source."""
    labels = np.arange(train, dtype=np.int32)
    return {
        "train": Arrays(numbered(train), labels),
        "validation": Arrays(numbered(20, 5000), labels[:20]),
        "test": Arrays(numbered(30, 6000), labels[:30]),
    }


def streamed() -> data.Dataset:
    return assemble("numbered", sources(), held_out=0.1, memory_limit=1000)


def test_a_set_within_the_limit_is_in_memory_and_one_byte_more_is_streamed():
    for limit, kind in ((6 * NUM, np.ndarray), (6 * NUM - 1, data.Streamed)):
        dataset = assemble("numbered", sources(), held_out=0.1, memory_limit=limit)
        assert isinstance(dataset.train.examples, kind)
        assert isinstance(dataset.validation.examples, np.ndarray)


def test_splits_that_the_sources_have_are_used_as_they_are():
    """In their order, with their labels, whatever fraction would be held out."""
    dataset = assemble("numbered", sources(), held_out=0.4, memory_limit=LOTS)
    for split, (count, first) in {"train": (NUM, 0), "validation": (20, 5000), "test": (30, 6000)}.items():
        images, labels = getattr(dataset, split)
        np.testing.assert_array_equal(images, numbered(count, first))
        np.testing.assert_array_equal(labels, np.arange(count))


@pytest.mark.parametrize("has", ["validation", "test"])
def test_only_the_split_that_a_source_lacks_is_held_out(has):
    """A tenth of a hundred, and the training images are the others."""
    both = sources(train=100)
    given = {"train": both["train"], has: both[has]}
    dataset = assemble("numbered", given, held_out=0.1, memory_limit=LOTS)
    lacking = dataset.validation if has == "test" else dataset.test
    assert (len(dataset.train.examples), len(lacking.examples)) == (90, 10)
    drawn = np.concatenate([dataset.train.labels, lacking.labels])
    np.testing.assert_array_equal(np.sort(drawn), np.arange(100))
    np.testing.assert_array_equal(np.concatenate([dataset.train.examples, lacking.examples]), numbered(100)[drawn])
    np.testing.assert_array_equal(getattr(dataset, has).examples, given[has].images)


INDICES = {
    "everything": np.s_[:],
    "a slice": np.s_[100:103],
    "many at once": np.s_[7:2307],
    "a slice to the end": np.s_[-5:],
    "a slice with a step": np.s_[2000:100:-3],
    "nothing": np.s_[9:9],
    "rows": np.array([3, 2499, 0, 3, 1024]),
    "no rows": np.zeros((0, 4), np.int32),
    "rows of batches": np.array([[5, 1023, 1024], [1025, 5, 2047]], np.int32),
    "rows of steps of batches": np.arange(24).reshape(2, 3, 4)[::-1] * 101,
}


@pytest.mark.parametrize("name", INDICES)
def test_streamed_images_are_indexed_like_an_array(name):
    images, exact = streamed().train.examples, numbered(NUM)[INDICES[name]]
    chosen = images[INDICES[name]]
    assert chosen.dtype == np.uint8
    assert chosen.shape == exact.shape
    np.testing.assert_array_equal(chosen, exact)


def test_streamed_images_have_the_shape_of_the_array():
    train = streamed().train
    assert train.examples.shape == (NUM, 2, 3, 1)
    assert len(train.examples) == NUM
    assert train.labels is None
    assert streamed().event_shape == (2, 3, 1)


def test_streamed_images_are_those_left_when_others_are_held_out():
    """Split as the same set in memory is."""
    source = Arrays(numbered(200))
    kept = assemble("numbered", {"train": source}, held_out=0.1, memory_limit=LOTS)
    dataset = assemble("numbered", {"train": source}, held_out=0.1, memory_limit=600)
    rows = np.arange(160)
    np.testing.assert_array_equal(dataset.train.examples[rows], kept.train.examples)
    drawn = np.concatenate([dataset.train.examples[:], dataset.validation.examples, dataset.test.examples])
    np.testing.assert_array_equal(np.sort(drawn[:, 0, 0, 0]), np.arange(200))


class Pairs:
    """A source of pairs (x, c) in which entries of x are missing; x is a table or an array."""

    def __init__(self, count: int, *, table: bool) -> None:
        observed = np.arange(3 * count).reshape(count, 3) % 4 > 0
        values = np.where(observed, np.arange(3.0 * count).reshape(count, 3), 0).astype(np.float32)
        columns = {name: Masked(values[:, j], observed[:, j]) for j, name in enumerate("abc")}
        self.examples = (columns if table else Masked(values, observed), {"dose": np.arange(count) / 8})
        x = dict.fromkeys("abc", data.Variable("real")) if table else data.Variable("real", (3,))
        self.contents = data.Contents(x, {"dose": data.Variable("real")}, masked=True)
        self.asked: list[list[int]] = []

    def __len__(self) -> int:
        return len(self.examples[1]["dose"])

    def read(self, rows: np.ndarray):
        self.asked.append(rows.tolist())
        return jax.tree.map(lambda leaf: leaf[rows], self.examples), rows.astype(np.int32)


@pytest.mark.parametrize("name", ["everything", "rows of batches", "no rows"])
@pytest.mark.parametrize("table", [True, False])
def test_streamed_pairs_with_missing_entries_are_indexed_like_those_in_memory(table, name):
    given = {split: Pairs(count, table=table) for split, count in (("train", NUM), ("validation", 9), ("test", 9))}
    train = assemble("pairs", given, held_out=0.1, memory_limit=1000).train
    assert (train.is_streamed, train.number) == (True, NUM)
    assert jax.tree.structure(train.examples) == given["train"].contents.structure()
    exact = jax.tree.map(lambda leaf: leaf[INDICES[name]], given["train"].examples)
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda leaf: leaf[INDICES[name]], train.examples), exact)


def test_the_arrays_of_a_batch_are_read_once():
    given = {split: Pairs(count, table=True) for split, count in (("train", NUM), ("validation", 9), ("test", 9))}
    train = assemble("pairs", given, held_out=0.1, memory_limit=1000).train
    batches = [np.array([3, 1]), np.array([3, 1]), np.array([1, 3])]
    before = len(given["train"].asked)
    for batch in batches:
        train.rows(batch)
    assert given["train"].asked[before:] == [[3, 1], [1, 3]]


def test_nothing_is_read_but_what_is_asked_for():
    """Nor are training images read before, but for one."""
    given = sources()
    images = assemble("numbered", given, held_out=0.1, memory_limit=1000).train.examples
    assert given["train"].asked == [0]  # how large one is
    images[np.array([[4, 2], [9, 2]])]
    assert sorted(given["train"].asked[1:]) == [2, 2, 4, 9]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_held_out_images_larger_than_memory_are_refused(split):
    """They are gone through at every evaluation."""
    given = sources() | {split: Arrays(numbered(501))}
    assemble("numbered", given, held_out=0.1, memory_limit=6 * 501)
    with pytest.raises(ValueError, match=rf"{split} examples of numbered .*data\.memory_gb"):
        assemble("numbered", given, held_out=0.1, memory_limit=6 * 501 - 1)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_too_few_images_to_hold_some_out_are_refused(count):
    with pytest.raises(ValueError, match=f"numbered has {count} different training examples: too few to hold out a"):
        assemble("numbered", {"train": Arrays(numbered(count))}, held_out=0.5, memory_limit=LOTS)


@pytest.mark.parametrize("at_once", [1, 7, 20, 10_000])
def test_fixed_binarisation_gives_an_image_the_draw_of_its_row(monkeypatch, at_once):
    """However many are drawn at once."""
    monkeypatch.setattr(binarization, "_AT_ONCE", at_once)
    images = np.random.RandomState(0).randint(0, 256, (20, 2, 3, 1)).astype(np.uint8)
    drawn = data.binarize_once(jax.random.key(3), images)
    for row in range(20):
        (key,) = example_keys(jax.random.key(3), 0, jnp.array([row]))
        np.testing.assert_array_equal(drawn[row], 255 * np.asarray(data.binarize(key, images[row])))


def test_a_source_without_an_identity_is_told_from_others_by_all_its_images():
    class Bytes:
        contents = data.pictures((1, 1, 1))

        def __init__(self, last: int) -> None:
            self.last = last

        def __len__(self) -> int:
            return 3000

        def read(self, rows: np.ndarray):
            values = np.where(rows == 2999, self.last, rows % 7)
            return values.astype(np.uint8).reshape(-1, 1, 1, 1), None

    first, same, other = (data.Streamed(Bytes(last), np.arange(3000)).identity() for last in (1, 1, 2))
    assert first == same
    assert first != other

"""Which examples are held out: a function of each example, and what a data set's fingerprint tells."""

import hashlib

import numpy as np
import pytest

from tests.own_files import GREY, LABELS, NUM, save_folder, save_npy, save_npz
from vae_jax import data
from vae_jax.data import splits

SPLITS = ("train", "validation", "test")


def drawn(seed: int, number: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (number, 2, 3)).astype(np.uint8)


def in_split(dataset: data.Dataset) -> dict[bytes, str]:
    """The split of each image."""
    return {image.tobytes(): name for name in SPLITS for image in getattr(dataset, name).examples[:]}


def test_the_hash_of_a_row_is_the_published_one_for_ever():
    """By whole numbers of Python, from the docstring."""
    rows = np.array([[0.0, 1.0, 255.0], [-0.0, 0.1, -3.5e7]], np.float32)

    def mixed(y: int) -> int:
        y = (y ^ y >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        y = (y ^ y >> 27) * 0x94D049BB133111EB % 2**64
        return y ^ y >> 31

    bits = [[0, 0x3F800000, 0x437F0000], [0, 0x3DCCCCCD, 0xCC0583B0]]
    sums = [sum(x * mixed((j + 1) * 0x9E3779B97F4A7C15 % 2**64) for j, x in enumerate(row)) for row in bits]
    assert splits.row_hashes(rows).tolist() == [mixed(total % 2**64) for total in sums]


def test_the_hash_of_a_name_is_the_same_for_ever():
    """In whatever form of Unicode a system keeps it."""
    first, second, third, fourth = splits.name_hashes(["a/000.png", "caf\u00e9.png", "cafe\u0301.png", "\udcff.png"])
    assert first == 6317686246462544062
    assert second == third
    assert fourth == int.from_bytes(hashlib.sha256(b"\xff.png").digest()[:8], "big")


@pytest.mark.parametrize("dtype", ["<i4", ">i4", "float32", ">f8", "int64"])
def test_a_row_has_one_hash_in_whatever_type_its_numbers_are_kept(dtype):
    rows = drawn(0, 50)
    np.testing.assert_array_equal(splits.row_hashes(rows[..., None].astype(dtype)), splits.row_hashes(rows))


def test_a_row_has_one_hash_however_many_are_hashed_at_once(monkeypatch):
    exact = splits.row_hashes(drawn(0, 50))
    monkeypatch.setattr(splits, "_AT_ONCE", 20)
    np.testing.assert_array_equal(splits.row_hashes(drawn(0, 50)), exact)


ROWS = {
    "random": np.random.RandomState(0).randint(0, 256, (10_000, 9)),
    "counted": np.arange(10_000)[:, None],
    "sparse": np.eye(3000),
    "flat": np.arange(3000)[:, None] / 3000 * np.ones(9),
    "bits": np.arange(4096)[:, None] >> np.arange(12) & 1,
    "names": [f"{number:05}.png" for number in range(10_000)],
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.4])
def test_a_fraction_of_the_hashes_lies_below_it(name, fraction):
    """Within 4 standard deviations."""
    hashes = (splits.name_hashes if name == "names" else splits.row_hashes)(ROWS[name])
    found = np.mean(hashes.astype(np.float64) / 2**64 < fraction)
    assert abs(found - fraction) < 4 * np.sqrt(fraction * (1 - fraction) / len(hashes))


SPLIT = {
    "by the edges": (
        [0, 2**62 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1],
        {"test": [0, 1], "validation": [2, 3], "train": [4, 5]},
    ),
    "an empty one takes the next": ([2**63, 2**64 - 1, 2**63], {"test": [0, 2], "validation": [1], "train": []}),
    "an empty one takes an edge": ([2**62, 2**63, 2**64 - 1], {"test": [0], "validation": [1], "train": [2]}),
    "nothing is left": ([1, 1, 1], {"test": [0, 1, 2], "validation": [], "train": []}),
}


@pytest.mark.parametrize("case", SPLIT)
def test_a_quarter_of_the_range_of_hashes_is_each_held_out_split(case):
    hashes, exact = SPLIT[case]
    found = splits.by_hash(np.array(hashes, np.uint64), 0.25, ("test", "validation"))
    exact = exact if all(exact.values()) else None
    assert (found and {split: rows.tolist() for split, rows in found.items()}) == exact


def test_a_number_that_float32_does_not_hold_has_the_hash_of_infinity():
    np.testing.assert_array_equal(splits.row_hashes(np.array([[1e300]])), splits.row_hashes(np.array([[np.inf]])))


@pytest.mark.parametrize("number", [4, 8, 20, 300])
def test_images_that_are_added_move_none_from_train_to_a_held_out_split(tmp_path, number):
    """Wherever they are put, in however small a set, where a held-out split would be empty."""
    for seed in range(10):
        before = in_split(data.load("", path=save_npy(tmp_path / "own.npy", drawn(seed, number))))
        grown = np.random.RandomState(seed).permutation(np.concatenate([drawn(seed, number), drawn(seed + 100, 4)]))
        after = in_split(data.load("", path=save_npy(tmp_path / "own.npy", grown)))
        assert {after[image] for image, split in before.items() if split == "train"} == {"train"}


def test_pictures_that_are_added_or_changed_move_none(tmp_path):
    before = in_split(data.load("", path=save_folder(tmp_path, GREY)))
    (tmp_path / "before").mkdir()
    save_folder(tmp_path / "before", GREY[:9] // 2)
    after = in_split(data.load("", path=tmp_path))
    assert after.items() >= before.items()


def test_rows_of_one_content_are_in_one_split(tmp_path):
    twice = np.concatenate([GREY, GREY[::-1]])
    dataset = data.load("", path=save_npy(tmp_path / "own.npy", twice))
    for name in SPLITS:
        images = getattr(dataset, name).examples
        assert len(images) == 2 * len(np.unique(images, axis=0))


@pytest.mark.parametrize(
    ("hashes", "test", "validation"),
    [
        ([0.05, 0.15, 0.5, 0.15], [0], [1, 3]),
        ([0.9, 0.3, 0.5, 0.3], [1, 3], [2]),
        ([0.12, 0.18, 0.5], [0], [1]),
        ([0.12, 0.7, 0.5], [0], [2]),
    ],
    ids=["both", "neither", "the test takes validation's", "and validation the next"],
)
def test_an_empty_split_takes_the_next_hash_above(hashes, test, validation):
    found = splits.by_hash((np.array(hashes) * 2**64).astype(np.uint64), 0.1, ("test", "validation"))
    assert (found["test"].tolist(), found["validation"].tolist()) == (test, validation)


def test_the_rule_of_earlier_versions_is_kept_for_their_runs(tmp_path):
    """A tenth of thirty each: another division would train on what a published run was tested on."""
    dataset = data.load("", path=save_npy(tmp_path / "own.npy", GREY), split_rule="position")
    np.testing.assert_array_equal(dataset.test.examples, GREY[[2, 13, 28]])
    np.testing.assert_array_equal(dataset.validation.examples, GREY[[10, 24, 26]])
    assert len(dataset.train.examples) == NUM - 6


def test_an_unknown_rule_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"unknown split_rule 'contents'\. Did you mean 'content'"):
        data.load("", path=save_npy(tmp_path / "own.npy", GREY), split_rule="contents")


def changes(path, save_again, **options) -> list[str]:
    """What the fingerprint tells of a file that is saved again."""
    before = data.fingerprint(data.load("", path=path, **options))
    save_again()
    return data.fingerprint_differences(before, data.fingerprint(data.load("", path=path, **options)))


# 1,000 bytes: the training images are streamed.
MEMORY = pytest.mark.parametrize("memory_gb", [2.0, 1000 / 2**30], ids=["memory", "streamed"])


@MEMORY
def test_the_same_content_elsewhere_is_the_same_data(tmp_path, memory_gb):
    first = data.load("", path=save_folder(tmp_path / "here", GREY), memory_gb=memory_gb)
    second = data.load("", path=save_folder(tmp_path / "there", GREY), memory_gb=memory_gb)
    assert data.fingerprint(first) == data.fingerprint(second)
    assert data.fingerprint_differences(data.fingerprint(first), data.fingerprint(second)) == []


@MEMORY
def test_another_image_in_an_array_is_other_content_of_its_split(tmp_path, memory_gb):
    path = save_npy(tmp_path / "own.npy", GREY)
    train = data.load("", path=path).train.examples
    other = np.where(np.all(train[3] == GREY, axis=(1, 2, 3), keepdims=True), 255 - GREY, GREY)
    assert changes(path, lambda: save_npy(path, other), memory_gb=memory_gb) == [
        f"train: the same number of examples, {len(train)}, with other content or order"
    ]


@MEMORY
def test_a_picture_more_is_named_with_both_numbers(tmp_path, memory_gb):
    folder = save_folder(tmp_path, GREY)
    lines = changes(folder, lambda: save_folder(folder / "more", GREY[:1] // 2), memory_gb=memory_gb)
    assert lines == ["train: 25 examples now, 24 then"]


def test_a_streamed_picture_of_another_size_is_other_content(tmp_path):
    folder = save_folder(tmp_path, GREY)
    name = next(n for n in sorted(folder.iterdir()) if splits.name_hashes([n.name])[0] > 2**63)
    longer = lambda: name.write_bytes(name.read_bytes() + b"more")
    (line,) = changes(folder, longer, memory_gb=1000 / 2**30)
    assert line.startswith("train: the same number of examples")


def test_other_labels_are_other_content(tmp_path):
    path = save_npz(tmp_path / "own.npz", x=GREY, y=LABELS)
    assert len(changes(path, lambda: save_npz(path, x=GREY, y=(LABELS + 1) % 7))) == 3


def test_examples_of_another_shape_are_named_with_both_shapes(tmp_path):
    folder = save_folder(tmp_path, GREY)
    (line, *_) = changes(folder, lambda: save_folder(folder, np.moveaxis(GREY, 1, 2)))
    assert line == "train: examples of [9, 6, 1] uint8 now, of [6, 9, 1] uint8 then"

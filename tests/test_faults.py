"""The short form of `python -m tests.faults`: some faults of each kind, and nothing lost."""

import random

import pytest

from tests.faults import files, signals
from tests.faults.trial import Layout


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    return Layout(tmp_path_factory.mktemp("faults") / "one")


@pytest.fixture(scope="module")
def copies(layout):
    return files.Copies(layout.reference, layout.folder / "copies")


def losses(outcomes) -> list[str | None]:
    return [outcome.loss for outcome in outcomes if outcome.loss is not None]


def test_every_flipped_bit_is_found_and_nothing_else_is_restored(copies):
    assert losses(files.flips(copies, random.Random(0), 30)) == []


def test_every_shortened_missing_or_added_file_is_found(copies):
    rng = random.Random(0)
    assert losses(files.truncations(copies, rng)) == []
    assert losses(files.deletions(copies)) == []
    assert losses(files.additions(copies)) == []


def test_a_run_that_was_told_to_end_goes_on_to_the_same_bits(layout):
    assert signals.terminated(layout, random.Random(0)).loss is None

"""The short form of `python -m tests.faults`: some faults of each kind, and nothing lost."""

import random

import pytest

from tests.faults import files, places, signals
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
    assert losses(files.flips(copies, random.Random(0), 100)) == []


def test_every_shortened_missing_or_added_file_is_found(copies):
    rng = random.Random(0)
    assert losses(files.truncations(copies, rng)) == []
    assert losses(files.deletions(copies)) == []
    assert losses(files.additions(copies)) == []


@pytest.mark.parametrize(
    "fault",
    [signals.terminated, *(pytest.param(f, marks=pytest.mark.proof) for f in (signals.killed, signals.stopped))],
    ids=lambda fault: fault.__name__,
)
def test_a_run_that_a_signal_hit_goes_on_to_the_same_bits(layout, fault):
    assert fault(layout, random.Random(0)).loss is None


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(layout):
    with places.small_disk(layout.folder / "disk") as disk:
        if disk is None:
            pytest.skip("only root may mount a small disk")
        assert places.full_disk(layout, random.Random(0), disk).loss is None


@pytest.mark.proof
def test_a_folder_that_may_not_be_written_is_told_and_the_run_goes_on_when_it_may(layout):
    prefix = places.may_be_denied()
    if prefix is None:
        pytest.skip("root may write everywhere, and there is no setpriv")
    assert places.denied(layout, random.Random(0), prefix).loss is None

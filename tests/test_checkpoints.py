"""Checkpoints: what is restored is what was saved, bit for bit, and another model's is refused."""

import errno
import importlib.metadata
import math
import os
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vae_jax import training
from vae_jax.training import Checkpoints, TrainState, json_files, manifest

METADATA = {
    "config": {"training": {"learning_rate": 0.1 + 0.2, "clip_norm": None}, "model": {"hidden": [200, 200]}},
    "data_mean": [1 / 3, 5e-324, 1.7976931348623157e308, -0.0],
    "name": "ε-VAE",
}
ADAM = training.make_optimizer("adam", optax.linear_schedule(0.1, 0.0, 10), clip_norm=1.0)
STEP = 3


def random_params(seed: int, *, latent_dim: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = {"encoder": {"kernel": (4, latent_dim), "bias": (latent_dim,)}, "log_scale": ()}
    draw = lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    return jax.tree.map(draw, shapes, is_leaf=lambda node: isinstance(node, tuple))


def trained(optimizer: optax.GradientTransformation = ADAM, *, average: bool = True) -> TrainState:
    """A state whose every array has moved."""
    loss = lambda params, keys, batch: (sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)), None)
    run = jax.jit(
        partial(training.train_steps, loss_fn=loss, optimizer=optimizer, average_decay=0.9 if average else None)
    )
    state = training.init_state(random_params(0), optimizer, average=average)
    return run(state, jax.random.key(0), np.zeros((1, 1)), np.zeros((STEP, 1), np.int32))[0]


def other(seed: int = 1, optimizer=ADAM, *, average: bool = True, **options) -> TrainState:
    """The state of a run that has not begun."""
    return training.init_state(random_params(seed, **options), optimizer, average=average)


def assert_same(restored: Any, saved: Any) -> None:
    """The same containers, NamedTuples included, the same types and the same bits."""
    assert jax.tree.structure(restored) == jax.tree.structure(saved)
    chex.assert_trees_all_equal_dtypes(restored, saved)
    chex.assert_trees_all_equal(restored, saved)


@pytest.fixture(scope="module")
def state() -> TrainState:
    return trained()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, state) -> Path:
    """One checkpoint."""
    path = tmp_path_factory.mktemp("run") / "checkpoints"
    with Checkpoints(path) as checkpoints:
        checkpoints.save(state, METADATA)
    return path


@pytest.fixture
def checkpoints(folder):
    """The checkpoint seen by a process that comes later."""
    with Checkpoints(folder) as opened:
        yield opened


def test_a_restored_state_is_the_saved_one(checkpoints, state):
    restored = checkpoints.restore(STEP, other())
    assert type(restored) is TrainState
    assert_same(restored, state)


def test_a_state_without_average_is_restored_without(tmp_path):
    saved = trained(average=False)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(saved, {})
        checkpoints.wait()
        assert_same(checkpoints.restore(STEP, other(average=False)), saved)


def test_a_state_of_plain_sgd_is_restored(tmp_path):
    """Its optimiser's state holds no arrays."""
    saved = trained(optax.sgd(0.1))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(saved, {})
        checkpoints.wait()
        assert_same(checkpoints.restore(STEP, other(optimizer=optax.sgd(0.1))), saved)


@pytest.mark.parametrize("average", [False, True])
def test_parameters_are_restored_alone_from_their_shapes(checkpoints, state, average):
    """Without the optimiser that made them."""
    shapes = jax.eval_shape(lambda: random_params(2))
    params = checkpoints.restore_params(STEP, shapes, average=average)
    assert_same(params, state.average if average else state.params)


def test_metadata_is_what_was_given_with_the_versions_that_wrote_it(checkpoints):
    """Floats to the last bit."""
    packages = ("vae_jax", "jax", "flax", "optax", "orbax-checkpoint")
    versions = {name: importlib.metadata.version(name) for name in packages}
    metadata = checkpoints.metadata(STEP)
    commit = metadata.pop("commit")
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}(\+changes)?", commit)
    about = {"format_version": json_files.FORMAT_VERSION, "step": STEP, "run_id": None, "score": None}
    assert metadata == {**METADATA, **about, "versions": versions}


def test_the_latest_step_is_that_of_the_newest_checkpoint(tmp_path, state):
    """Of those kept: the last two, unless told otherwise."""
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step() is None
        for step in (3, 10, 20, 100):
            checkpoints.save(state._replace(step=jnp.int32(step)), {})
            checkpoints.wait()
            assert checkpoints.latest_step() == step
        assert checkpoints.restore(20, other()).step == 20
    assert {path.name for path in tmp_path.iterdir()} == {"20", "100"}


def test_as_many_checkpoints_are_kept_as_asked_for(tmp_path, state):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        for step in (3, 4):
            checkpoints.save(state._replace(step=jnp.int32(step)), {})
    assert {path.name for path in tmp_path.iterdir()} == {"4"}


OTHER_MODELS = {
    "shape": (lambda: other(latent_dim=3), r"params\.encoder\.bias is .*2.* there and .*3.* here"),
    "more": (
        lambda: other()._replace(params={**random_params(1), "prior": jnp.zeros(2)}),
        r"params\.prior is absent there and .*2.* here",
    ),
    "fewer": (
        lambda: other()._replace(params={"log_scale": jnp.zeros(())}),
        r"params\.encoder\.bias is .*2.* there and absent here",
    ),
    "optimizer": (lambda: other(optimizer=optax.sgd(0.1)), r"opt_state\.\S+ is .* there and absent here"),
}


@pytest.mark.parametrize("case", OTHER_MODELS)
def test_a_checkpoint_of_another_model_is_refused_naming_it_and_the_difference(folder, checkpoints, case):
    template, difference = OTHER_MODELS[case]
    checkpoint = re.escape(str(folder / str(STEP)))
    with pytest.raises(ValueError, match=f"the checkpoint {checkpoint} does not fit this model: {difference}"):
        checkpoints.restore(STEP, template())


def test_an_average_that_was_not_kept_is_refused(tmp_path):
    """By the process that saved, and by one that comes later."""
    saver = Checkpoints(tmp_path)
    saver.save(trained(average=False), {})
    saver.wait()
    for checkpoints in (saver, Checkpoints(tmp_path)):
        with checkpoints, pytest.raises(ValueError, match="holds no weight average, only params"):
            checkpoints.restore_params(STEP, random_params(1), average=True)


def test_parameters_of_another_precision_are_refused(checkpoints):
    """They would be rounded without a word."""
    template = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), random_params(1))
    with pytest.raises(ValueError, match="does not fit this model: params"):
        checkpoints.restore_params(STEP, template)


def at(step: int, state: TrainState) -> TrainState:
    """A state of its own arrays, under another step."""
    return jax.tree.map(jnp.copy, state)._replace(step=jnp.int32(step))


def save_all(path: Path, state: TrainState, scores: dict[int, float | None], **options) -> None:
    with Checkpoints(path, **options) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(at(step, state), {"name": f"of {step}"}, score=score)


def hurt(folder: Path) -> None:
    """One bit of the metadata, so that what is read of it is still JSON."""
    path = folder / "metadata.json"
    path.write_bytes(path.read_bytes().replace(b"of", b"og"))


def test_the_best_is_kept_beside_the_newest_and_found(tmp_path, state):
    save_all(tmp_path, state, {1: -5.0, 2: -1.0, 3: -3.0, 4: -2.0, 5: -4.0})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == [2, 4, 5]
        assert checkpoints.best_step() == 2


def test_of_equal_scores_the_newest_is_the_best(tmp_path, state):
    save_all(tmp_path, state, {1: -1.0, 2: -1.0, 3: -2.0})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.best_step() == 2


@pytest.mark.parametrize("score", [math.nan, math.inf, None])
def test_a_score_that_is_no_number_is_never_the_best(tmp_path, state, score):
    save_all(tmp_path, state, {1: -5.0, 2: score, 3: score, 4: score})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == [1, 3, 4]
        assert checkpoints.best_step() == 1


def test_without_scores_there_is_no_best(tmp_path, state):
    save_all(tmp_path, state, {1: None, 2: math.nan})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.best_step() is None


def test_what_is_saved_is_the_state_at_the_save_while_its_buffers_go_on(tmp_path):
    """The state is donated to the next step before the save has ended, as the loop does."""
    size = 2**20
    state = training.init_state({"w": jnp.zeros(size)}, optax.sgd(0.1))
    move = jax.jit(lambda state: state._replace(params={"w": state.params["w"] + 1}), donate_argnums=0)
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(1, 4):
            state = move(state._replace(step=jnp.int32(step)))
            checkpoints.save(state, {})
            for _ in range(5):
                state = move(state)
        checkpoints.wait()
        for number in (2, 3):
            restored = checkpoints.restore_params(number, {"w": jnp.zeros(size)})
            np.testing.assert_array_equal(restored["w"], np.full(size, 6 * number - 5))


def test_a_step_that_is_there_is_left(tmp_path, state):
    save_all(tmp_path, state, {STEP: -1.0})
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(at(STEP, other()), {"name": "another"}, score=-2.0)
        checkpoints.wait()
        assert checkpoints.metadata(STEP)["name"] == f"of {STEP}"
        assert_same(checkpoints.restore(STEP, other()), state)


def test_a_step_without_its_score_is_saved_again_with_it(tmp_path, state):
    """As where an evaluation was interrupted, and is repeated."""
    save_all(tmp_path, state, {1: -5.0, 2: None})
    save_all(tmp_path, state, {2: -1.0})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.best_step() == 2
        assert checkpoints.damages(2) == []
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}


@pytest.mark.parametrize("named", [False, True], ids=["before", "after"])
def test_a_kill_while_a_step_is_replaced_leaves_it(tmp_path, state, named):
    save_all(tmp_path, state, {1: None})
    (tmp_path / "1").rename(tmp_path / "1.replaced")
    if named:
        shutil.copytree(tmp_path / "1.replaced", tmp_path / "1")
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.newest_good(pytest.fail, set_aside=True) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"1"}


def test_a_damaged_checkpoint_is_named_set_aside_and_the_one_before_is_used(tmp_path, state):
    save_all(tmp_path, state, {1: None, 2: None})
    hurt(tmp_path / "2")
    told = []
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.newest_good(told.append, set_aside=True) == 1
        assert checkpoints.steps() == [1]
        assert checkpoints.newest_good(pytest.fail) == 1
    assert told == [f"the checkpoint {tmp_path / '2'} is damaged (metadata.json has other bytes); it is not used"]
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2.damaged"}


def test_a_reader_leaves_a_damaged_checkpoint_where_it_is(tmp_path, state):
    save_all(tmp_path, state, {1: None, 2: None})
    hurt(tmp_path / "2")
    (tmp_path / "3.unfinished").mkdir()
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.newest_good(lambda message: None) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2", "3.unfinished"}


@pytest.mark.parametrize("set_aside", [False, True])
def test_where_all_are_damaged_nothing_begins_anew(tmp_path, state, set_aside):
    save_all(tmp_path, state, {1: None, 2: None})
    for step in ("1", "2"):
        hurt(tmp_path / step)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(ValueError, match=r"every checkpoint in .* is damaged"):
        checkpoints.newest_good(lambda message: None, set_aside=set_aside)


def test_what_killed_saves_left_is_removed_and_nothing_else(tmp_path, state):
    save_all(tmp_path, state, {1: None})
    for name in ("2.unfinished", "2.unfinished.orbax-checkpoint-tmp", "notes", "1.damaged"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_text("half")
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.newest_good(pytest.fail, set_aside=True) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"1", "notes", "1.damaged"}


def test_without_checkpoints_there_is_no_newest(tmp_path):
    with Checkpoints(tmp_path / "none") as checkpoints:
        assert checkpoints.newest_good(pytest.fail, set_aside=True) is None


def test_a_want_of_room_is_told_before_anything_is_written(tmp_path, state, monkeypatch):
    save_all(tmp_path, state, {1: None})
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    with Checkpoints(tmp_path) as checkpoints:
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "disk_usage", lambda path: usage)
            with pytest.raises(OSError, match="the last checkpoint is kept") as caught:
                checkpoints.save(at(2, state), {})
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path))
        assert checkpoints.newest_good(pytest.fail) == 1
        checkpoints.save(at(2, state), {})
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}


def test_a_want_of_permission_is_told_before_anything_is_written(tmp_path, state, monkeypatch):
    """Root may write everywhere, so the system's answer stands in for that to another."""
    save_all(tmp_path, state, {1: None})
    with Checkpoints(tmp_path) as checkpoints:
        with monkeypatch.context() as patched:
            patched.setattr(os, "access", lambda path, mode: not (path == tmp_path and mode & os.W_OK))
            with pytest.raises(PermissionError, match="the last checkpoint is kept"):
                checkpoints.save(at(2, state), {})
        assert {path.name for path in tmp_path.iterdir()} == {"1"}
        checkpoints.save(at(2, state), {})
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}


def test_a_want_of_room_in_the_background_is_told_at_the_next_wait(tmp_path, state, monkeypatch):
    """What was there is kept, and no half of the new one."""
    save_all(tmp_path, state, {1: None})

    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Checkpoints(tmp_path) as checkpoints:
        with monkeypatch.context() as patched:
            patched.setattr("vae_jax.training.manifest.write", full)
            checkpoints.save(at(2, state), {})
            with pytest.raises(OSError, match="the last checkpoint is kept"):
                checkpoints.wait()
        assert {path.name for path in tmp_path.iterdir()} == {"1"}
        checkpoints.save(at(2, state), {})
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}


def signed(folder: Path, **changes: Any) -> None:
    """Other metadata, under a manifest written anew."""
    stored = json_files.read_object(folder / "metadata.json")
    json_files.write(folder / "metadata.json", {**stored, **changes})
    (folder / manifest.NAME).unlink()
    manifest.write(folder)


@pytest.mark.parametrize("name", ["²", "٣", "007", "1_0", "+3", "3 ", "3.damaged"])
def test_a_folder_whose_name_is_no_step_is_none(tmp_path, state, name):
    save_all(tmp_path, state, {2: None})
    (tmp_path / name).mkdir()
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == [2]


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree, lambda there, here: here.symlink_to(there)])
def test_a_checkpoint_under_another_step_s_name_is_damaged(tmp_path, state, how):
    save_all(tmp_path, state, {1: None, 2: None})
    how(tmp_path / "2", tmp_path / "5")
    with Checkpoints(tmp_path) as checkpoints:
        (damage,) = checkpoints.damages(5)
        assert re.search("is of step 2, not 5|5 is a link", damage)
        assert checkpoints.newest_good(lambda message: None, set_aside=True) == (2 if (tmp_path / "2").exists() else 1)
        assert not (tmp_path / "5").exists()


def test_a_checkpoint_of_another_run_is_damaged(tmp_path, state):
    save_all(tmp_path, state, {1: -1.0}, run_id="a")
    with Checkpoints(tmp_path, run_id="b") as checkpoints:
        (damage,) = checkpoints.damages(1)
        assert damage.endswith("metadata.json is of another run, a, not b")
        assert checkpoints.best_step() is None
    for run_id in ("a", None):
        with Checkpoints(tmp_path, run_id=run_id) as checkpoints:
            assert checkpoints.damages(1) == []


@pytest.mark.parametrize("changes", [{"score": "high"}, {"score": [1.0]}, {"step": "2"}, {"format_version": "1"}])
def test_metadata_of_another_type_are_a_damage_and_no_score(tmp_path, state, changes):
    save_all(tmp_path, state, {1: -2.0, 2: -1.0})
    signed(tmp_path / "2", **changes)
    (name,) = changes
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.best_step() == 1
        assert f"metadata.json is damaged: {name} must be " in checkpoints.damages(2)[0]


def test_a_checkpoint_of_a_newer_version_is_refused_and_not_set_aside(tmp_path, state):
    save_all(tmp_path, state, {1: None, 2: None})
    signed(tmp_path / "2", format_version=json_files.FORMAT_VERSION + 1)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(ValueError, match="use a newer vae_jax"):
        checkpoints.newest_good(pytest.fail, set_aside=True)
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}


def test_the_folder_of_a_run_is_never_made_anew(tmp_path, state):
    gone = Checkpoints(tmp_path / "run" / "checkpoints")
    with gone as checkpoints, pytest.raises(FileNotFoundError, match="checkpoints"):
        checkpoints.save(at(1, state), {})
    assert list(tmp_path.iterdir()) == []


def test_a_save_under_a_name_that_is_no_more_the_run_s_is_undone(tmp_path, state):
    folder = tmp_path / "run"
    folder.mkdir()
    moved = Checkpoints(folder / "checkpoints", is_there=lambda: False)
    with pytest.raises(FileNotFoundError, match="moved or deleted"), moved as checkpoints:
        checkpoints.save(at(1, state), {})
    assert list(tmp_path.iterdir()) == []

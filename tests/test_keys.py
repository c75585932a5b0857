"""The randomness contract: noise is a function of (seed, step, row) alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.command import entry, flags
from experiments.reporting import assessment
from experiments.run import build, scores
from experiments.run.config import Config
from vae_jax import data, training
from vae_jax.keys import check_key, example_keys

ROWS = np.array([5, 0, 3, 4095, 17, 2, 8, 1], np.int32)
STEP = 7


def bits(keys: jax.Array) -> np.ndarray:
    return np.asarray(jax.random.key_data(keys))


def keys(rows: np.ndarray, *, step: int = STEP, seed: int = 0) -> np.ndarray:
    return bits(example_keys(jax.random.key(seed), step, jnp.asarray(rows)))


def test_example_keys_fold_in_the_step_and_then_the_row():
    """fold_in(fold_in(key, step), index), one example at a time."""
    contract = [jax.random.fold_in(jax.random.fold_in(jax.random.key(0), STEP), int(row)) for row in ROWS]
    np.testing.assert_array_equal(keys(ROWS), [bits(key) for key in contract])


def test_an_example_has_the_same_key_wherever_it_stands_in_the_batch():
    order = np.random.default_rng(0).permutation(len(ROWS))
    np.testing.assert_array_equal(keys(ROWS[order]), keys(ROWS)[order])


def test_an_example_has_the_same_key_however_the_batch_is_spread():
    """Over an axis of two devices, for which a vmap stands, each with half of the rows."""
    spread = jax.vmap(lambda rows: example_keys(jax.random.key(0), STEP, rows))(jnp.asarray(ROWS.reshape(2, -1)))
    np.testing.assert_array_equal(bits(spread).reshape(len(ROWS), -1), keys(ROWS))


def test_the_step_may_be_traced():
    compiled = jax.jit(lambda step: jax.random.key_data(example_keys(jax.random.key(0), step, jnp.asarray(ROWS))))
    np.testing.assert_array_equal(compiled(jnp.int32(STEP)), keys(ROWS))


def test_no_two_examples_steps_or_seeds_share_a_key():
    """Step and row do not commute, as they would in a sum of the two."""
    rows = np.arange(20, dtype=np.int32)
    drawn = np.concatenate([keys(rows, step=step, seed=seed) for step in range(20) for seed in range(2)])
    assert len(np.unique(drawn, axis=0)) == len(drawn)


def test_one_typed_key_passes_also_under_a_transformation():
    check_key(jax.random.key(0))
    jax.eval_shape(jax.vmap(lambda key: check_key(key)), jax.random.split(jax.random.key(0), 3))


def test_a_raw_key_is_refused_naming_its_type_and_the_remedy():
    with pytest.raises(TypeError, match=r"got uint32.*wrap_key_data"):
        check_key(jax.random.PRNGKey(0))


def test_an_array_of_keys_is_refused_naming_its_shape():
    with pytest.raises(TypeError, match=r"one key, not an array of keys of shape \(3,\)"):
        check_key(jax.random.split(jax.random.key(0), 3))


@pytest.mark.parametrize("name", ["rbg", "unsafe_rbg"])
def test_a_key_whose_draws_depend_on_the_batch_is_refused_naming_the_remedy(name):
    key = jax.random.key(0, impl=name)
    for draw in (
        lambda: check_key(key),
        lambda: example_keys(key, 0, jnp.arange(2)),
        lambda: data.binarize(key, np.zeros((2, 2, 1), np.uint8)),
    ):
        with pytest.raises(ValueError, match=rf"keys of {name} draw other numbers .*impl='threefry2x32'"):
            draw()


def test_a_command_refuses_such_keys_in_one_message(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["command", "--verbosity=0"])
    monkeypatch.setattr(entry.signals, "listen", lambda: None)
    monkeypatch.setattr(entry.streams, "secure", lambda: None)
    with jax.default_prng_impl("rbg"), pytest.raises(SystemExit, match="1"):
        entry.run_command(lambda: None, flags.CommandFlags())
    assert "error: keys of rbg draw other numbers in other batches" in capsys.readouterr().err


def keys_of_a_run(seed: int) -> dict[str, np.ndarray]:
    """The data of the keys that each part of a run draws from, of ten rows each."""
    config = Config(seed=seed)
    built = build.build(config, data_dir=None)
    # What is observed are the keys themselves.
    experiment = built._replace(view=data.View(lambda key, stored: key))
    key, rows = experiment.key, np.arange(10)
    subject = assessment.Subject(config, experiment, None, assessment.Options(1, 1, 1, 1), lambda text: None)
    order_key, noise_key = training.run_keys(build.purpose_key(key, build.TRAINING))
    steps = jnp.concatenate([example_keys(noise_key, step, jnp.asarray(rows)) for step in range(10)])
    children = lambda purpose, number=10: jax.random.split(build.purpose_key(key, purpose), number)
    found = {
        "initial parameters": children(build.INIT, 2),
        "batch order": order_key[None],
        "training": jax.vmap(jax.random.split)(steps),
        "figures": children(build.FIGURES, 3),
        "samples": children(build.SAMPLES),
        "study": children(build.STUDY),
        "oracle": children(build.ORACLE, 2),
        **{f"evidence of {split}": scores.noise_keys(experiment, split)[rows] for split in ("validation", "test")},
        **{f"assessment {part}": jax.random.split(subject.key(part), 10) for part in assessment.PURPOSES},
        **{f"observed {split}": experiment.observed(split, rows) for split in ("train", "validation", "test")},
    }
    return {name: bits(keys).reshape(-1, 2) for name, keys in found.items()}


def test_no_two_parts_of_a_run_and_no_two_seeds_share_a_key_but_observations():
    first, second = keys_of_a_run(0), keys_of_a_run(1)
    observed = [name for name in first if name.startswith("observed")]
    for name in observed:
        np.testing.assert_array_equal(first[name], second.pop(name))
    drawn = np.concatenate([*first.values(), *second.values()])
    assert len(np.unique(drawn, axis=0)) == len(drawn)

"""A run's folder as (vae, params, config)."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.fitted import of_pictures
from vae_jax import networks, runs, training
from vae_jax.fitted import build_vae
from vae_jax.training import manifest

EVENT = (2, 3, 1)
DATA_MEAN = np.random.default_rng(0).uniform(0.05, 0.95, size=EVENT)
PARTS: dict[str, Any] = {
    "posterior": "full",
    "prior": "standard_normal",
    "likelihood": f"normal(scale={0.1 + 0.2}, learn=shared)",
}
NETWORK = {**PARTS, "hidden": (5, 4), "activation": "silu", "latent_dim": 2}


def config(**changes: Any) -> dict[str, Any]:
    network = {"network": "mlp(hidden=(5, 4), activation=silu)", "latent_dim": [2]}
    model = {**PARTS, **network, "center_input": True, "data_bias": True, **changes}
    return {"seed": 3, "model": model, "training": {"learning_rate": 1e-3, "clip_norm": None}}


def drawn_params(vae, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(vae.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype), shapes)


def the_vae():
    """What `config` describes, built without it."""
    return networks.mlp(event_shape=EVENT, input_mean=DATA_MEAN, output_mean=DATA_MEAN, **NETWORK)


def write_run(
    workdir: Path, *seeds: int, scores: dict[int, float] | None = None, average: bool = True, **changes: Any
) -> Path:
    """Checkpoints of `the_vae` at steps 10, 20, …, as `experiments.train` writes them; `scores` of some seeds."""
    metadata, constants = {"config": config(**changes), "event_shape": EVENT}, {"data_mean": DATA_MEAN}
    with training.Checkpoints(workdir / "checkpoints") as checkpoints:
        for number, seed in enumerate(seeds, start=1):
            state = training.init_state(drawn_params(the_vae(), seed), optax.adam(0.1), average=average)
            zeros = jax.tree.map(jnp.zeros_like, state.params) if average else None
            state = state._replace(step=jnp.int32(10 * number), average=zeros)
            checkpoints.save(state, metadata, constants=constants, score=(scores or {}).get(seed))
    return workdir


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"), 1, 2)


def test_a_loaded_model_gives_the_same_outputs(workdir):
    """To the last bit: q(z|x), p(x|z) and all that they are made of."""
    vae, params, _ = runs.load(workdir)

    def outputs(vae, params):
        q = vae.encode(params, jnp.asarray(DATA_MEAN**2, jnp.float32))
        p = vae.decode(params, jnp.asarray([0.3, -1.0]))
        return q.mean, q.scale, p.mean, p.scale

    expected = outputs(the_vae(), drawn_params(the_vae(), 2))
    chex.assert_trees_all_equal(outputs(vae, params), expected)
    assert all(np.abs(output).max() > 0 for output in expected)


def test_the_parameters_are_the_raw_ones_of_the_latest_checkpoint(workdir):
    _, params, _ = runs.load(workdir)
    chex.assert_trees_all_equal(params, drawn_params(the_vae(), 2))


def test_the_average_is_loaded_where_it_is_asked_for(workdir):
    _, average, _ = runs.load(workdir, average=True)
    chex.assert_trees_all_equal(average, jax.tree.map(jnp.zeros_like, drawn_params(the_vae(), 2)))


def test_an_average_that_was_not_kept_is_refused(tmp_path):
    workdir = write_run(tmp_path, 1, average=False)
    with pytest.raises(ValueError, match="holds no weight average, only params"):
        runs.load(workdir, average=True)
    _, params, _ = runs.load(workdir)
    chex.assert_trees_all_equal(params, drawn_params(the_vae(), 1))


def test_the_config_is_the_one_that_was_saved(workdir):
    """Read-only, its floats to the last bit."""
    _, _, loaded = runs.load(str(workdir))
    assert (loaded.seed, loaded.training.learning_rate, loaded.training.clip_norm) == (3, 1e-3, None)
    assert loaded.model.likelihood == "normal(scale=0.30000000000000004, learn=shared)"
    with pytest.raises(AttributeError, match="is immutable"):
        loaded.seed = 4


@pytest.mark.parametrize("center_input", [False, True])
@pytest.mark.parametrize("data_bias", [False, True])
def test_the_data_mean_goes_where_the_config_says(center_input, data_bias):
    model = config(center_input=center_input, data_bias=data_bias)["model"]
    vae = build_vae(model, of_pictures(EVENT, DATA_MEAN))
    means = {"input_mean": DATA_MEAN if center_input else None, "output_mean": DATA_MEAN if data_bias else None}
    assert vae is networks.mlp(event_shape=EVENT, **means, **NETWORK)


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_a_network_is_built_by_its_name(name):
    network = f"{name}(hidden=(5, 4), activation=silu)"
    model = config(network=network, center_input=False, data_bias=False)["model"]
    expected = getattr(networks, name)(event_shape=EVENT, **NETWORK)
    assert build_vae(model, of_pictures(EVENT, DATA_MEAN)) is expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "mpl"}, r"unknown network 'mpl'\. Did you mean 'mlp'"),
        ({"likelihood": "bernouli"}, r"unknown likelihood 'bernouli'\. Did you mean 'bernoulli'"),
        ({"network": "mlp(hidden=(5, 0))"}, "hidden must be of whole numbers of at least 1"),
        ({"likelihood": "normal(scale=-1)"}, "scale must be a finite number"),
        ({"depth": 3}, r"model\.depth is a field that this version of vae_jax does not have"),
    ],
    ids=["network", "likelihood", "hidden", "scale", "unknown"],
)
def test_a_model_that_cannot_be_built_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build_vae(config(**changes)["model"], of_pictures(EVENT, DATA_MEAN))


def test_a_config_that_does_not_describe_the_checkpoint_is_refused(tmp_path):
    write_run(tmp_path, 1, latent_dim=[3])
    with pytest.raises(ValueError, match=rf"{re.escape(str(tmp_path))}\S*10 does not fit this model"):
        runs.load(tmp_path)


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_folder_without_a_run_is_named_and_left_as_it_is(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=rf"{re.escape(str(tmp_path / name))} holds no run"):
        runs.load(tmp_path / name)
    assert list(tmp_path.rglob("*")) == [tmp_path / "empty"]


def test_a_run_that_has_not_reached_a_checkpoint_is_named(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(FileNotFoundError, match=rf"{re.escape(str(tmp_path))}\S* holds no whole checkpoint"):
        runs.load(tmp_path)


def signed(workdir: Path, copy: Path, name: str, content: str) -> Path:
    """Returns a copy of a run whose newest checkpoint has another file, under a manifest written anew."""
    shutil.copytree(workdir, copy)
    folder = copy / "checkpoints" / "20"
    (folder / name).write_text(content)
    (folder / manifest.NAME).unlink()
    manifest.write(folder)
    return copy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"event_shape": None}, r"it has a data_mean of 6 numbers, for \[\]"),
        ({"event_shape": [2, "3", 1]}, r"event_shape must be list\[int\]"),
        ({"event_shape": [-1]}, r"it has a data_mean of 6 numbers, for \[-1\]"),
        ({"event_shape": [2, 2]}, r"it has a data_mean of 6 numbers, for \[2, 2\]"),
        ({"config": []}, r"config must be dict, got \[\]"),
        ({"config": {}}, "its config has no model"),
        ({"config": {"model": {"network": "mlp"}}}, r"cannot be built: model\.latent_dim is absent"),
        ({"config": {"model": {"network": "mpl", "latent_dim": [2]}}}, "cannot be built: network 'mpl': unknown"),
    ],
)
def test_metadata_that_describe_no_model_are_refused_in_one_message(workdir, tmp_path, changes, message):
    stored = json.loads((workdir / "checkpoints" / "20" / "metadata.json").read_text())
    run = signed(workdir, tmp_path / "run", "metadata.json", json.dumps({**stored, **changes}))
    with pytest.raises(ValueError, match=rf"{re.escape(str(run))}/checkpoints/20\S* .*{message}"):
        runs.load(run, checkpoint=20)


@pytest.mark.parametrize("content", ["{}", "[]", '{"tree_metadata": 3}', "[" * 100_000])
def test_what_orbax_cannot_read_is_refused_in_one_message(workdir, tmp_path, content):
    run = signed(workdir, tmp_path / "run", "params/_METADATA", content)
    with pytest.raises(ValueError, match=r"the checkpoint \S*/20 cannot be read: \w+Error: "):
        runs.load(run)


def test_a_checkpoint_of_another_run_is_not_taken_for_one_of_this(tmp_path):
    write_run(tmp_path, 1)
    (tmp_path / "config.json").write_text('{"format_version": 1, "run_id": "mine"}')
    with pytest.warns(UserWarning, match="is of another run, None, not mine"), pytest.raises(ValueError, match="every"):
        runs.load(tmp_path)


def damage(workdir: Path, step: int) -> None:
    with (workdir / "checkpoints" / str(step) / "metadata.json").open("a") as file:
        file.write(" ")


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> Path:
    """Steps 10, 30 and 40, the first of which is the best."""
    return write_run(tmp_path_factory.mktemp("scored"), 1, 2, 3, 4, scores={1: -1.0, 2: -2.0, 4: -3.0})


@pytest.mark.parametrize(("checkpoint", "seed"), [("latest", 4), ("best", 1), (30, 3), ("30", 3)])
def test_a_checkpoint_is_loaded_by_its_name(scored, checkpoint, seed):
    _, params, _ = runs.load(scored, checkpoint=checkpoint)
    chex.assert_trees_all_equal(params, drawn_params(the_vae(), seed))


@pytest.mark.parametrize(
    ("checkpoint", "error", "message"),
    [
        (20, FileNotFoundError, r"has no checkpoint 20, but \[10, 30, 40\]"),
        ("newest", ValueError, "'latest', 'best' or a step, got 'newest'"),
        ("-1", ValueError, "'latest', 'best' or a step, got '-1'"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_refused_naming_it(scored, checkpoint, error, message):
    with pytest.raises(error, match=message):
        runs.load(scored, checkpoint=checkpoint)


def test_the_best_of_a_run_without_finite_scores_is_the_latest_with_the_reason(tmp_path):
    write_run(tmp_path, 1, 2, scores={1: math.nan, 2: math.nan})
    with pytest.warns(UserWarning, match="a validation score that is a finite number, .* the latest is used"):
        _, params, _ = runs.load(tmp_path, checkpoint="best")
    chex.assert_trees_all_equal(params, drawn_params(the_vae(), 2))
    _, params, _ = runs.load(tmp_path, checkpoint=10)
    chex.assert_trees_all_equal(params, drawn_params(the_vae(), 1))


def test_the_latest_passes_over_a_damaged_checkpoint_with_a_warning(tmp_path):
    write_run(tmp_path, 1, 2)
    damage(tmp_path, 20)
    with pytest.warns(UserWarning, match=r"20 is damaged \(metadata\.json has other bytes\); it is not used"):
        _, params, _ = runs.load(tmp_path)
    chex.assert_trees_all_equal(params, drawn_params(the_vae(), 1))


@pytest.mark.parametrize("checkpoint", ["best", 20])
def test_a_damaged_checkpoint_asked_for_by_name_is_refused(tmp_path, checkpoint):
    write_run(tmp_path, 1, 2, scores={2: -1.0})
    damage(tmp_path, 20)
    with pytest.raises(ValueError, match=r"20 is damaged \(metadata\.json has other bytes\)"):
        runs.load(tmp_path, checkpoint=checkpoint)

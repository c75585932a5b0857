"""Configs and parameters of earlier versions, as this version reads them."""

import copy
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.run import objective
from experiments.run.config import Config, Loss, Model, from_dict, to_dict
from tests.fitted import bytes_view
from vae_jax import expressions, likelihoods, losses, migration, networks, training
from vae_jax.likelihoods import LIKELIHOODS
from vae_jax.losses import OBJECTIVES, REGULARIZERS
from vae_jax.networks.bodies import BODIES

# What version 2 wrote of a run that set nothing.
OLD: dict[str, dict] = {
    "model": {
        "network": "mlp",
        "activation": "tanh",
        "latent_dim": 50,
        "hidden": [200, 200],
        "posterior": "diagonal",
        "prior": "standard_normal",
        "likelihood": "bernoulli",
        "scale": 1.0,
        "center_input": False,
        "data_bias": False,
    },
    "loss": {
        "bound": "elbo",
        "gradient": "pathwise",
        "baseline": None,
        "kl": "auto",
        "num_samples": 1,
        "num_groups": 1,
        "alpha": 0.5,
        "elbo_weight": 0.5,
        "phi": "wake",
        "beta": 1.0,
        "beta_schedule": "constant",
        "beta_anneal_steps": 0,
        "beta_cycles": 4,
        "free_bits": 0.0,
    },
}


def old(section: str, **changes: Any) -> dict[str, Any]:
    config = copy.deepcopy(OLD)
    assert set(changes) <= set(config[section])
    config[section] |= changes
    return config


def migrated(section: str, **changes: Any) -> Any:
    """The section of the config that an old one is read as."""
    return getattr(from_dict(old(section, **changes)), section)


def test_a_config_that_set_nothing_is_this_versions_default():
    """But for the likelihood, which the data decide now."""
    assert from_dict({}) == Config()
    assert from_dict(OLD) == Config(model=Model(likelihood="bernoulli"))


LINEAR = {"beta_schedule": "linear", "beta_anneal_steps": 30}
CHANGES: list[tuple[str, dict[str, Any], Any]] = [
    (
        "model",
        {"hidden": [300], "activation": "relu"},
        Model(network="mlp(hidden=(300,), activation=relu)", likelihood="bernoulli"),
    ),
    ("model", {"hidden": []}, Model(network="mlp(hidden=(), activation=tanh)", likelihood="bernoulli")),
    (
        "model",
        {"network": "conv", "hidden": [2, 4]},
        Model(network="conv(hidden=(2, 4), activation=tanh)", likelihood="bernoulli"),
    ),
    ("model", {"latent_dim": 2}, Model(latent_dim=(2,), likelihood="bernoulli")),
    ("model", {"posterior": "full"}, Model(posterior="full", likelihood="bernoulli")),
    ("model", {"likelihood": "gaussian", "scale": 0.3}, Model(likelihood="normal(scale=0.3)")),
    ("model", {"likelihood": "gaussian_shared", "scale": 0.3}, Model(likelihood="normal(scale=0.3, learn=shared)")),
    ("model", {"likelihood": "gaussian_per_pixel"}, Model(likelihood="normal(scale=1.0, learn=each)")),
    ("model", {"scale": 0.3}, Model(likelihood="bernoulli")),
    (
        "model",
        {"center_input": True, "data_bias": True},
        Model(center_input=True, data_bias=True, likelihood="bernoulli"),
    ),
    ("loss", {"gradient": "pathwise"}, Loss(gradient="auto")),
    ("loss", {"gradient": "sticking_the_landing"}, Loss(gradient="sticking_the_landing")),
    (
        "loss",
        {"gradient": "score_function", "baseline": "leave_one_out", "num_samples": 5, "kl": "monte_carlo"},
        Loss(gradient="score_function", baseline="leave_one_out", num_samples=5, kl="monte_carlo"),
    ),
    ("loss", {"bound": "iwae", "num_samples": 5}, Loss(bound="iwae", num_samples=5)),
    ("loss", {"bound": "renyi", "alpha": -0.5}, Loss(bound="renyi(alpha=-0.5)")),
    ("loss", {"bound": "miwae", "num_groups": 4, "num_samples": 8}, Loss(bound="miwae(num_groups=4)", num_samples=8)),
    ("loss", {"bound": "piwae", "num_groups": 4, "num_samples": 8}, Loss(bound="piwae(num_groups=4)", num_samples=8)),
    ("loss", {"bound": "ciwae", "elbo_weight": 0.3}, Loss(bound="ciwae(elbo_weight=0.3)")),
    ("loss", {"bound": "wake_sleep", "phi": "sleep"}, Loss(bound="wake_sleep(phi=sleep)")),
    ("loss", {"bound": "thermodynamic"}, Loss(bound="thermodynamic")),
    ("loss", {"beta": 0.5}, Loss(beta="0.5")),
    ("loss", {"beta": 4.0, **LINEAR}, Loss(beta="linear(30, beta=4.0)")),
    (
        "loss",
        {"beta_schedule": "cyclical", "beta_anneal_steps": 80, "beta_cycles": 2},
        Loss(beta="cyclical(80, beta=1.0, num_cycles=2)"),
    ),
    ("loss", {"free_bits": 0.05}, Loss(regularizers="free_bits(0.05)")),
    ("loss", {"free_bits": 0.05, **LINEAR}, Loss(beta="linear(30, beta=1.0)", regularizers="free_bits(0.05)")),
]


@pytest.mark.parametrize(("section", "changes", "expected"), CHANGES, ids=lambda value: str(value)[:60])
def test_every_old_value_is_one_of_this_version(section, changes, expected):
    assert migrated(section, **changes) == expected


@pytest.mark.parametrize(("section", "changes"), [change[:2] for change in CHANGES], ids=lambda value: str(value)[:60])
def test_migrating_twice_changes_nothing(section, changes):
    """Nor is what was given changed."""
    given = old(section, **changes)
    once = migration.migrate_config(given)
    assert given == old(section, **changes)
    assert migration.migrate_config(once) == once
    assert migration.migrate_config(json.loads(json.dumps(once))) == once


@pytest.mark.parametrize("changes", [change for section, change, _ in CHANGES if section == "loss"], ids=str)
def test_an_old_loss_is_one_that_can_be_built(changes):
    """A field that does nothing for a bound would be refused."""
    vae = networks.mlp(event_shape=3, latent_dim=2, hidden=())
    assert isinstance(
        objective.make_loss(from_dict(old("loss", **changes)), vae, bytes_view((3,)), axis_name=None), losses.BatchLoss
    )


def test_a_whole_number_for_beta_is_the_default_of_bounds_without_one():
    """Which do not take another: a config that is a Python file may have written 1."""
    assert migrated("loss", bound="iwae", beta=1) == Loss(bound="iwae")


@pytest.mark.parametrize(
    ("changes", "role", "expected"),
    [
        ({"likelihood": "gaussian", "scale": 0.3}, LIKELIHOODS, likelihoods.normal(0.3)),
        ({"likelihood": "gaussian_shared", "scale": 0.3}, LIKELIHOODS, likelihoods.normal(0.3, "shared")),
        ({"likelihood": "gaussian_per_pixel", "scale": 0.3}, LIKELIHOODS, likelihoods.normal(0.3, "each")),
        ({"hidden": [3, 4]}, BODIES, networks.bodies.mlp((3, 4))),
        ({"network": "conv", "hidden": [5], "activation": "relu"}, BODIES, networks.bodies.conv((5,), "relu")),
        ({"bound": "renyi", "alpha": -2.0}, OBJECTIVES, losses.renyi(-2.0)),
        ({"bound": "miwae", "num_groups": 3}, OBJECTIVES, losses.miwae(3)),
        ({"bound": "miwae"}, OBJECTIVES, losses.miwae(1)),
        ({"bound": "piwae", "num_groups": 3}, OBJECTIVES, losses.piwae(3)),
        ({"bound": "ciwae", "elbo_weight": 0.1}, OBJECTIVES, losses.ciwae(0.1)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_the_parts_of_a_migrated_config_are_those_that_it_named(changes, role, expected):
    section = "loss" if role is OBJECTIVES else "model"
    text = getattr(migrated(section, **changes), role.name)
    assert expressions.make(text, role) == expected


def test_wake_sleep_keeps_what_trains_the_encoder():
    made = expressions.make(migrated("loss", bound="wake_sleep", phi="both").bound, OBJECTIVES)
    assert made.loss.keywords == {"phi": "both"}


def test_free_bits_keep_their_number():
    terms = losses.Terms(
        jnp.zeros(1), jnp.zeros(1), jnp.zeros((1, 3)), jnp.zeros((1, 1)), jnp.ones(1), None, None, None, None, None
    )
    text = migrated("loss", free_bits=0.25).regularizers
    replace = expressions.parse(text, REGULARIZERS, later=("beta",))(beta=2.0)
    np.testing.assert_allclose(replace(terms), 2.0 * 3 * 0.25)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"beta": 3.0}, lambda step: 3.0),
        ({"beta": 3.0, "beta_schedule": "linear", "beta_anneal_steps": 40}, lambda step: 3.0 * min(step / 40, 1)),
        (
            {"beta": 3.0, "beta_schedule": "cyclical", "beta_anneal_steps": 40, "beta_cycles": 2},
            lambda step: 3.0 * min(step % 20 / 20 / 0.5, 1) if step < 40 else 3.0,
        ),
    ],
    ids=["constant", "linear", "cyclical"],
)
def test_the_schedule_of_beta_is_the_old_one(changes, expected):
    schedule = training.beta_schedule(migrated("loss", **changes).beta)
    steps = [0, 1, 5, 10, 15, 20, 25, 39, 40, 1000]
    np.testing.assert_allclose([schedule(step) for step in steps], [expected(step) for step in steps], rtol=1e-6)


def test_a_config_of_this_version_is_left_as_it_is():
    config = to_dict(Config(model=Model(likelihood="normal(0.3)", posterior="iaf"), loss=Loss(beta="linear(5)")))
    assert migration.migrate_config(config) == config
    assert migration.migrate_config({}) == {}


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        ({"model": None}, "model must be a section of fields, got None"),
        ({"loss": [1]}, "loss must be a section of fields"),
        (old("model", latent_dim="2"), "model.latent_dim must be of type"),
        (old("model", likelihood=[1]), "model.likelihood must be of type str"),
        (old("loss", bound=[1]), "loss.bound must be of type str"),
        ({"loss": {**OLD["loss"], "surprise": 1}}, "loss.surprise is a field that this version does not have"),
    ],
    ids=range(6),
)
def test_what_no_version_wrote_is_named_by_whoever_checks_it(damaged, message):
    with pytest.raises(ValueError, match=message):
        from_dict(damaged)


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize("hidden", [None, 1.5, "wide"])
def test_widths_that_no_version_wrote_are_refused_where_the_network_is_made(hidden):
    with pytest.raises(ValueError, match=f"hidden must be of whole numbers of at least 1, got {hidden!r}"):
        expressions.make(migrated("model", hidden=hidden).network, BODIES)


def test_a_schedule_that_no_version_wrote_leaves_a_constant():
    assert migrated("loss", beta=2.0, beta_schedule=["linear"]).beta == "2.0"


def tree(likelihood: str = "normal(learn=shared)") -> Any:
    """Parameters, an optimiser's state, and a weight average, as a checkpoint holds them."""
    vae = networks.mlp(event_shape=3, latent_dim=2, hidden=4, likelihood=likelihood, posterior="iaf", prior="vamp(2)")
    numbers = iter(range(1000))
    params = jax.tree.map(
        lambda leaf: np.full(leaf.shape, next(numbers), leaf.dtype), jax.eval_shape(vae.init, jax.random.key(0))
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    return {"params": params, "opt_state": optimizer.init(params), "average": params}


def assert_same(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_the_learned_scale_was_a_parameter_of_the_decoder():
    new = tree()
    scale = new["params"]["likelihood"]["log_scale"]
    found = migration.old_params(new)
    for params in (found["params"], found["average"], found["opt_state"][1][0].mu, found["opt_state"][1][0].nu):
        assert set(params) == {"encoder", "decoder", "posterior", "prior"}
        assert set(params["decoder"]) == {"Dense_0", "Dense_1", "LikelihoodHead_0"}
        assert set(params["decoder"]["LikelihoodHead_0"]) == {"log_scale"}
    assert found["params"]["decoder"]["LikelihoodHead_0"]["log_scale"] is scale
    assert "likelihood" in new["params"]
    assert "LikelihoodHead_0" not in new["params"]["decoder"]


@pytest.mark.parametrize("name", ["params", "opt_state", "average"])
def test_old_and_new_are_inverse_to_each_other(name):
    new = tree()[name]
    before = migration.old_params(new)
    assert jax.tree.structure(before) != jax.tree.structure(new)
    assert_same(migration.new_params(before), new)
    assert_same(migration.old_params(migration.new_params(before)), before)


OTHERS = {
    "no learned scale": lambda: tree("bernoulli"),
    "a scale of each element": lambda: tree("normal(learn=each)"),
    "arrays": lambda: {"encoder": jnp.ones(3), "decoder": jnp.ones(2)},
    "an own likelihood": lambda: {"encoder": {}, "decoder": {"weight": jnp.ones(2)}, "likelihood": jnp.ones(2)},
    "no decoder": lambda: {"encoder": {"LikelihoodHead_0": 1.0}, "likelihood": {"log_scale": 2.0}},
    "no parameters": lambda: (optax.EmptyState(), [1.0, {"count": 3}], None),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_trees_are_left_as_they_are(name):
    given = OTHERS[name]()
    for change in (migration.old_params, migration.new_params):
        assert_same(change(given), given)

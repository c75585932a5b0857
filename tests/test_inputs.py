"""What networks are given of masks, units and side information; and what the density is of."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vae_jax import likelihoods, losses, networks
from vae_jax.distributions import Masked, Mixture, masked
from vae_jax.networks.inputs import Inputs
from vae_jax.networks.preprocess import one_hot, standardize
from vae_jax.parts import Family, Sized

MEAN, SCALE = np.array([3.0, -200.0, 0.5]), np.array([0.1, 40.0, 2.0])
X = jnp.asarray(MEAN + SCALE * np.array([0.3, -1.0, 2.0]), jnp.float32)
SMALL: dict[str, Any] = {"encoder": "mlp(hidden=(4,))", "latent_shape": 2}


def shaken(vae: Any) -> Any:
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(0.5 * rng.normal(size=leaf.shape), leaf.dtype), initial(vae))


def initial(vae: Any) -> Any:
    return vae.init(jax.random.key(0))


@pytest.mark.parametrize("likelihood", ["normal(learn=shared)", "laplace(learn=each)", "student_t(df=4)"])
def test_a_density_in_units_is_that_of_standardised_data_less_the_log_scales(likelihood):
    common = {**SMALL, "event_shape": 3, "likelihood": likelihood}
    units = {"output_mean": MEAN, "output_scale": SCALE}
    plain, scaled = networks.assemble(**common), networks.assemble(**common, **units)
    params, z = shaken(plain), jnp.array([0.4, -1.0])
    standardised = jnp.asarray((np.float64(X) - MEAN) / SCALE, jnp.float32)
    expected = plain.decode(params, z).log_prob(standardised) - np.log(SCALE).sum()
    np.testing.assert_allclose(scaled.decode(params, z).log_prob(X), expected, rtol=1e-4)


def test_a_lognormal_in_units_begins_at_the_moments_of_the_data():
    units = {"output_mean": np.array(50.0), "output_scale": np.array(20.0)}
    vae = networks.assemble(**SMALL, event_shape=(), likelihood="lognormal", **units)
    p = vae.decode(jax.tree.map(jnp.zeros_like, initial(vae)), jnp.zeros(2))
    exact = scipy.stats.lognorm(s=p.scale, scale=np.exp(p.location))
    np.testing.assert_allclose([exact.mean(), exact.std()], [50.0, 20.0], rtol=1e-4)


def test_numbers_start_at_the_mean_of_the_data_in_its_units():
    vae = networks.assemble(**SMALL, event_shape=3, likelihood="normal", output_mean=MEAN, output_scale=SCALE)
    params = jax.tree.map(jnp.zeros_like, initial(vae)) | {}
    np.testing.assert_allclose(vae.decode(params, jnp.zeros(2)).mean, MEAN, rtol=1e-6)


def test_the_encoder_sees_standardised_numbers():
    common = {**SMALL, "event_shape": 3, "likelihood": "normal"}
    seen = networks.assemble(**common, preprocess=standardize(MEAN, SCALE))
    bare = networks.assemble(**common)
    params = shaken(bare)
    expected = bare.encode(params, (np.float32(X) - MEAN) / SCALE)
    np.testing.assert_allclose(seen.encode(params, X).mean, expected.mean, rtol=1e-4)


@pytest.mark.parametrize(("body", "shape"), [("mlp(hidden=(4,))", (6,)), ("conv(hidden=(3,))", (4, 4, 2))])
def test_a_missing_entry_is_told_from_a_zero_and_its_stored_value_from_nothing(body, shape):
    vae = networks.assemble(encoder=body, latent_shape=2, event_shape=shape, likelihood="normal", masked=True)
    params = shaken(vae)
    observed = np.ones(shape, bool)
    observed.flat[0] = False
    encode = jax.jit(lambda x: vae.encode(params, x).mean)
    missing = encode(Masked(jnp.zeros(shape), observed))
    assert np.abs(missing - encode(jnp.zeros(shape))).max() > 1e-3
    assert np.abs(missing - encode(Masked(jnp.zeros(shape), np.ones(shape, bool)))).max() > 1e-3
    for stored in (jnp.nan, -7.0):
        x = Masked(jnp.zeros(shape).at[(0,) * len(shape)].set(stored), observed)
        np.testing.assert_array_equal(encode(x), missing)


def test_a_missing_entry_is_the_mean_of_standardised_numbers_beside_its_mask():
    inputs = Inputs(standardize(5.0, 2.0), condition=None, masked=True, channels=False)
    np.testing.assert_allclose(inputs(masked(np.array([8.0, np.nan])), None), [1.5, 0.0, 1.0, 0.0])
    np.testing.assert_allclose(inputs(jnp.array([8.0, 5.0]), None), [1.5, 0.0, 1.0, 1.0])


def test_holes_are_refused_where_the_model_was_made_for_none():
    vae = networks.assemble(**SMALL, event_shape=3, likelihood="normal")
    with pytest.raises(ValueError, match=r"x has missing entries, and this VAE was made for none.*masked=True"):
        vae.encode(initial(vae), masked(np.array([1.0, np.nan, 2.0])))


class TestConditions:
    @pytest.mark.parametrize(("body", "shape"), [("mlp(hidden=(4,))", (5,)), ("resnet(hidden=(4,))", (4, 4, 1))])
    def test_both_networks_see_c_and_the_prior_does_not(self, body, shape):
        vae = networks.assemble(
            encoder=body,
            latent_shape=2,
            event_shape=shape,
            condition_shape=(),
            preprocess_condition=one_hot(3),
        )
        params = shaken(vae)
        of = {c: vae.at((jnp.ones(shape), jnp.asarray(c)))[1] for c in (0, 1)}
        assert np.abs(of[0].encode(params, jnp.ones(shape)).mean - of[1].encode(params, jnp.ones(shape)).mean).max() > 0
        assert np.abs(of[0].decode(params, jnp.ones(2)).logits - of[1].decode(params, jnp.ones(2)).logits).max() > 0
        np.testing.assert_array_equal(of[0].prior(params).mean, of[1].prior(params).mean)

    def test_an_example_without_c_is_refused(self):
        vae = networks.assemble(**SMALL, event_shape=3, condition_shape={"dose": ()})
        with pytest.raises(ValueError, match=r"c must have the shape \{'dose': \(\)\}, not \{'size': \(\)\}"):
            losses.negative_elbo(initial(vae), jax.random.key(0), (X, {"size": jnp.ones(())}), vae=vae)

    def test_pseudo_inputs_keep_the_condition_of_their_examples(self):
        xs, cs = jnp.asarray(np.random.default_rng(0).uniform(size=(4, 3)), jnp.float32), jnp.array([0, 1, 1, 0])
        vae = networks.assemble(
            **SMALL,
            event_shape=3,
            condition_shape=(),
            preprocess_condition=one_hot(2),
            prior="vamp(4)",
            examples=(xs, cs),
        )
        params = initial(vae)
        expected = Mixture(jax.vmap(lambda x, c: vae.encode(params, x, c))(params["prior"]["pseudo_inputs"], cs))
        z = jnp.array([0.2, -0.5])
        np.testing.assert_array_equal(params["prior"]["pseudo_inputs"], xs)
        np.testing.assert_allclose(vae.prior(params).log_prob(z), expected.log_prob(z), rtol=1e-5)

    def test_a_total_of_counts_is_given_to_the_likelihood_alone(self):
        vae = networks.assemble(**SMALL, event_shape=3, likelihood="poisson", sized=True)
        params, x = shaken(vae), jnp.array([3, 0, 9])
        _, at = vae.at(x)
        np.testing.assert_allclose(at.decode(params, jnp.zeros(2)).mean.sum(), 12.0, rtol=1e-5)
        with pytest.raises(ValueError, match="one array with no missing entry"):
            vae.at(Masked(x, np.ones(3, bool)))


COLUMNS = {
    "age": likelihoods.normal(learn="shared"),
    "kind": likelihoods.categorical(3),
    "number": likelihoods.negative_binomial(),
    "size": likelihoods.normal(learn="shared"),
}
ROW = {"age": jnp.asarray(31.0), "kind": jnp.asarray(2), "number": jnp.asarray(4), "size": jnp.asarray(-2.0)}


class TestTables:
    def test_a_joint_family_is_its_families_on_their_own_numbers(self):
        family, shapes = likelihoods.joint(COLUMNS), dict.fromkeys(COLUMNS, ())
        own = family.init(jax.random.key(0), shapes)
        numbers = jnp.asarray(np.random.default_rng(0).normal(size=family.outputs(shapes)), jnp.float32)
        p = family.build(own, numbers, shapes, None)
        alone = {
            "age": COLUMNS["age"].build(own["age"], numbers[0], (), None),
            "kind": COLUMNS["kind"].build({}, numbers[1:4], (), None),
            "number": COLUMNS["number"].build(own["number"], numbers[4], (), None),
            "size": COLUMNS["size"].build(own["size"], numbers[5], (), None),
        }
        for name, log_prob in p.log_probs(ROW).items():
            np.testing.assert_allclose(log_prob, alone[name].log_prob(ROW[name]), rtol=1e-5)
        np.testing.assert_allclose(p.log_prob(ROW), sum(alone[n].log_prob(ROW[n]) for n in ROW), rtol=1e-5)

    def test_equal_columns_make_one_model(self):
        make = lambda: networks.assemble(
            **SMALL, event_shape=dict.fromkeys(COLUMNS, ()), likelihood=likelihoods.joint(dict(COLUMNS))
        )
        assert make() is make()

    def test_vamp_keeps_rows_of_a_table(self):
        rows = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 1]), {**ROW, "kind": jnp.asarray(1)})
        vae = networks.assemble(
            **SMALL,
            event_shape=dict.fromkeys(COLUMNS, ()),
            likelihood=likelihoods.joint(COLUMNS),
            prior="vamp(2)",
            preprocess={name: one_hot(3) if name == "kind" else standardize(0.0) for name in COLUMNS},
            examples=rows,
        )
        params, z = initial(vae), jnp.array([0.1, 0.9])
        expected = Mixture(jax.vmap(lambda row: vae.encode(params, row))(rows))
        np.testing.assert_allclose(vae.prior(params).log_prob(z), expected.log_prob(z), rtol=1e-5)
        assert "prior" not in params

    def test_other_columns_than_the_families_are_refused(self):
        with pytest.raises(
            ValueError, match=r"joint is over a dict of \['age', 'kind', 'number', 'size'\], and the event"
        ):
            networks.assemble(**SMALL, event_shape={"age": ()}, likelihood=likelihoods.joint(COLUMNS))
        with pytest.raises(ValueError, match="joint has a family for each column of a table: give it"):
            networks.assemble(**SMALL, event_shape=3, likelihood="joint")

    def test_a_family_of_several_arrays_is_refused(self):
        build: Any = lambda *arguments: None
        several = Family(lambda shape: {"a": shape, "b": shape}, build)
        with pytest.raises(ValueError, match=r"the family of x asks for several arrays of numbers, \['a', 'b'\]"):
            likelihoods.joint({"x": several}).outputs({"x": ()})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_mean": MEAN, "preprocess": standardize(MEAN)}, "input_mean is short for a preprocess"),
        ({"output_scale": SCALE}, "output_scale is that of data around output_mean: give both"),
        ({"output_mean": MEAN, "output_scale": SCALE[:2]}, r"must have the event shape \(3,\), got \(2,\)"),
        ({"condition_shape": {"c": (0,)}}, "condition_shape of c must be of whole numbers of at least 1"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        networks.assemble(**SMALL, event_shape=3, likelihood="normal", **changes)


def test_an_unknown_transform_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown of 'logp1'\. Did you mean 'log1p'"):
        standardize(0.0, of="logp1")


def test_counts_without_any_are_given_a_total_of_zero_and_stay_finite():
    none = Sized(None, jnp.zeros(()))
    log_prob = lambda numbers: likelihoods.poisson().build({}, numbers, (3,), none).log_prob(jnp.zeros(3))
    value, gradient = jax.value_and_grad(log_prob)(jnp.zeros(3))
    np.testing.assert_allclose(value, 0.0, atol=1e-6)
    np.testing.assert_allclose(gradient, np.zeros(3), atol=1e-6)

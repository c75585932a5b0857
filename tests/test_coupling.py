"""The affine coupling flow, as a distribution, as q(z|x) and as p(z) (E10, E14)."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vae_jax import VAE, expressions, losses, networks
from vae_jax.distributions import (
    Bernoulli,
    CouplingFlow,
    DiagonalNormal,
    coupling_layers,
    has_costly_inverse,
    is_reparameterized,
)
from vae_jax.parts import Event, Latent
from vae_jax.posteriors import POSTERIORS
from vae_jax.priors import PRIORS
from vae_jax.testing import check_reparameterization

HIDDEN = (4, 3)
# Even, odd and smallest sizes; a first half of no row's length; each number of steps modulo two, and the least.
CASES = [((5,), 1), ((4,), 2), ((2, 3), 3), ((2,), 2), ((3,), 3)]


def perturbed(tree, rng):
    """Every array moved away from where it starts, the zeros too."""
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(rng.normal(scale=0.7, size=leaf.shape), leaf.dtype), tree)


def build(shape=(5,), num_layers=2):
    rng = np.random.default_rng(1)
    layers = coupling_layers(jax.random.key(0), math.prod(shape), num_layers=num_layers, hidden=HIDDEN)
    return CouplingFlow(
        jnp.asarray(rng.normal(size=shape)),
        jnp.asarray(rng.uniform(0.5, 2, size=shape)),
        jnp.asarray(rng.normal(size=(num_layers, HIDDEN[0]))),
        perturbed(layers, rng),
    )


def noise_of(flow):
    return jnp.asarray(np.random.default_rng(2).normal(size=flow.event_shape))


def written_out(flow, noise):
    """z, in NumPy."""
    z = np.ravel(flow.base_mean + flow.base_scale * noise)
    half = z.size // 2
    for i, layer in enumerate(flow.layers):
        a, b = (z[:half], z[half:]) if i % 2 == 0 else (z[half:], z[:half])
        first, second = layer["hidden"]
        h = np.tanh(a @ np.asarray(first["kernel"]) + first["bias"] + flow.context[i])
        h = np.tanh(h @ np.asarray(second["kernel"]) + second["bias"])
        out = h @ np.asarray(layer["output"]["kernel"]) + layer["output"]["bias"]
        b = b * np.exp(2 * np.tanh(out[b.size :] / 2)) + out[: b.size]
        z = np.concatenate([a, b] if i % 2 == 0 else [b, a])
    return z.reshape(flow.event_shape)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("shape", "num_layers"), CASES)
def test_z_is_its_formula_and_log_q_that_of_the_change_of_variables_from_either_side(shape, num_layers):
    """E14: log q(z) = log N(e; 0, I) − log|det ∂z/∂e|, the determinant from the autodiff Jacobian."""
    flow = build(shape, num_layers)

    @jax.jit
    def both(flow, noise):
        flat = lambda e: jnp.ravel(flow.transform(e.reshape(shape))[0])
        z, log_q = flow.transform(noise)
        return z, log_q, flow.log_prob(z), jax.jacfwd(flat)(jnp.ravel(noise))

    noise = noise_of(flow)
    z, log_q, log_prob, jacobian = both(flow, noise)
    exact = scipy.stats.norm.logpdf(noise).sum() - np.linalg.slogdet(jacobian).logabsdet
    np.testing.assert_allclose(z, written_out(flow, noise), rtol=1e-12)
    np.testing.assert_allclose([log_q, log_prob], [exact, exact], rtol=1e-11)


def test_samples_are_transforms_of_the_noise():
    check_reparameterization(build((2,), 1), jax.random.key(3))


@pytest.mark.usefixtures("float64")
def test_the_gradient_through_the_inverse_is_that_through_the_noise():
    """log_prob(transform(e)) and log q from the noise are one function of e and of every parameter."""
    flow = build((4,))
    inverse = lambda flow, e: flow.log_prob(flow.transform(e)[0])
    forward = lambda flow, e: flow.transform(e)[1]
    found, exact = (jax.jit(jax.grad(f, (0, 1)))(flow, noise_of(flow)) for f in (inverse, forward))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10), found, exact)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_step_changes_no_scale_by_more_than_e_squared_and_float32_keeps_its_inverse(sign):
    """At any weights: six steps at the bound, each half moved three times, to e^±6 times its scale."""
    size, num_layers = 50, 6
    layers = coupling_layers(jax.random.key(0), size, num_layers=num_layers, hidden=HIDDEN)
    for layer in layers:
        layer["output"]["bias"] = layer["output"]["bias"].at[size // 2 :].set(sign * 1e4)
    flow = CouplingFlow(jnp.ones(size), jnp.ones(()), None, layers)
    e = noise_of(flow)
    z, log_q = flow.transform(e)
    exact = scipy.stats.norm.logpdf(e).sum() - sign * 2 * 3 * size
    np.testing.assert_allclose(z, np.exp(sign * 6.0) * (1 + e), rtol=1e-5)
    np.testing.assert_allclose([log_q, flow.log_prob(z)], [exact, exact], rtol=1e-5)


def test_the_parameters_drawn_first_change_no_bit_of_the_gaussian_whatever_the_context():
    flow = build((2, 3), 3)
    layers = coupling_layers(jax.random.key(0), 6, num_layers=3, hidden=HIDDEN)
    first = CouplingFlow(flow.base_mean, flow.base_scale, flow.context, layers)
    exact = DiagonalNormal(flow.base_mean, flow.base_scale)
    e = noise_of(flow)
    for ours, theirs in zip(first.transform(e), exact.transform(e), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(first.log_prob(e), exact.log_prob(e))


@pytest.mark.usefixtures("float64")
def test_a_batch_with_shared_layers_is_each_example_by_itself():
    flow = build()
    rng = np.random.default_rng(4)
    means, scales, noise = (jnp.asarray(rng.uniform(0.5, 2, size=(3, 5))) for _ in range(3))
    contexts = jnp.asarray(rng.normal(size=(3, 2, HIDDEN[0])))

    def one(mean, scale, context, e):
        q = CouplingFlow(mean, scale, context, flow.layers)
        z, log_q = q.transform(e)
        return q, z, log_q, q.log_prob(z)

    batch = (means, scales, contexts, noise)
    qs, z, log_q, log_prob = jax.jit(jax.vmap(one))(*batch)
    np.testing.assert_allclose(log_prob, log_q, rtol=1e-11)
    for i in range(3):
        np.testing.assert_allclose(z[i], written_out(jax.tree.map(lambda leaf, i=i: leaf[i], qs), noise[i]), rtol=1e-11)


def test_low_precision_is_computed_in_float32():
    """Also where JAX promotes no types by itself."""
    flow = build()
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), flow)
    e = noise_of(flow).astype(jnp.bfloat16)
    with jax.numpy_dtype_promotion("strict"):
        z, log_q = low.transform(e)
        log_prob = low.log_prob(z)
    assert (z.dtype, log_q.dtype, log_prob.dtype) == (jnp.bfloat16, jnp.float32, jnp.float32)
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), low).transform(e.astype(jnp.float64))[1]
    np.testing.assert_allclose(log_q, exact, rtol=1e-5)


def test_a_flow_states_what_losses_ask():
    """And has no attribute `mean`: its base's is not its own."""
    flow = build()
    assert is_reparameterized(flow)
    assert not has_costly_inverse(flow)
    assert not hasattr(flow, "mean")


def prior_of(text, shape, change=lambda own: own):
    latent = Latent(shape, jnp.dtype(jnp.float32))
    prior = expressions.make(text, PRIORS)
    return prior.build(change(prior.init(jax.random.key(0), latent, Event((4,)))), latent, Event((4,)), lambda x: None)


@pytest.mark.parametrize("num_layers", [2, 3])
def test_a_prior_integrates_to_one(num_layers):
    """By the trapezoidal rule, whose error is exponentially small for a smooth density that vanishes at the edges."""
    rng = np.random.default_rng(0)
    prior = prior_of(f"coupling({num_layers}, hidden=(5,))", (2,), lambda own: perturbed(own, rng))
    axis, step = np.linspace(-25, 25, 1001, retstep=True, dtype=np.float32)
    grid = jnp.stack(jnp.meshgrid(axis, axis), -1).reshape(-1, 2)
    density = np.exp(np.asarray(jax.jit(jax.vmap(prior.log_prob))(grid), np.float64)).reshape(1001, 1001)
    assert np.abs(scipy.stats.norm.logpdf(axis) - np.log(density.sum(0) * step + 1e-30)).max() > 0.1
    np.testing.assert_allclose(density.sum() * step**2, 1, rtol=1e-5)


def test_a_prior_begins_as_the_standard_normal():
    z = np.random.default_rng(0).normal(size=(2, 3))
    prior = prior_of("coupling", (2, 3))
    np.testing.assert_allclose(prior.log_prob(jnp.asarray(z, jnp.float32)), scipy.stats.norm.logpdf(z).sum(), rtol=1e-6)


def test_a_posterior_begins_as_the_diagonal_gaussian():
    numbers = {"mean": jnp.asarray([0.3, -1.0, 2.0]), "log_variance": jnp.asarray([0.2, -1.0, 0.5])}
    family = expressions.make("coupling(2, hidden=5)", POSTERIORS)
    assert family.outputs((3,)) == {"mean": (3,), "log_variance": (3,), "context": (2, 5)}
    own = family.init(jax.random.key(0), (3,))
    flow = family.build(own, numbers | {"context": jnp.ones((2, 5))}, (3,), None)
    gaussian = expressions.make("diagonal", POSTERIORS).build({}, numbers, (3,), None)
    e = jnp.asarray([0.5, -0.2, 1.1])
    for ours, theirs in zip(flow.transform(e), gaussian.transform(e), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_gradient_of_a_loss_reaches_every_parameter():
    """Of q(z|x), its encoder's context too, and of p(z)."""
    vae = networks.mlp(event_shape=4, latent_dim=3, hidden=3, posterior="coupling(2, 3)", prior="coupling(2, 3)")
    start = perturbed(vae.init(jax.random.key(0)), np.random.default_rng(0))
    gradient = jax.jit(jax.grad(lambda params, key: losses.negative_elbo(params, key, jnp.ones(4), vae=vae)[0]))
    found = gradient(start, jax.random.key(1))
    assert {"posterior", "prior"} <= set(found)
    for leaf in jax.tree.leaves(found):
        assert np.all(np.isfinite(leaf))
        assert np.all(np.abs(leaf) > 1e-7)


def test_at_the_exact_posterior_the_gradients_without_a_score_vanish():
    """q(z|x) = p(z), each a flow of its own, and x does not depend on z: log w is constant in z."""
    q = build((3,), 2)
    vae = VAE(
        init=lambda key: q,
        encode=lambda params, x: params,
        decode=lambda params, z: Bernoulli(jnp.zeros(2)),
        prior=lambda params: q,
    )

    @jax.jit
    def gradients(params, key):
        loss = lambda params, gradient: losses.negative_iwae(
            params, jax.random.clone(key), jnp.ones(2), vae=vae, num_samples=3, gradient=gradient
        )[0]
        names = ("pathwise", "sticking_the_landing", "doubly_reparameterized")
        return [jax.grad(loss)(params, name) for name in names]

    largest = [max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(g)) for g in gradients(q, jax.random.key(0))]
    assert largest[0] > 0.1
    assert max(largest[1:]) < 1e-5


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("role", ["posterior", "prior"])
def test_a_single_element_has_no_other_half(role, shape):
    with pytest.raises(ValueError, match=r"a coupling flow moves one half .* at least 2 elements; got 1: take"):
        networks.mlp(event_shape=4, latent_dim=shape, hidden=3, **{role: "coupling"})


def test_a_prior_over_whole_numbers_is_refused():
    prior = expressions.make("coupling", PRIORS)
    with pytest.raises(ValueError, match=r"coupling is over real z, and q\(z\|x\) draws z of type int32"):
        prior.init(jax.random.key(0), Latent((2,), jnp.dtype(jnp.int32)), Event((4,)))


@pytest.mark.parametrize("role", [POSTERIORS, PRIORS])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("coupling(0)", "num_layers must be a whole number of at least 1, got 0"),
        ("coupling(hidden=())", "hidden must hold at least 1 number"),
        ("coupling(hidden=(3, 0))", "hidden must be of whole numbers of at least 1"),
    ],
)
def test_numbers_below_one_are_refused(role, text, message):
    with pytest.raises(ValueError, match=message):
        expressions.make(text, role)


@pytest.mark.usefixtures("no_annotations")
def test_a_value_of_another_shape_than_the_event_raises():
    with pytest.raises(ValueError, match=r"takes one value of shape \(2, 3\), not \(6,\); batch with jax\.vmap"):
        build((2, 3)).log_prob(jnp.zeros(6))


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize(
    ("size", "context", "message"),
    [
        (5, (3, 4), r"context must be \[num_layers, width\], \(2, 4\); got \(3, 4\)"),
        (5, (2, 3), r"context must be \[num_layers, width\], \(2, 4\); got \(2, 3\)"),
        (4, (2, 4), "of an event of 4 elements, layer 0 takes 2 numbers and puts out 4; .* take 2 and put out 6"),
    ],
)
def test_parts_of_other_shapes_are_refused(size, context, message):
    with pytest.raises(ValueError, match=message):
        CouplingFlow(jnp.zeros(size), jnp.ones(size), jnp.zeros(context), build().layers)


def test_a_scale_that_is_not_positive_is_refused():
    flow = build()
    with pytest.raises(ValueError, match=r"every scale must be positive, got 0\.0"):
        CouplingFlow(flow.base_mean, 0 * flow.base_scale, flow.context, flow.layers)


@pytest.mark.parametrize(("num_layers", "hidden"), [(0, (3,)), (1, ()), (1, (3, 0))])
def test_sizes_that_are_not_positive_are_refused(num_layers, hidden):
    with pytest.raises(ValueError, match=f"must be positive; got num_layers={num_layers}, hidden="):
        coupling_layers(jax.random.key(0), 2, num_layers=num_layers, hidden=hidden)

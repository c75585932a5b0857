"""Densities, samples and structure of the inverse autoregressive flow (E10, E14)."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from tests.statistics_checks import FALSE_ALARMS
from vae_jax.distributions import (
    DiagonalNormal,
    InverseAutoregressiveFlow,
    MultivariateNormal,
    autoregressive_layers,
    is_reparameterized,
)
from vae_jax.testing import check_reparameterization

HIDDEN = (7, 6)
SHAPES = [(5,), (2, 3), (1,), ()]


def perturbed(tree, rng):
    """Every array moved away from where it starts, the zeros too."""
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(rng.normal(scale=0.5, size=leaf.shape), leaf.dtype), tree)


def build(shape=(5,), num_layers=2):
    rng = np.random.default_rng(1)
    layers = autoregressive_layers(jax.random.key(0), math.prod(shape), num_layers=num_layers, hidden=HIDDEN)
    return InverseAutoregressiveFlow(
        jnp.asarray(rng.normal(size=shape)),
        jnp.asarray(rng.uniform(0.5, 2, size=shape)),
        jnp.asarray(rng.normal(size=(num_layers, HIDDEN[0]))),
        perturbed(layers, rng),
    )


def noise_of(flow):
    return jnp.asarray(np.random.default_rng(2).normal(size=flow.event_shape))


@jax.jit
def jacobian(flow, noise):
    flat = lambda e: jnp.ravel(flow.transform(e.reshape(flow.event_shape))[0])
    return jax.jacfwd(flat)(jnp.ravel(noise))


def only(flow, kept):
    """The flow without the arrays of its output layers but those of the names `kept`."""
    cut = lambda output: {name: leaf if name in kept else 0 * leaf for name, leaf in output.items()}
    layers = tuple(layer | {"output": cut(layer["output"])} for layer in flow.layers)
    return InverseAutoregressiveFlow(flow.base_mean, flow.base_scale, flow.context, layers)


@pytest.mark.parametrize("kept", ["kernel", "direct"])
def test_the_jacobian_of_a_step_is_lower_triangular_and_has_every_entry_below(kept):
    """Element i of m and s depends on all the elements before it and on no other, by both ways."""
    flow = build(num_layers=1)
    matrix = np.asarray(jacobian(only(flow, {kept}), noise_of(flow)))
    np.testing.assert_array_equal(np.triu(matrix, 1), 0)
    assert np.all(np.tril(matrix)[np.tril_indices(5)] != 0)


def test_the_second_step_runs_from_the_last_element_to_the_first():
    """Its Jacobian alone is upper triangular: the elements keep their places."""
    flow = build()
    idle = jax.tree.map(jnp.zeros_like, flow.layers[0])
    flow = InverseAutoregressiveFlow(flow.base_mean, flow.base_scale, flow.context, (idle, flow.layers[1]))
    matrix = np.asarray(jacobian(flow, noise_of(flow)))
    np.testing.assert_array_equal(np.tril(matrix, -1), 0)
    assert np.all(matrix[np.triu_indices(5)] != 0)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", SHAPES)
def test_log_q_from_the_noise_and_from_z_are_that_of_the_change_of_variables(shape):
    """E14: log q(z) = log N(e; 0, I) − log|det ∂z/∂e|, the determinant from the autodiff Jacobian."""
    flow = build(shape)
    noise = noise_of(flow)
    z, log_q = jax.jit(InverseAutoregressiveFlow.transform)(flow, noise)
    exact = scipy.stats.norm.logpdf(noise).sum() - np.linalg.slogdet(jacobian(flow, noise)).logabsdet
    assert z.shape == shape
    np.testing.assert_allclose(log_q, exact, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(InverseAutoregressiveFlow.log_prob)(flow, z), exact, rtol=1e-11)


def test_samples_are_transforms_of_the_noise():
    check_reparameterization(build((2, 3)), jax.random.key(3))


@pytest.mark.usefixtures("float64")
def test_the_gradient_through_the_inverse_is_that_through_the_noise():
    """log_prob(transform(e)) and log q from the noise are one function of e and of every parameter."""
    flow = build((4,))
    inverse = lambda flow, e: flow.log_prob(flow.transform(e)[0])
    forward = lambda flow, e: flow.transform(e)[1]
    found, exact = (jax.jit(jax.grad(f, (0, 1)))(flow, noise_of(flow)) for f in (inverse, forward))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10), found, exact)


@pytest.mark.usefixtures("float64")
def test_one_step_with_constant_gates_and_linear_m_is_a_gaussian_of_any_covariance():
    """m = Az + c: z = (diag σ + diag(1 − σ) A) diag(σ_0) e + (1 − σ) c, a Cholesky factor times e plus a mean."""
    mean, tril = np.array([0.7, -1.2, 0.1]), np.array([[0.8, 0.0, 0.0], [-0.5, 1.3, 0.0], [0.4, 0.6, 0.5]])
    logits = np.array([-0.4, 0.3, 1.1])
    gate, keep = scipy.special.expit(logits), scipy.special.expit(-logits)
    scale = np.diag(tril) / gate
    linear = np.tril(tril, -1) / scale / keep[:, None]
    (layer,) = autoregressive_layers(jax.random.key(0), 3, num_layers=1, hidden=HIDDEN)
    layer["output"] |= {
        "direct": jnp.asarray(np.hstack([linear.T, np.zeros((3, 3))])),
        "bias": jnp.asarray(np.concatenate([mean / keep, logits - 2])),
    }
    flow = InverseAutoregressiveFlow(jnp.zeros(3), jnp.asarray(scale), jnp.ones((1, HIDDEN[0])), (layer,))
    exact = MultivariateNormal(jnp.asarray(mean), jnp.asarray(tril))
    e = noise_of(flow)
    for ours, theirs in zip(flow.transform(e), exact.transform(e), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)
    x = jnp.asarray([0.2, 1.5, -0.4])
    np.testing.assert_allclose(flow.log_prob(x), exact.log_prob(x), rtol=1e-13)


@pytest.mark.usefixtures("float64")
def test_the_parameters_drawn_first_make_a_diagonal_gaussian_whatever_the_context():
    flow = build()
    layers = autoregressive_layers(jax.random.key(0), 5, num_layers=2, hidden=HIDDEN)
    first = InverseAutoregressiveFlow(flow.base_mean, flow.base_scale, flow.context, layers)
    shrunk = scipy.special.expit(2.0) ** 2
    exact = DiagonalNormal(shrunk * flow.base_mean, shrunk * flow.base_scale)
    e = noise_of(flow)
    for ours, theirs in zip(first.transform(e), exact.transform(e), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)


def test_hidden_kernels_are_drawn_by_glorots_rule_each_from_a_key_of_its_own():
    layers = autoregressive_layers(jax.random.key(0), 30, num_layers=2, hidden=(30, 50))
    kernels = [np.asarray(dense["kernel"]) for layer in layers for dense in layer["hidden"]]
    assert [kernel.shape for kernel in kernels] == 2 * [(30, 30), (30, 50)]
    shares = np.concatenate([kernel.ravel() / math.sqrt(6 / sum(kernel.shape)) for kernel in kernels])
    assert scipy.stats.kstest(shares, "uniform", (-1, 2)).pvalue > FALSE_ALARMS
    assert not np.array_equal(kernels[0], kernels[2])


@pytest.mark.usefixtures("float64")
def test_a_single_element_is_gaussian_given_its_context():
    """With no element before it, m and s depend on the context alone, and z is affine in the noise."""
    flow = build((1,))
    other = InverseAutoregressiveFlow(flow.base_mean, flow.base_scale, -flow.context, flow.layers)
    at = lambda flow, e: flow.transform(jnp.asarray([e]))[0]
    np.testing.assert_allclose(at(flow, 2.0) - at(flow, 1.0), at(flow, 1.0) - at(flow, 0.0), rtol=1e-12)
    assert abs(at(other, 0.0) - at(flow, 0.0)) > 0.01


@pytest.mark.usefixtures("float64")
def test_a_batch_with_shared_layers_is_each_example_by_itself():
    flow = build()
    rng = np.random.default_rng(4)
    means, scales, noise = (jnp.asarray(rng.uniform(0.5, 2, size=(3, 5))) for _ in range(3))
    contexts = jnp.asarray(rng.normal(size=(3, 2, HIDDEN[0])))

    def one(mean, scale, context, e):
        q = InverseAutoregressiveFlow(mean, scale, context, flow.layers)
        z, log_q = q.transform(e)
        return q, z, log_q, q.log_prob(z)

    batch = (means, scales, contexts, noise)
    qs, *results = jax.jit(jax.vmap(one))(*batch)
    assert qs.base_mean.shape == (3, 5)
    for i in range(3):
        _, *expected = jax.jit(one)(*(rows[i] for rows in batch))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), [rows[i] for rows in results], expected)


def test_a_flow_passes_through_eval_shape():
    z, log_q = jax.eval_shape(lambda flow, key: flow.transform(flow.noise(key)), build((2, 3)), jax.random.key(0))
    assert (z.shape, log_q.shape) == ((2, 3), ())


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
    np.testing.assert_allclose(log_q, exact, rtol=1e-6)


def test_a_flow_states_what_losses_ask():
    """And has no attribute `mean`: its base's is not its own."""
    flow = build()
    assert is_reparameterized(flow)
    assert flow.costly_inverse
    assert not hasattr(flow, "mean")


@pytest.mark.usefixtures("no_annotations")
def test_a_value_of_another_shape_than_the_event_raises():
    with pytest.raises(ValueError, match=r"takes one value of shape \(2, 3\), not \(6,\); batch with jax\.vmap"):
        build((2, 3)).log_prob(jnp.zeros(6))


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize(
    ("mean", "context", "message"),
    [
        ((5,), (3, 7), r"one row for each of the 2 layers, \[num_layers, width\]; got \(3, 7\)"),
        ((5,), (7,), r"one row for each of the 2 layers, \[num_layers, width\]; got \(7,\)"),
        ((5,), (2, 6), r"5 elements and a context of width 6 need layers .* is \(5, 6\); got \(5, 7\)"),
        ((4,), (2, 7), r"4 elements and a context of width 7 need layers .* is \(4, 7\); got \(5, 7\)"),
    ],
)
def test_parts_of_other_shapes_are_refused(mean, context, message):
    layers = build().layers
    with pytest.raises(ValueError, match=message):
        InverseAutoregressiveFlow(jnp.zeros(mean), jnp.ones(mean), jnp.zeros(context), layers)


def test_a_scale_that_is_not_positive_is_refused():
    flow = build()
    with pytest.raises(ValueError, match=r"every scale must be positive, got 0\.0"):
        InverseAutoregressiveFlow(flow.base_mean, 0 * flow.base_scale, flow.context, flow.layers)


@pytest.mark.parametrize(("size", "num_layers", "hidden"), [(0, 1, (3,)), (2, 0, (3,)), (2, 1, ()), (2, 1, (3, 0))])
def test_sizes_that_are_not_positive_are_refused(size, num_layers, hidden):
    with pytest.raises(ValueError, match=f"must be positive; got size={size}, num_layers={num_layers}, hidden="):
        autoregressive_layers(jax.random.key(0), size, num_layers=num_layers, hidden=hidden)

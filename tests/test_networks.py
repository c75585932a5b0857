"""Ready-made networks: initialisation, likelihoods (E5), shapes, caching and what is refused."""

import dataclasses
import importlib
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import scipy.special
import scipy.stats

from vae_jax import expressions, losses, networks
from vae_jax.distributions import MultivariateNormal, kl_divergence, standard_normal
from vae_jax.likelihoods import normal
from vae_jax.posteriors import POSTERIORS

residual = importlib.import_module("vae_jax.networks.bodies.resnet")  # its function has its name
IMAGE = (4, 5, 2)
SMALL = {"mlp": {"hidden": (6, 5)}, "conv": {"hidden": (3,)}, "resnet": {"hidden": (4, 3)}}
PIXELS = np.random.default_rng(0).uniform(0.05, 0.95, size=IMAGE).astype(np.float32)


def build(network: str, **options):
    return getattr(networks, network)(**{"event_shape": IMAGE, "latent_dim": 3, **SMALL[network], **options})


def drawn_params(vae):
    """What init gives, but with kernels from numpy: their random bits take seconds to compile, and are not needed."""
    rng = np.random.default_rng(2)

    def kernel_or_start(leaf):
        return leaf if leaf.ndim < 2 else jnp.asarray(0.5 * rng.normal(size=leaf.shape), leaf.dtype)

    return jax.jit(lambda key: jax.tree.map(kernel_or_start, vae.init(key)))(jax.random.key(0))


class TestCaching:
    def test_equal_arguments_give_the_same_vae(self):
        assert build("mlp", input_mean=PIXELS) is build("mlp", input_mean=PIXELS.copy())
        assert build("conv") is build("conv")
        assert networks.mlp(event_shape=7, latent_dim=2) is networks.mlp(event_shape=(7,), latent_dim=2)

    @pytest.mark.parametrize("change", [{"latent_dim": 2}, {"activation": "relu"}, {"output_mean": PIXELS}])
    def test_other_arguments_give_another_vae(self, change):
        assert build("mlp", **change) != build("mlp")

    def test_equal_vaes_compile_once(self):
        @jax.jit
        @chex.assert_max_traces(n=1)
        def log_prior(vae, z):
            return vae.prior({}).log_prob(z)

        for z in ([0.0, 0.0, 0.0], [1.0, -2.0, 3.0]):
            value = log_prior(build("mlp", activation="silu"), jnp.asarray(z))
            np.testing.assert_allclose(value, scipy.stats.norm.logpdf(z).sum(), rtol=1e-6)


@pytest.mark.parametrize("likelihood", ["bernoulli", "normal", "normal(learn=shared)", "normal(learn=each)"])
@pytest.mark.parametrize(
    ("network", "event_shape"),
    [
        ("mlp", (9,)),
        ("mlp", (3, 4, 2)),
        ("conv", (28, 28, 1)),
        ("conv", (7, 5, 3)),
        ("conv", (1, 1, 1)),
        ("resnet", (7, 5, 3)),
        ("resnet", (64, 63, 3)),
    ],
)
def test_distributions_have_the_shapes_of_latent_and_event(network, event_shape, likelihood):
    """Also for image sides that are odd at some stage."""
    vae = build(network, event_shape=event_shape, likelihood=likelihood, hidden=(3, 4))

    def shapes(key):
        params = vae.init(key)
        q, p = vae.encode(params, jnp.zeros(event_shape)), vae.decode(params, jnp.zeros(3))
        return q.mean, vae.prior(params).mean, p.mean, p.log_prob(jnp.zeros(event_shape))

    expected = [(3,), (3,), event_shape, ()]
    assert [leaf.shape for leaf in jax.eval_shape(shapes, jax.random.key(0))] == expected


@pytest.fixture(scope="module", params=["mlp", "conv"])
def bernoulli(request):
    """A network with means, its parameters, and what pixel means its decoder can start with."""
    vae = build(request.param, input_mean=PIXELS, output_mean=PIXELS)
    by_channel = np.broadcast_to(PIXELS.mean(axis=(0, 1)), IMAGE)
    return vae, drawn_params(vae), PIXELS if request.param == "mlp" else by_channel


def test_the_decoder_starts_with_the_output_mean(bernoulli):
    """At z = 0 every hidden unit is 0, as its bias and act(0) are, and only the last bias acts."""
    vae, params, start = bernoulli
    np.testing.assert_allclose(vae.decode(params, jnp.zeros(3)).mean, start, rtol=1e-5)


def test_the_encoder_starts_with_the_prior_at_the_input_mean(bernoulli):
    """x − input_mean is 0 there, and so are all hidden units: q(z|x) = N(0, I), exactly."""
    vae, params, _ = bernoulli
    q = vae.encode(params, jnp.asarray(PIXELS))
    np.testing.assert_array_equal(q.mean, np.zeros(3))
    np.testing.assert_array_equal(q.scale, np.ones(3))


def test_a_linear_encoder_gives_mean_and_log_variance_of_the_centred_input():
    """μ = K(x − m) + b and log σ² = K'(x − m) + b', computed in float64."""
    vae = networks.mlp(event_shape=IMAGE, latent_dim=3, hidden=(), input_mean=PIXELS)
    params = drawn_params(vae)
    x = np.random.default_rng(1).uniform(size=IMAGE)
    heads = jax.tree.map(np.float64, params["encoder"]["PosteriorHead_0"])
    mean, log_variance = (
        (x - PIXELS).ravel() @ heads[k]["kernel"] + heads[k]["bias"] for k in ("mean", "log_variance")
    )
    q = vae.encode(params, jnp.asarray(x))
    np.testing.assert_allclose(q.mean, mean, rtol=1e-4)
    np.testing.assert_allclose(q.scale, np.exp(log_variance / 2), rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.bool_])
def test_whole_numbers_and_truth_values_are_centred_as_the_floats_that_they_are(bernoulli, dtype):
    """In their own type the mean would be 0."""
    vae, params, _ = bernoulli
    x = PIXELS > 0.5
    q, of_floats = (vae.encode(params, jnp.asarray(x, kind)) for kind in (dtype, np.float32))
    chex.assert_trees_all_equal(q, of_floats)


def test_an_output_mean_of_zero_or_one_starts_with_finite_log_odds():
    """A pixel that is always black: the mean is clipped to [0.001, 0.999]."""
    vae = networks.mlp(event_shape=3, latent_dim=1, hidden=(), output_mean=np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(vae.decode(drawn_params(vae), jnp.zeros(1)).mean, [0.001, 0.5, 0.999], rtol=1e-5)


def test_weights_start_glorot_uniform_and_biases_at_zero():
    """U(−b, b) with b² = 6/(fan in + fan out), by Kolmogorov–Smirnov and by the bound itself."""
    params = networks.mlp(event_shape=100, latent_dim=40, hidden=(40,)).init(jax.random.key(1))
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
    assert len(kernels) == 5
    for kernel in kernels:
        bound = math.sqrt(6 / sum(kernel.shape))
        assert 0.99 * bound < np.abs(kernel).max() <= bound
        assert scipy.stats.kstest(np.asarray(kernel).ravel(), "uniform", (-bound, 2 * bound)).pvalue > 1e-4
    assert all(not leaf.any() for leaf in jax.tree.leaves(params) if leaf.ndim == 1)


@pytest.mark.parametrize(
    ("network", "learn"),
    [("mlp", "fixed"), ("mlp", "shared"), ("mlp", "each"), ("conv", "each")],
)
def test_gaussian_likelihoods_start_with_the_scale_asked_for(network, learn):
    """E5: at z = 0, where only biases act."""
    vae = build(network, likelihood=normal(scale=0.2, learn=learn), output_mean=PIXELS)
    p = vae.decode(drawn_params(vae), jnp.zeros(3))
    np.testing.assert_allclose(np.broadcast_to(p.scale, IMAGE), np.full(IMAGE, 0.2), rtol=1e-5)


def test_a_fixed_scale_gives_the_squared_error_over_twice_the_variance_plus_a_constant():
    """E5: −log p(x|z) = Σ (x − μ(z))²/(2σ²) + n log σ + (n/2) log 2π."""
    vae = build("mlp", likelihood="normal(scale=0.2)")
    p = vae.decode(drawn_params(vae), jnp.asarray([0.3, -1.0, 2.0]))
    squared_error = np.sum((PIXELS - np.asarray(p.mean, np.float64)) ** 2)
    constant = PIXELS.size * (math.log(0.2) + 0.5 * math.log(2 * math.pi))
    np.testing.assert_allclose(-p.log_prob(jnp.asarray(PIXELS)), squared_error / (2 * 0.2**2) + constant, rtol=1e-5)


@pytest.mark.parametrize("learn", ["fixed", "shared", "each"])
def test_the_loss_reports_the_scale_in_force(learn):
    """E5: `terms.scale` is the root mean square of σ over pixels and samples."""
    vae = build("mlp", likelihood=normal(scale=0.2, learn=learn))
    params = drawn_params(vae)
    if learn == "shared":
        params["likelihood"]["log_scale"] = jnp.log(0.7)
    loss = lambda key: losses.negative_elbo(params, key, jnp.asarray(PIXELS), vae=vae, num_samples=2)
    _, terms = jax.jit(loss)(jax.random.key(1))
    scales = [np.broadcast_to(vae.decode(params, z).scale, IMAGE).astype(np.float64) for z in terms.z]
    exact = {"fixed": 0.2, "shared": 0.7 + 1e-3}.get(learn)
    np.testing.assert_allclose(terms.scale, np.sqrt(np.mean(np.square(scales))), rtol=1e-5)
    if exact is None:
        assert np.std(scales) > 0.01
    else:
        np.testing.assert_allclose(terms.scale, exact, rtol=1e-5)


def test_a_full_posterior_has_a_cholesky_factor_whose_covariance_correlates():
    """Its KL from N(0, I) is the float64 closed form (E6)."""
    vae = networks.mlp(event_shape=4, latent_dim=3, hidden=(), posterior="full")
    params = drawn_params(vae)
    x = jnp.asarray([1.0, -2.0, 0.5, 1.5])
    q = vae.encode(params, x)
    assert isinstance(q, MultivariateNormal)
    mean, tril = np.asarray(q.mean, np.float64), np.asarray(q.scale, np.float64)
    assert np.all(np.diag(tril) > 0)
    assert np.all(tril[np.triu_indices(3, 1)] == 0)
    assert np.all(tril[np.tril_indices(3, -1)] != 0)
    exact = 0.5 * (np.sum(tril**2) + mean @ mean - 3) - np.log(np.diag(tril)).sum()
    loss = lambda key: losses.negative_elbo(params, key, x, vae=vae)
    np.testing.assert_allclose(jax.jit(loss)(jax.random.key(3))[1].kl, exact, rtol=1e-5)


def test_a_full_posterior_of_one_latent_has_no_correlations():
    vae = networks.mlp(event_shape=4, latent_dim=1, hidden=(2,), posterior="full")
    shapes = jax.eval_shape(lambda key: vae.encode(vae.init(key), jnp.zeros(4)), jax.random.key(0))
    assert shapes.scale_tril.shape == (1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"likelihood": "bernouli"}, "unknown likelihood 'bernouli'. Did you mean 'bernoulli'"),
        ({"posterior": "diag"}, r"unknown posterior 'diag'\..*diagonal, full"),
        ({"activation": "rleu"}, "unknown activation 'rleu'. Did you mean 'relu'"),
        ({"prior": "standard"}, "unknown prior 'standard'.*standard_normal"),
        ({"hidden": (200, 0)}, "hidden must be of whole numbers of at least 1"),
        ({"latent_dim": 0}, "latent_dim must be of whole numbers"),
        ({"event_shape": (28, 0, 1)}, "event_shape must be of whole numbers"),
        ({"likelihood": "normal(scale=0.0)"}, "scale must be a finite number above 0.0, got 0.0"),
        ({"likelihood": "normal(scale=inf)"}, "scale must be a finite number"),
        ({"likelihood": "normal(scale=1e-4, learn=shared)"}, "scale must be a finite number above 0.001"),
        ({"examples": np.zeros((7, 3))}, "examples must have the event shape"),
        ({"prior": "vamp(8)", "examples": np.zeros((7, *IMAGE))}, r"vamp\(8\) begins at 8 examples"),
        ({"latent_dim": (2, 3), "posterior": "full"}, "full is over a vector z"),
        ({"input_mean": np.zeros(3)}, "must have the event shape"),
        ({"output_mean": np.zeros((4, 5))}, "must have the event shape"),
    ],
)
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_a_wrong_argument_is_refused_with_the_legal_ones(network, options, message):
    with pytest.raises(ValueError, match=message):
        build(network, **options)


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize(
    ("options", "message"),
    [({"event_shape": (28, 28)}, "conv needs images"), ({"hidden": ()}, "hidden must hold at least 1 number")],
)
def test_convolutions_need_an_image_and_a_layer(options, message):
    with pytest.raises(ValueError, match=message):
        build("conv", **options)


@pytest.mark.parametrize("posterior", ["diagonal", "full"])
def test_a_log_variance_below_what_a_float_holds_leaves_the_kl_its_gradient(posterior):
    """∂KL/∂log σ² = (σ² − 1)/2 in each dimension; σ stays positive."""
    family = expressions.make(posterior, POSTERIORS)

    def kl(log_variance):
        numbers = {"mean": jnp.zeros(2), "log_variance": log_variance, "below_diagonal": jnp.zeros(1)}
        return kl_divergence(family.build({}, numbers, (2,), None), standard_normal(2))

    value, gradient = jax.value_and_grad(kl)(jnp.full(2, -300.0))
    assert 160 < value < 300
    np.testing.assert_allclose(gradient, [-0.5, -0.5], rtol=1e-5)


def test_a_body_that_cannot_be_hashed_is_refused_by_name():
    """A dataclass that is not frozen has no hash."""

    @dataclasses.dataclass
    class Tower:
        def __call__(self, in_shape, outputs):
            return self

        def mirror(self):
            return self

    with pytest.raises(TypeError, match=r"the body Tower cannot be hashed, .* make it a frozen dataclass"):
        networks.assemble(encoder=Tower(), event_shape=3, latent_shape=2)


def test_a_gated_layer_is_its_formula():
    vae = networks.mlp(event_shape=4, latent_dim=2, hidden=(3,), gated=True)
    params = drawn_params(vae)
    layer = jax.tree.map(np.float64, params["encoder"])
    x = np.asarray([0.0, 1.0, 1.0, 0.0])
    affine = lambda dense, value: value @ dense["kernel"] + dense["bias"]
    h = np.tanh(affine(layer["Dense_0"], x)) * scipy.special.expit(affine(layer["Gate_0"], x))
    mean = affine(layer["PosteriorHead_0"]["mean"], h)
    np.testing.assert_allclose(vae.encode(params, jnp.asarray(x, jnp.float32)).mean, mean, rtol=1e-5)


def normalised(h: np.ndarray, groups: int) -> np.ndarray:
    """Group norm of one image [height, width, channels], in float64."""
    grouped = h.reshape(*h.shape[:2], groups, -1)
    centred = grouped - grouped.mean(axis=(0, 1, 3), keepdims=True)
    return (centred / np.sqrt(grouped.var(axis=(0, 1, 3), keepdims=True) + 1e-6)).reshape(h.shape)


def test_a_residual_block_is_its_formula_and_starts_as_the_identity():
    """h + W₂ * silu(norm(W₁ * silu(norm(h)))), the convolutions as SciPy's correlations."""
    block, rng = residual._Block("silu"), np.random.default_rng(0)
    h = jnp.asarray(rng.normal(size=(5, 4, 12)), jnp.float32)
    variables = block.init(jax.random.key(0), h)
    np.testing.assert_array_equal(block.apply(variables, h), h)
    kernels = [0.2 * rng.normal(size=(3, 3, 12, 12)) for _ in range(2)]
    for number, kernel in enumerate(kernels):
        variables["params"][f"_Convolution_{number}"]["Dense_0"]["kernel"] = jnp.asarray(
            kernel.reshape(-1, 12), jnp.float32
        )
    expected = np.float64(h)
    for kernel in kernels:
        activated = normalised(expected, 4)
        activated *= scipy.special.expit(activated)
        expected = np.stack(
            [
                sum(scipy.signal.correlate2d(activated[..., i], kernel[:, :, i, o], mode="same") for i in range(12))
                for o in range(12)
            ],
            axis=-1,
        )
    np.testing.assert_allclose(block.apply(variables, h), h + expected, rtol=1e-4, atol=1e-4)

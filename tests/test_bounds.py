"""What bounds must be to one another and to log p(x); and what the losses refuse."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.estimator_parts import SEED, build, flat, log_mean_exp, parts, softmax
from tests.statistics_checks import assert_mean
from vae_jax import VAE, losses, oracles
from vae_jax.distributions import Bernoulli, DiagonalNormal, standard_normal

BOUNDS = tuple(losses.legal_combinations())
# What a bound has to be told.
TOLD: dict[str, dict] = {"renyi": {"alpha": 0.5}, "miwae": {"num_groups": 2}, "piwae": {"num_groups": 2}}
TOLD["ciwae"] = {"elbo_weight": 0.3}


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def loss_of(bound: str) -> Any:
    return getattr(losses, f"negative_{bound}")


def evaluate(bound: str, *, kind: str = "bernoulli_mlp", key: Any = None, **options) -> tuple[float, losses.Terms, Any]:
    """The loss, its terms and its gradient."""
    vae, params, x = build(kind)
    options = {"kl": "monte_carlo"} | options if bound == "elbo" else options
    loss = lambda params: loss_of(bound)(params, jax.random.key(SEED) if key is None else key, x, vae=vae, **options)
    (value, terms), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    return value, terms, gradient


@functools.cache
def plain(bound: str, num_samples: int, gradient: str) -> tuple[float, Any]:
    value, _, slope = evaluate(bound, num_samples=num_samples, gradient=gradient)
    return value, slope


def assert_same(first: Any, second: Any, rtol: float = 1e-9) -> None:
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("gradient", losses.GRADIENTS)
@pytest.mark.parametrize(
    ("bound", "options", "other", "size"),
    [
        ("iwae", {}, "elbo", 1),
        ("renyi", {"alpha": -1.0}, "elbo", 1),
        ("renyi", {"alpha": 2.0}, "elbo", 1),
        ("renyi", {"alpha": math.inf}, "elbo", 1),
        ("renyi", {"alpha": 0.0}, "iwae", 6),
        ("renyi", {"alpha": 1.0}, "elbo", 6),
        ("miwae", {"num_groups": 1}, "iwae", 6),
        ("miwae", {"num_groups": 6}, "elbo", 6),
        ("piwae", {"num_groups": 1}, "iwae", 6),
        ("ciwae", {"elbo_weight": 0.3}, "elbo", 1),
        ("ciwae", {"elbo_weight": 0.0}, "iwae", 6),
        ("ciwae", {"elbo_weight": 1.0}, "elbo", 6),
    ],
)
def test_bounds_meet_where_they_must(bound, options, other, size, gradient):
    """One sample, one group, groups of one, and the ends of α and λ: the value, and every gradient that both have."""
    legal = losses.legal_combinations()
    infinite = math.isinf(options.get("alpha", 0.0)) and gradient == "doubly_reparameterized"
    if gradient not in legal[bound] or gradient not in legal[other] or infinite or (gradient == "vimco" and size < 2):
        return
    value, _, slope = evaluate(bound, num_samples=size, gradient=gradient, **options)
    assert_same((value, slope), plain(other, size, gradient))


def test_piwae_in_groups_of_one_has_the_iwae_bound_for_theta_and_the_elbo_for_phi():
    piwae, iwae, elbo = (
        evaluate(bound, kind="linear_gaussian", num_samples=6, **options)
        for bound, options in (("piwae", {"num_groups": 6}), ("iwae", {}), ("elbo", {}))
    )
    assert_same((piwae[0], piwae[2]["decoder"]), (iwae[0], iwae[2]["decoder"]))
    assert_same(piwae[2]["encoder"], elbo[2]["encoder"])


@pytest.mark.parametrize("gradient", ["pathwise", "doubly_reparameterized", "score_function"])
def test_renyi_tends_to_the_elbo_as_alpha_tends_to_one(gradient):
    near, at = (evaluate("renyi", alpha=a, num_samples=6, gradient=gradient) for a in (0.999999, 1.0))
    np.testing.assert_allclose(near[0], at[0], rtol=1e-5)
    if gradient != "score_function":  # There each sample's own log-weight is its signal at α = 1, the bound near it.
        assert_same(near[2], at[2], rtol=1e-4)


@pytest.mark.parametrize(("alpha", "end"), [(math.inf, np.min), (-math.inf, np.max)])
def test_renyi_of_infinite_alpha_is_one_log_weight(alpha, end):
    """The smallest or the largest; a finite α of the same sign tends to it."""
    value, terms, _ = evaluate("renyi", alpha=alpha, num_samples=6)
    np.testing.assert_allclose(value, -end(terms.log_weights), rtol=1e-12)
    np.testing.assert_allclose(evaluate("renyi", alpha=math.copysign(1e6, alpha), num_samples=6)[0], value, rtol=1e-4)


@functools.cache
def near_posterior():
    """A q somewhat wider than the posterior, so that no weight is far above the rest: (oracle, params, x, log p(x))."""
    oracle = oracles.ppca(jax.random.key(0), latent_dim=2, event_dim=3)
    params = oracle.with_exact_posterior(oracle.params)
    encoder = params["encoder"] | {"log_scale": params["encoder"]["log_scale"] + 0.3}
    params, x = params | {"encoder": encoder}, jax.random.normal(jax.random.key(1), (3,))
    return oracle, params, x, float(oracle.log_evidence(params, x))


def replicated(num: int, seed: int, *cases: tuple[str, dict]) -> list[np.ndarray]:
    """Of each case, the bound at independent keys."""
    oracle, params, x, _ = near_posterior()
    bound = lambda name, options: lambda key: -loss_of(name)(params, key, x, vae=oracle.vae, **options)[0]
    functions = [bound(*case) for case in cases]
    split = lambda key: jax.random.split(key, len(functions))
    compute = jax.jit(
        lambda keys: jax.lax.map(
            lambda key: [function(k) for function, k in zip(functions, split(key), strict=True)], keys, batch_size=2000
        )
    )
    return [np.asarray(values) for values in compute(jax.random.split(jax.random.key(seed), num))]


SIZES = (1, 4, 16)


def z_score_of_rise(first: np.ndarray, second: np.ndarray) -> float:
    error = math.sqrt(first.var() / first.size + second.var() / second.size)
    return (second.mean() - first.mean()) / error


def test_iwae_rises_with_k_and_renyi_above_one_falls():
    """In expectation; and E[exp of the IWAE bound] = p(x), whatever K."""
    cases = [(name, {"num_samples": k} | o) for name, o in (("iwae", {}), ("renyi", {"alpha": 2.0})) for k in SIZES]
    values = replicated(10_000, 2, *cases)
    iwae, above = values[: len(SIZES)], values[len(SIZES) :]
    for first, second in ((0, 1), (1, 2)):
        assert z_score_of_rise(iwae[first], iwae[second]) > 5
        assert z_score_of_rise(above[first], above[second]) < -5
    exact = near_posterior()[3]
    assert_mean([np.exp(value - exact) for value in iwae], [1.0, 1.0, 1.0], resolution=0.03)
    assert all(value.mean() < exact for value in values)


def test_iwae_of_many_samples_is_the_evidence():
    """E2: the gap closes as 1/K, here to 5e-5."""
    assert_mean(replicated(200, 3, ("iwae", {"num_samples": 2000}))[0], near_posterior()[3], resolution=0.01)


@functools.cache
def at_posterior():
    oracle = oracles.linear_gaussian(jax.random.key(0), latent_dim=2, event_dim=3)
    params, x = oracle.with_exact_posterior(oracle.params), jax.random.normal(jax.random.key(1), (3,))
    return oracle, params, x, float(oracle.log_evidence(params, x))


@pytest.mark.parametrize("bound", [*BOUNDS, "wake_sleep", "thermodynamic"])
def test_every_bound_is_the_evidence_at_the_exact_posterior(bound):
    """E2, sample by sample: all weights are p(x)."""
    oracle, params, x, exact = at_posterior()
    options = {"num_samples": 6} | TOLD.get(bound, {}) | ({"kl": "monte_carlo"} if bound == "elbo" else {})
    value, terms = loss_of(bound)(params, jax.random.key(SEED), x, vae=oracle.vae, **options)
    np.testing.assert_allclose(value, -exact, rtol=1e-12)
    np.testing.assert_allclose(terms.effective_sample_size, 6, rtol=1e-12)


@pytest.mark.parametrize("bound", BOUNDS)
def test_at_the_exact_posterior_reparameterised_scores_leave_no_noise_in_phi(bound):
    """∂ log w/∂z is 0 everywhere; the pathwise gradient keeps the noise of ∂φ log q."""
    oracle, params, x, _ = at_posterior()
    options = {"num_samples": 6} | TOLD.get(bound, {}) | ({"kl": "monte_carlo"} if bound == "elbo" else {})

    def phi(key, gradient):
        loss = lambda params: loss_of(bound)(params, key, x, vae=oracle.vae, gradient=gradient, **options)[0]
        return flat(jax.grad(loss)(params)["encoder"])

    noise = np.std([phi(jax.random.key(seed), "pathwise") for seed in range(3)], axis=0).max()
    assert noise > 0.1
    for gradient in ("sticking_the_landing", "doubly_reparameterized"):
        assert np.abs(phi(jax.random.key(SEED), gradient)).max() < 1e-5 * noise


def dream_score(kind: str, key: Any) -> np.ndarray:
    """∂φ log q(z'|x') at z' ~ p(z), x' ~ p(x|z'), by the second and third of three keys."""
    vae, params, _ = build(kind)
    _, dream_key, image_key = jax.random.split(key, 3)
    dream = vae.prior(params).sample(dream_key)
    image = vae.decode(params, dream).sample(image_key)
    return flat(jax.grad(lambda params: vae.encode(params, image).log_prob(dream))(params))


@pytest.mark.parametrize("kind", ["linear_gaussian", "bernoulli_mlp"])
@pytest.mark.parametrize(("phi", "wake"), [("wake", 1.0), ("sleep", 0.0), ("both", 0.5)])
def test_wake_sleep_is_the_iwae_bound_with_gradients_of_its_own(kind, phi, wake):
    """θ: −Σ w̃ ∂θ log p; φ: −Σ w̃ ∂φ log q in wake, minus the dream's score in sleep, half of each in both."""
    of_samples = parts(kind, 6, key=jax.random.split(jax.random.key(SEED), 3)[0])
    l = of_samples.log_weights()
    value, terms, gradient = evaluate("wake_sleep", kind=kind, num_samples=6, phi=phi)
    np.testing.assert_allclose(terms.log_weights, l, rtol=1e-10)
    np.testing.assert_allclose(value, -log_mean_exp(l), rtol=1e-10)
    score = wake * softmax(l) @ of_samples.score
    if wake < 1:
        score = score + (1 - wake) * dream_score(kind, jax.random.key(SEED))
    np.testing.assert_allclose(flat(gradient), -softmax(l) @ of_samples.joint - score, rtol=1e-8, atol=1e-10)


def test_theta_of_wake_sleep_is_that_of_iwae_at_the_same_samples():
    wake = evaluate("wake_sleep", kind="linear_gaussian", num_samples=6)
    first = jax.random.split(jax.random.key(SEED), 3)[0]
    iwae = evaluate("iwae", kind="linear_gaussian", num_samples=6, key=first)
    assert_same((wake[0], wake[2]["decoder"]), (iwae[0], iwae[2]["decoder"]))


@pytest.mark.parametrize("partition", [(0.0, 1.0), (0.0, 0.1, 0.4, 1.0)])
def test_thermodynamic_objective_and_its_covariance_gradient(partition):
    """Σ Δβ E[log w] under weights w^β; E[∂ log w] + E[f log w] − E[f] E[log w], f = ∂ of β log p + (1−β) log q."""
    of_samples = parts("bernoulli_mlp", 6)
    l = of_samples.log_weights()
    exact, slope = 0.0, 0.0
    for beta, width in zip(partition, np.diff(partition), strict=False):
        pi = softmax(beta * l)
        f = beta * of_samples.joint + (1 - beta) * of_samples.score
        exact += width * (pi @ l)
        covariance = (pi * l) @ f - (pi @ f) * (pi @ l)
        slope += width * (pi @ (of_samples.joint - of_samples.score) + covariance)
    value, _, gradient = evaluate("thermodynamic", num_samples=6, partition=partition)
    np.testing.assert_allclose(value, -exact, rtol=1e-10)
    np.testing.assert_allclose(flat(gradient), -np.asarray(slope), rtol=1e-8, atol=1e-10)
    if partition == (0.0, 1.0):
        np.testing.assert_allclose(value, -l.mean(), rtol=1e-10)


def test_finer_partitions_rise_from_the_elbo_to_the_evidence():
    """A left Riemann sum of what rises in β: with many samples, from L(x) to log p(x)."""
    oracle, params, x, evidence = near_posterior()
    loss = functools.partial(losses.negative_thermodynamic, vae=oracle.vae, num_samples=20_000)
    partitions = [np.linspace(0, 1, steps + 1).tolist() for steps in (1, 2, 10, 200)]
    compute = jax.jit(lambda key: [-loss(params, jax.random.clone(key), x, partition=p)[0] for p in partitions])
    values = compute(jax.random.key(6))
    elbo = oracle.elbo(params, x)
    assert np.all(np.diff(np.asarray(values)) > 0)
    np.testing.assert_allclose(values[0], elbo, atol=5 * 0.6 / math.sqrt(20_000))  # log w has a deviation of 0.6
    assert values[-1] < evidence + 0.01
    np.testing.assert_allclose(values[-1], evidence, atol=0.02)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("gradient", losses.GRADIENTS)
def test_legal_combinations_are_exactly_those_that_do_not_raise(bound, gradient):
    """And the refusal names those that are legal."""
    vae, params, x = build("bernoulli_mlp")
    legal = losses.legal_combinations()[bound]
    options = {"num_samples": 4, "gradient": gradient} | TOLD.get(bound, {})
    trace = lambda: jax.eval_shape(lambda key: loss_of(bound)(params, key, x, vae=vae, **options), jax.random.key(0))
    if gradient in legal:
        assert trace()[0].shape == ()
    else:
        with pytest.raises(ValueError, match=f"negative_{bound} has no gradient '{gradient}'; .*{', '.join(legal)}"):
            trace()


@pytest.mark.parametrize(
    ("bound", "options", "message"),
    [
        *((bound, {"num_samples": 0}, "num_samples must be a whole number") for bound in BOUNDS),
        ("wake_sleep", {"num_samples": 0}, "num_samples must be a whole number"),
        ("thermodynamic", {"num_samples": 0}, "num_samples must be a whole number"),
        ("miwae", {"num_groups": 0}, "num_groups must be a whole number"),
        ("miwae", {"num_samples": 5}, "num_samples=5 .* num_groups=2"),
        ("piwae", {"num_samples": 5}, "num_samples=5 .* num_groups=2"),
        ("elbo", {"num_samples": 1, "gradient": "score_function", "baseline": "leave_one_out"}, "at least two samples"),
        ("iwae", {"num_samples": 1, "gradient": "vimco"}, "at least two samples"),
        ("piwae", {"num_samples": 2, "gradient": "vimco"}, "at least two samples in every group"),
        ("miwae", {"num_samples": 2, "gradient": "score_function", "baseline": "leave_one_out"}, "in every group"),
        ("renyi", {"alpha": math.nan}, "alpha must be a Python number"),
        ("renyi", {"alpha": math.inf, "gradient": "doubly_reparameterized"}, "has no gradient"),
        ("renyi", {"gradient": "vimco"}, "has no gradient 'vimco'; it has pathwise"),
        *(("ciwae", {"elbo_weight": weight}, "elbo_weight must lie in") for weight in (-0.1, 1.1, math.nan)),
        *((bound, {"gradient": "pathwize"}, "Did you mean 'pathwise'.*Known: pathwise, stick") for bound in BOUNDS),
        ("iwae", {"baseline": "leave_one_out"}, "gradient='pathwise' takes no baseline"),
        ("elbo", {"baseline": 1.0}, "gradient='pathwise' takes no baseline"),
        ("iwae", {"gradient": "vimco", "baseline": 1.0}, "gradient='vimco' takes no baseline"),
        ("iwae", {"gradient": "score_function", "baseline": "leave_one"}, "Did you mean 'leave_one_out'"),
        ("iwae", {"gradient": "score_function", "baseline": jnp.zeros(4)}, "baseline must be one number"),
        ("elbo", {"kl": "analytic", "gradient": "sticking_the_landing"}, "kl='analytic' goes with gradient='pathwise'"),
        ("wake_sleep", {"phi": "wakes"}, "unknown phi 'wakes'. Did you mean 'wake'"),
        *(
            ("thermodynamic", {"partition": partition}, "partition must rise from 0 to 1")
            for partition in ((), (0.0,), (0.1, 1.0), (0.0, 0.5), (0.0, 0.6, 0.5, 1.0), (0.0, 0.5, 0.5, 1.0))
        ),
    ],
)
def test_an_illegal_argument_is_refused_with_what_is_legal(bound, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(bound, **{"num_samples": 4} | TOLD.get(bound, {}) | options)


@pytest.mark.parametrize("partition", [(0.0, math.nan, 1.0), (0.0, math.nan, 0.5, 1.0)])
def test_a_partition_with_a_nan_is_refused(partition):
    """Every comparison with it is false."""
    with pytest.raises(ValueError, match="partition must rise from 0 to 1"):
        evaluate("thermodynamic", partition=partition)


@pytest.mark.parametrize("alpha", ["0.5", True, None])
def test_an_alpha_that_is_no_number_is_refused(alpha):
    with pytest.raises((ValueError, TypeError)):
        evaluate("renyi", alpha=alpha)


@pytest.mark.parametrize("name", ["beta", "kl"])
@pytest.mark.parametrize("bound", [bound for bound in BOUNDS if bound != "elbo"])
def test_what_only_the_elbo_has_is_refused_by_its_name(bound, name):
    """A β that was taken and ignored would be a wrong experiment."""
    with pytest.raises(TypeError, match=f"'{name}'"):
        evaluate(bound, **TOLD.get(bound, {}), **{name: 1.0})


@pytest.mark.parametrize("bound", [*BOUNDS, "wake_sleep", "thermodynamic"])
def test_a_batch_a_raw_key_and_many_keys_are_refused(bound):
    normal = lambda params, value: DiagonalNormal(value, jnp.asarray(1.0))
    vae = VAE(lambda key: {}, normal, normal, lambda params: standard_normal(2))
    loss = lambda key, x: loss_of(bound)({}, key, x, vae=vae, **{"num_samples": 4} | TOLD.get(bound, {}))
    with pytest.raises(ValueError, match=r"ONE example.*over_batch"):
        loss(jax.random.key(0), jnp.zeros((7, 2)))
    for key in (jax.random.PRNGKey(0), jax.random.split(jax.random.key(0))):
        with pytest.raises(TypeError):
            loss(key, jnp.zeros(2))


discrete = VAE(
    init=lambda key: {"q": jnp.asarray([0.3, -0.5]), "p": jnp.asarray([[1.0, -1.0], [0.5, 0.2]])},
    encode=lambda params, x: Bernoulli(params["q"] * x),
    decode=lambda params, z: Bernoulli(params["p"] @ z),
    prior=lambda params: Bernoulli(jnp.zeros(2)),
)


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_latent_without_a_path_has_the_estimators_that_need_none(bound):
    """A Bernoulli latent: the path is refused, with what to use."""
    params, x = discrete.init(None), jnp.asarray([1.0, 1.0])
    options = {"num_samples": 4} | TOLD.get(bound, {})
    for gradient in losses.legal_combinations()[bound]:
        loss = functools.partial(loss_of(bound), vae=discrete, gradient=gradient, **options)
        trace = functools.partial(jax.eval_shape, lambda key, loss=loss: loss(params, key, x), jax.random.key(0))
        if gradient in ("pathwise", "sticking_the_landing", "doubly_reparameterized"):
            with pytest.raises(ValueError, match=r"Bernoulli is not reparameterised; use 'score_function'"):
                trace()
        else:
            trace()


@pytest.mark.parametrize(
    ("bound", "options"),
    [
        ("piwae", {"gradient": "doubly_reparameterized", "num_groups": 2}),
        ("ciwae", {"gradient": "score_function", "baseline": "leave_one_out", "elbo_weight": 0.3}),
        ("wake_sleep", {"phi": "both"}),
    ],
)
def test_a_compiled_batch_is_the_mean_of_plain_calls(bound, options):
    """jit and vmap change no number."""
    vae, params, _ = build("bernoulli_mlp")
    xs = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 3)) > 0.5, jnp.float64)
    loss = functools.partial(loss_of(bound), vae=vae, num_samples=6, **options)
    batch = jax.jit(jax.value_and_grad(losses.over_batch(loss), has_aux=True))
    keys = jax.random.split(jax.random.key(7), 2)
    (value, terms), gradient = batch(params, jax.random.clone(keys), xs)
    single = [jax.value_and_grad(loss, has_aux=True)(params, key, x) for key, x in zip(keys, xs, strict=True)]
    np.testing.assert_allclose(value, np.mean([one[0][0] for one in single]), rtol=1e-10)
    assert_same(terms.log_weights, np.stack([one[0][1].log_weights for one in single]))
    assert_same(gradient, jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *(one[1] for one in single)))

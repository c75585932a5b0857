"""What the losses refuse, with what is legal."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.bound_parts import BOUNDS, TOLD, assert_same, evaluate, loss_of
from tests.estimator_parts import build
from vae_jax import VAE, losses
from vae_jax.distributions import Bernoulli, DiagonalNormal, standard_normal

pytestmark = pytest.mark.usefixtures("float64")

WITHOUT_KL = [*(bound for bound in BOUNDS if bound != "elbo"), "wake_sleep", "thermodynamic"]


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
        (
            "renyi",
            {"alpha": math.inf, "gradient": "doubly_reparameterized"},
            "has no gradient 'doubly.*; it has pathwise",
        ),
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


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize("alpha", ["0.5", True, None])
def test_an_alpha_that_is_no_number_is_refused(alpha):
    with pytest.raises((ValueError, TypeError), match="alpha"):
        evaluate("renyi", alpha=alpha)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 2.0}, r"beta=2\.0: .* has no KL that could be given a weight\. Use negative_elbo\(beta="),
        ({"beta": np.ones(())}, r"beta=array"),
        ({"beta": math.nan}, r"beta=nan"),
        ({"kl": "analytic"}, r"kl='analytic': .* no closed form .* Use kl='monte_carlo', .* or negative_elbo\(kl="),
        ({"kl": "analytical"}, r"kl='analytical'"),
    ],
)
@pytest.mark.parametrize("bound", WITHOUT_KL)
def test_what_only_the_elbo_has_is_refused_with_the_reason(bound, options, message):
    """A β that was taken and ignored would be a wrong experiment."""
    with pytest.raises(ValueError, match=f"negative_{bound} takes no {message}"):
        evaluate(bound, **TOLD.get(bound, {}), **options)


def test_a_traced_beta_is_refused():
    with pytest.raises(ValueError, match=r"negative_iwae takes no beta=.*Tracer"):
        jax.eval_shape(lambda beta: evaluate("iwae", beta=beta)[0], 1.0)


def test_options_of_the_elbo_that_ask_for_nothing_else_pass():
    """So that one set of options serves every bound."""
    plain, told = (evaluate("iwae", num_samples=4, **options) for options in ({}, {"beta": 1.0, "kl": "monte_carlo"}))
    assert_same(told, plain)


@pytest.mark.parametrize("bound", [*BOUNDS, "wake_sleep", "thermodynamic"])
def test_an_unknown_argument_is_named(bound):
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'betta'"):
        evaluate(bound, **TOLD.get(bound, {}), betta=1.0)


@pytest.mark.parametrize("bound", [*BOUNDS, "wake_sleep", "thermodynamic"])
def test_a_batch_is_refused(bound):
    normal = lambda params, value: DiagonalNormal(value, jnp.asarray(1.0))
    vae = VAE(lambda key: {}, normal, normal, lambda params: standard_normal(2))
    loss = lambda key, x: loss_of(bound)({}, key, x, vae=vae, **{"num_samples": 4} | TOLD.get(bound, {}))
    with pytest.raises(ValueError, match=r"ONE example.*over_batch"):
        loss(jax.random.key(0), jnp.zeros((7, 2)))


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize("key", [jax.random.PRNGKey(0), jax.random.split(jax.random.key(0))], ids=["raw", "many"])
@pytest.mark.parametrize("bound", [*BOUNDS, "wake_sleep", "thermodynamic"])
def test_a_key_that_is_not_one_typed_key_is_refused(bound, key):
    options = {"num_samples": 4} | TOLD.get(bound, {})
    with pytest.raises(TypeError, match=r"key must be (a typed PRNG key|one key)"):
        loss_of(bound)({}, key, jnp.zeros(2), vae=discrete, **options)


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

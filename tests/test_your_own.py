"""The parts of docs/your_own work and obey their laws; the rooms of CONTRIBUTING.md are those of import-linter."""

import contextlib
import importlib
import io
import re
import sys
import tomllib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats
from jaxtyping import install_import_hook

from experiments.command import flags
from experiments.run import objective
from experiments.run.config import Config, to_dict
from tests.bound_parts import near_posterior
from tests.commands import ROOT
from tests.fitted import bytes_view, of_pictures
from tests.statistics_checks import FALSE_ALARMS, assert_mean
from vae_jax import VAE, expressions, losses, networks, training
from vae_jax.distributions import DiagonalNormal
from vae_jax.fitted import build_vae
from vae_jax.likelihoods import LIKELIHOODS
from vae_jax.networks.bodies import BODIES, Outputs
from vae_jax.posteriors import POSTERIORS
from vae_jax.priors import PRIORS
from vae_jax.testing import check_reparameterization

PAGE = (ROOT / "CONTRIBUTING.md").read_text()


class Example(NamedTuple):
    """A section: the module that it shows, its line for a notebook, and the flag that names its part."""

    code: str
    line: str
    flag: str


def examples() -> dict[str, Example]:
    """Returns the pages of docs/your_own by the names of their modules."""
    found = {}
    for path in sorted((ROOT / "docs" / "your_own").glob("*.md")):
        section = path.read_text()
        if not (module := re.search(r"`mypackage/(\w+)\.py`", section)):
            continue
        code, *line = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
        name = module[1]
        found[name] = Example(code, "".join(line), "".join(re.findall(r"`(--config[^`]+mypackage[^`]+)`", section)))
    return found


EXAMPLES = examples()
PARTS = [name for name, example in EXAMPLES.items() if example.flag]
ROLES = {
    "posterior": POSTERIORS,
    "prior": PRIORS,
    "likelihood": LIKELIHOODS,
    "body": BODIES,
    "bound": losses.OBJECTIVES,
}


@pytest.fixture(scope="module", autouse=True)
def own(tmp_path_factory):
    """The examples as modules of a package that Python finds, by their names; their annotations are checked."""
    folder = tmp_path_factory.mktemp("own") / "mypackage"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for name, example in EXAMPLES.items():
        (folder / f"{name}.py").write_text(example.code)
    with pytest.MonkeyPatch.context() as patch, install_import_hook("mypackage", "beartype.beartype"):
        patch.syspath_prepend(folder.parent)
        yield {name: importlib.import_module(f"mypackage.{name}") for name in EXAMPLES}
    for name in [name for name in sys.modules if name.split(".")[0] == "mypackage"]:
        del sys.modules[name]


def text_of(name: str) -> str:
    """Returns the expression that a section's flag has, without the quotes of the shell."""
    return EXAMPLES[name].flag.partition("=")[2].strip("'")


def config_of(*names: str, **others: str) -> Config:
    """Returns the config of the flags of these sections, and of more."""
    arguments = [EXAMPLES[name].flag.replace("'", "") for name in names]
    return flags.override(Config(), [*arguments, *(f"--config.{name}={value}" for name, value in others.items())])


def small_vae(**parts: Any) -> VAE:
    return networks.assemble(**{"encoder": "mlp(hidden=(4,))", "event_shape": 3, "latent_shape": 2, **parts})


def test_there_is_an_example_of_every_kind_of_part():
    kinds = {"posterior", "prior", "likelihood", "body", "bound", "estimator", "regulariser", "parameters"}
    assert set(EXAMPLES) == kinds
    assert set(EXAMPLES) - set(PARTS) == {"estimator", "parameters"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_short(name):
    assert len(EXAMPLES[name].code.splitlines()) <= 40


@pytest.mark.parametrize("name", ROLES)
def test_a_flag_names_the_same_part_every_time(name):
    """Equal parts are one to JAX, so that nothing compiles twice."""
    first, second = (expressions.make(text_of(name), ROLES[name]) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)


@pytest.mark.parametrize("name", PARTS)
def test_the_line_for_a_notebook_runs(name, own):
    oracle, params, x, _ = near_posterior()

    def run(key):
        shown = {**vars(own[name]), "networks": networks, "losses": losses, "vae": oracle.vae, "params": params}
        exec(EXAMPLES[name].line, {**shown, "key": key, "x": x})

    jax.eval_shape(run, jax.random.key(0))


def test_the_density_of_the_posterior_is_that_of_its_samples(own):
    q = own["posterior"].SinhArcsinh(jnp.asarray([0.5, -1.0]), jnp.asarray([0.3, 2.0]), jnp.asarray([-0.7, 0.4]), 1.3)
    check_reparameterization(q, jax.random.key(0))


def test_the_posterior_starts_as_a_gaussian():
    """Without a heavier tail."""
    vae = small_vae(posterior="mypackage.posterior:sinh_arcsinh")
    q = vae.encode(jax.jit(vae.init)(jax.random.key(0)), jnp.asarray([1.0, 0.0, 1.0]))
    gaussian, z = DiagonalNormal(q.location, q.scale), jnp.asarray([1.5, -2.0])
    np.testing.assert_allclose(q.log_prob(z), gaussian.log_prob(z), rtol=1e-5)
    np.testing.assert_allclose(q.sample(jax.random.key(1)), gaussian.sample(jax.random.key(1)), rtol=1e-5)


def test_the_prior_is_the_mixture_that_it_is_said_to_be():
    vae = small_vae(prior="mypackage.prior:ring(num_components=3, scale=0.4)")
    z, angles = np.asarray([1.0, -1.5]), 2 * np.pi * np.arange(3) / 3
    params = {"prior": {"log_radius": jnp.log(jnp.full((), 2.0))}}
    means = 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    log_probs = scipy.stats.norm.logpdf(z, means, 0.4).sum(axis=1)
    np.testing.assert_allclose(
        vae.prior(params).log_prob(jnp.asarray(z)), scipy.special.logsumexp(log_probs, b=1 / 3), rtol=1e-5
    )


def test_the_prior_refuses_another_latent_where_the_model_is_built():
    with pytest.raises(ValueError, match=r"ring is over z of shape \(2,\), and the latent shape is \(5,\)"):
        small_vae(prior=text_of("prior"), latent_shape=5)


@pytest.mark.parametrize("concentration", [0.5, 1.0, 7.0])
def test_the_likelihood_is_scipys_density(own, concentration):
    x, mean = np.asarray([0.02, 1.0, 30.0]), np.asarray([0.1, 1.5, 20.0])
    exact = scipy.stats.gamma.logpdf(x, concentration, scale=mean / concentration).sum()
    p = own["likelihood"].Gamma(jnp.asarray(mean), concentration)
    np.testing.assert_allclose(p.log_prob(jnp.asarray(x)), exact, rtol=1e-5)


def test_the_likelihood_has_a_gradient_at_the_edge_of_its_support(own):
    """(a/μ)(x/μ − 1), where (a − 1) log x is 0 · −∞."""
    log_prob = lambda mean: own["likelihood"].Gamma(mean, 1.0).log_prob(jnp.zeros(2))
    np.testing.assert_allclose(jax.grad(log_prob)(jnp.asarray([0.5, 4.0])), [-2.0, -0.25], rtol=1e-6)


def test_samples_of_the_likelihood_have_its_mean_and_variance(own):
    """The variance is μ²/a."""
    p = own["likelihood"].Gamma(jnp.asarray([0.1, 2.0]), 4.0)
    draws = np.asarray(jax.jit(jax.vmap(p.sample))(jax.random.split(jax.random.key(0), 20_000)))
    errors = draws / [0.1, 2.0] - 1
    assert_mean([1 + errors, errors**2], [np.ones(2), np.full(2, 0.25)], resolution=0.05)


def test_the_likelihood_starts_at_the_mean_of_the_data():
    mean = np.asarray([0.2, 1.0, 8.0])
    vae = small_vae(likelihood=text_of("likelihood"), output_mean=mean)
    p = vae.decode(jax.jit(vae.init)(jax.random.key(0)), jnp.zeros(2))
    np.testing.assert_allclose(p.mean, mean, rtol=1e-5)


def test_blocks_of_the_body_start_as_the_identity(own):
    body = own["body"].Residual(width=4, num_blocks=2)
    network = body((3,), Outputs((2,)))
    params, x = jax.jit(network.init)(jax.random.key(0)), jnp.asarray([0.5, -1.0, 2.0])
    first, *_, last = (np.asarray(params[f"Dense_{i}"]["kernel"]) for i in range(6))
    np.testing.assert_allclose(jax.jit(network.apply)(params, x), x @ first @ last, rtol=1e-5)
    assert body.mirror() == body


def test_a_class_without_arguments_is_a_part_with_its_defaults(own):
    assert expressions.make("mypackage.body:Residual", BODIES) == own["body"].Residual()


def test_the_bound_lies_between_the_smallest_weight_and_the_mean_weight(own):
    """For one sample and for equal weights all three are the same."""
    bound = own["bound"].truncated(0.5)
    for log_weights in (jnp.asarray([-3.0]), jnp.full(7, -3.0)):
        np.testing.assert_allclose(bound(log_weights), -3.0, rtol=1e-6)
    log_weights = jnp.asarray([0.0, 1.0, -2.0, 9.0])
    weights = np.exp(np.asarray(log_weights, np.float64))
    exact = np.log(np.minimum(weights, 2 * weights.mean()).mean())
    np.testing.assert_allclose(bound(log_weights), exact, rtol=1e-5)
    np.testing.assert_allclose(own["bound"].truncated(1.0)(log_weights), np.log(weights.mean()), rtol=1e-5)
    assert np.log(weights.min()) < exact < np.log(weights.mean()) - 0.1


@pytest.fixture(scope="module")
def bounds(own):
    """Of the bound of 8 samples, of which a sixth are truncated: values, and gradients by two estimators; log p(x)."""
    oracle, params, x, log_evidence = near_posterior()
    bound = own["bound"].truncated(0.2)

    def estimate(key, gradient):
        loss = lambda params: losses.negative_bound(
            params, key, x, vae=oracle.vae, bound=bound, num_samples=8, gradient=gradient
        )
        return jax.value_and_grad(loss, has_aux=True)(params)

    # Of the same samples.
    both = lambda key: (estimate(key, "pathwise"), estimate(jax.random.clone(key), "vimco"))
    keys = jax.random.split(jax.random.key(3), 4000)
    ((value, _), pathwise), (_, vimco) = jax.jit(jax.vmap(both))(keys)
    return -np.asarray(value, np.float64), pathwise, vimco, log_evidence


def test_the_bound_is_below_the_evidence(bounds):
    values, *_, log_evidence = bounds
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert values.mean() + scipy.stats.norm.isf(FALSE_ALARMS) * error < log_evidence


def test_estimators_of_the_gradient_of_the_bound_agree(bounds):
    """The pathwise gradient and VIMCO's, of which neither is biased."""
    _, pathwise, vimco, _ = bounds
    flat = lambda tree: np.concatenate(
        [np.asarray(leaf).reshape(len(leaf), -1) for leaf in jax.tree.leaves(tree)], axis=1
    )
    difference = flat(pathwise) - flat(vimco)
    size = np.linalg.norm(flat(pathwise).mean(axis=0))
    assert_mean(1 + difference / size, np.ones(difference.shape[1]), resolution=0.05)


def test_the_bound_refuses_the_gradient_that_its_kink_has_not():
    oracle, params, x, _ = near_posterior()
    bound, options = expressions.make(text_of("bound"), losses.OBJECTIVES), {"gradient": "doubly_reparameterized"}
    with pytest.raises(ValueError, match="negative_truncated has no gradient 'doubly_reparameterized'"):
        losses.negative_bound(params, jax.random.key(0), x, vae=oracle.vae, bound=bound, **options)


@pytest.fixture(scope="module")
def step():
    """Loss, terms and gradient of a batch, of the config that the flags of all parts but the bound make."""
    parts = ("posterior", "prior", "likelihood", "body", "regulariser")
    config = config_of(*parts, **{"data.binarization": "none", "loss.beta": "0.5", "model.latent_dim": "(2,)"})
    vae = build_vae(to_dict(config)["model"], of_pictures((4,), np.full(4, 0.5)))
    loss_fn = objective.make_loss(config, vae, bytes_view((4,)), axis_name=None)
    batch = np.random.default_rng(0).integers(1, 256, size=(5, 4)).astype(np.uint8)

    def run(init_key, keys):
        return jax.value_and_grad(loss_fn, has_aux=True)(vae.init(init_key), keys, batch, jnp.asarray(0))

    (value, terms), gradient = jax.jit(run)(jax.random.key(0), jax.random.split(jax.random.key(1), 5))
    return value, terms, gradient


def test_a_model_of_the_parts_has_a_finite_gradient_that_reaches_each(step):
    _, _, gradient = step
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))
    head = gradient["encoder"]["PosteriorHead_0"]
    for leaf in (head["skew"]["kernel"], gradient["prior"]["log_radius"], gradient["decoder"]["Dense_2"]["kernel"]):
        assert np.abs(leaf).max() > 0


def test_the_regulariser_adds_the_square_of_the_mean(step):
    """With the weights of its flag and of `loss.beta`."""
    value, terms, _ = step
    mean = np.asarray(terms.z, np.float64).mean(axis=(0, 1))
    exact = np.mean(0.5 * np.asarray(terms.kl) - np.asarray(terms.reconstruction)) + 10 * np.sum(mean**2)
    np.testing.assert_allclose(value, exact, rtol=1e-5)


def test_the_command_counts_the_parameters_of_a_run(own, tmp_path):
    """Of the encoder: 4·3 + 3, a block's 2·3 + 2·(3·3 + 3), and three heads' 3·2 + 2; a radius of the prior."""
    model = to_dict(config_of("posterior", "prior", **{"model.latent_dim": "(2,)"}))["model"]
    model |= {"network": "mypackage.body:Residual(width=3, num_blocks=1)", "likelihood": "bernoulli"}
    vae = build_vae(model, of_pictures((4,), np.zeros(4)))
    state = training.init_state(jax.jit(vae.init)(jax.random.key(0)), optax.sgd(0.1))
    with training.Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(state, {"config": {"model": model}, "event_shape": (4,), "data_mean": [0.0] * 4})
    flags.read_flags(own["parameters"].FLAGS, ["parameters", f"--workdir={tmp_path}", "--trust=mypackage"])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        own["parameters"].main()
    assert printed.getvalue().split() == ["decoder", "55", "encoder", "69", "prior", "1", "total", "125"]


def test_the_rooms_are_those_that_import_linter_keeps_apart():
    """Row by row, from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["name"] == "rooms of the library")
    (table,) = re.findall(r"^\| rooms of `vae_jax/` \|.*?\n\n", PAGE, re.DOTALL | re.MULTILINE)
    rows = [re.findall(r"`([\w/.]+)`", row.split("|")[1]) for row in table.splitlines()[2:] if row]
    assert [sorted(name.removesuffix("/").removesuffix(".py") for name in row) for row in rows] == [
        sorted(layer.split(" | ")) for layer in layers
    ]
    assert not [name for row in rows for name in row if not (ROOT / "vae_jax" / name).exists()]

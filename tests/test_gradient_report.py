"""`gradient_report` against NumPy over the same replicates, and against the exact gradients of the oracles."""

import functools
import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from tests.fixed_oracles import ppca
from vae_jax import losses
from vae_jax.evaluation import BlockStatistics, GradientReport, gradient_report

PARAMS = {
    "first": {"a": jnp.asarray([0.5, -1.0]), "b": jnp.asarray(2.0)},
    "second": {"c": jnp.asarray([[0.3, 0.1, -0.7]])},
}
X = jnp.asarray(1.5)
R = 1003


def key() -> jax.Array:
    return jax.random.key(7)


def noise(key: jax.Array) -> jax.Array:
    return jax.random.normal(key, (4,))


def quadratic(params: Any, key: jax.Array, x: jax.Array) -> jax.Array:
    """Its gradient is linear in the noise and in every parameter."""
    e, first = noise(key), params["first"]
    return jnp.sum(first["a"] ** 2 * e[:2]) + x * first["b"] * e[2] + jnp.sum(params["second"]["c"] ** 3) * (1 + e[3])


@functools.cache
def replicates(num: int = R) -> tuple[np.ndarray, dict]:
    """Losses and gradients of `quadratic`, by hand: replicate i has the noise of fold_in(key, i)."""
    e = np.asarray(jax.vmap(lambda i: noise(jax.random.fold_in(key(), i)))(jnp.arange(num)), np.float64)
    a, b, c = (np.asarray(leaf, np.float64) for leaf in (*PARAMS["first"].values(), PARAMS["second"]["c"]))
    x = float(X)
    loss = e[:, :2] @ a**2 + x * b * e[:, 2] + (c**3).sum() * (1 + e[:, 3])
    gradient = {
        "first": {"a": 2 * a * e[:, :2], "b": x * e[:, 2]},
        "second": {"c": 3 * c**2 * (1 + e[:, 3])[:, None, None]},
    }
    return loss, gradient


def exact() -> dict:
    """E of the gradient: the noise has mean 0."""
    return {
        "first": {"a": np.zeros(2, np.float32), "b": np.zeros((), np.float32)},
        "second": {"c": 3 * np.asarray(PARAMS["second"]["c"]) ** 2},
    }


def report(loss: Any = quadratic, params: Any = PARAMS, **options: Any) -> GradientReport:
    return gradient_report(loss, params, key(), X, **({"num_replicates": R} | options))


def flat(tree: Any, num: int = 1) -> np.ndarray:
    return np.concatenate([np.reshape(leaf, (num, -1)) for leaf in jax.tree.leaves(tree)], axis=1).squeeze()


@pytest.mark.parametrize("chunk_size", [1, 100, 5000])
def test_moments_are_numpys_over_the_same_replicates_for_any_chunk_size(chunk_size):
    loss, gradient = replicates()
    result = report(chunk_size=chunk_size)
    close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6)
    jax.tree.map(close, result.mean, jax.tree.map(lambda g: g.mean(0), gradient))
    jax.tree.map(close, result.variance, jax.tree.map(lambda g: g.var(0, ddof=1), gradient))
    close(result.loss, loss.mean())
    close(result.loss_standard_deviation, loss.std(ddof=1))
    assert result.num_replicates == R
    assert result.seconds > 0


def test_two_replicates_are_enough():
    loss, gradient = replicates(2)
    result = report(num_replicates=2)
    np.testing.assert_allclose(result.loss_standard_deviation, loss.std(ddof=1), rtol=1e-5)
    np.testing.assert_allclose(flat(result.variance), flat(gradient, 2).var(0, ddof=1), rtol=1e-5)


@pytest.mark.parametrize("chunk_size", [64, 5000])
def test_the_variance_about_a_large_mean_is_right_in_float32(chunk_size):
    """E[v²] − E[v]² would be off by 1e8 · 6e-8, 600 times the variance; Chan's update is right to float32's spacing.

    The noise is 64 times the spacing 2⁻¹⁰ of float32 at 10⁴; a chunk's mean, and so the squares, is right to it.
    """
    spread = 2.0**-4
    far = lambda p, key, x: (1e4 + spread * jax.random.normal(key)) * p
    result = report(far, jnp.asarray(1.0), num_replicates=2000, chunk_size=chunk_size)
    draw = jax.vmap(lambda i: 1e4 + spread * jax.random.normal(jax.random.fold_in(key(), i)))
    values = np.asarray(draw(jnp.arange(2000)), np.float64)
    np.testing.assert_allclose(result.variance, values.var(ddof=1), rtol=0.01)
    np.testing.assert_allclose(result.loss_standard_deviation, values.std(ddof=1), rtol=0.005)
    np.testing.assert_allclose(result.mean, values.mean(), rtol=1e-6)


def test_figures_of_a_block_are_their_formulas():
    _, gradient = replicates()
    result = report(exact=exact(), chunk_size=100)
    assert list(result.blocks) == ["first", "second"]
    for name, block in result.blocks.items():
        values, answer = flat(gradient[name], R), flat(exact()[name])
        mean, deviation = values.mean(0), values.std(0, ddof=1)
        formulas = BlockStatistics(
            size=3,
            norm=np.sqrt((mean**2).sum()),
            variance=(deviation**2).sum(),
            snr=np.mean(np.abs(answer) / deviation),
            bias=np.sqrt(((mean - answer) ** 2).sum()),
            bias_z=np.max(np.abs(mean - answer) / deviation) * np.sqrt(R),
            bias_z_threshold=scipy.stats.norm.isf((1 - 0.999 ** (1 / 3)) / 2),
            cosine=mean @ answer / np.sqrt((mean**2).sum() * (answer**2).sum()) if answer.any() else math.nan,
            cost_adjusted_variance=(deviation**2).sum() * result.seconds,
        )
        np.testing.assert_allclose(block, formulas, rtol=1e-4)


def test_without_an_exact_gradient_the_signal_is_the_mean_and_there_is_no_bias():
    _, gradient = replicates()
    for name, block in report().blocks.items():
        values = flat(gradient[name], R)
        np.testing.assert_allclose(block.snr, np.mean(np.abs(values.mean(0)) / values.std(0, ddof=1)), rtol=1e-4)
        assert block[4:8] == (None,) * 4


@pytest.mark.parametrize("size", [1, 10, 100_000])
def test_threshold_is_sidaks(size):
    loss = lambda p, key, x: jnp.sum(p) * jax.random.normal(key)
    result = report(loss, jnp.zeros(size), num_replicates=2, exact=np.zeros(size))
    threshold = scipy.stats.norm.isf(-np.expm1(np.log(0.999) / size) / 2)
    np.testing.assert_allclose(result.blocks["params"].bias_z_threshold, threshold, rtol=1e-5)


def test_parameters_that_do_not_vary_are_left_out_of_the_signal_to_noise_ratio():
    loss = lambda p, key, x: p[0] * jax.random.normal(key) + 0.1 * p[1]
    result = report(loss, jnp.ones(2), chunk_size=100)
    np.testing.assert_allclose(result.variance[1], 0, atol=1e-12)
    np.testing.assert_allclose(
        result.blocks["params"].snr, np.abs(result.mean[0]) / np.sqrt(result.variance[0]), rtol=1e-5
    )


def test_float32s_rounding_of_a_gradient_without_noise_is_no_bias():
    loss = lambda p, key, x: p["noisy"] * jax.random.normal(key) + 0.1 * p["still"]
    params = {"noisy": jnp.asarray(1.0), "still": jnp.asarray(1.0)}
    answer = {"noisy": np.float32(0.0), "still": np.float32(0.1)}
    blocks = report(loss, params, num_replicates=4097, chunk_size=1000, exact=answer).blocks
    assert blocks["still"].bias_z < blocks["still"].bias_z_threshold


@pytest.mark.parametrize("wrong", [0.0, 0.2])
def test_a_wrong_gradient_without_noise_is_a_bias(wrong):
    """A stop_gradient in the wrong place, for one: it has neither a variance nor a standard error."""
    block = report(lambda p, key, x: wrong * p, jnp.asarray(1.0), exact=np.float32(0.1)).blocks["params"]
    np.testing.assert_allclose(block.bias, 0.1, rtol=1e-5)
    assert block.bias_z > block.bias_z_threshold


@functools.cache
def of_elbo(gradient: str, num_samples: int = 2) -> GradientReport:
    x = jax.random.normal(jax.random.key(1), (3,))
    answer = jax.jit(jax.grad(lambda params: -ppca().elbo(params, x)))(ppca().params)
    loss = functools.partial(losses.negative_elbo, vae=ppca().vae, num_samples=num_samples, gradient=gradient)
    return gradient_report(loss, ppca().params, key(), x, num_replicates=20_000, exact=answer)


@pytest.mark.parametrize("gradient", ["pathwise", "score_function"])
def test_an_unbiased_estimator_stays_below_the_threshold(gradient):
    for block in of_elbo(gradient).blocks.values():
        assert block.bias_z < block.bias_z_threshold
        assert block.cosine > 0.9


def test_the_naive_estimator_is_far_above_the_threshold_in_phi_alone():
    """E9: its φ-expectation is 0, so its bias is the gradient."""
    encoder, decoder = (of_elbo("naive").blocks[name] for name in ("encoder", "decoder"))
    assert encoder.bias_z > 5 * encoder.bias_z_threshold
    assert decoder.bias_z < decoder.bias_z_threshold


def test_blocks_are_named_by_the_first_levels_of_the_tree():
    sizes = lambda depth: {name: block.size for name, block in report(depth=depth).blocks.items()}
    assert sizes(1) == {"first": 3, "second": 3}
    assert sizes(2) == {"first.a": 2, "first.b": 1, "second.c": 3}


def test_a_lone_array_is_a_block_called_params():
    result = report(lambda p, key, x: jnp.sum(p * jax.random.normal(key, (2,))), jnp.ones(2))
    assert {name: block.size for name, block in result.blocks.items()} == {"params": 2}


def test_effective_sample_size_is_the_mean_of_the_terms():
    x = jax.random.normal(jax.random.key(1), (3,))
    loss = functools.partial(losses.negative_iwae, vae=ppca().vae, num_samples=5)
    one = jax.jit(lambda i: loss(ppca().params, jax.random.fold_in(key(), i), x)[1].effective_sample_size)
    sizes = np.asarray(jax.vmap(one)(jnp.arange(50)), np.float64)
    result = gradient_report(loss, ppca().params, key(), x, num_replicates=50, chunk_size=8)
    np.testing.assert_allclose(result.effective_sample_size, sizes.mean(), rtol=1e-5)


def test_a_loss_may_return_a_scalar_alone_or_terms_of_any_kind():
    alone, paired = report(), report(lambda *inputs: (quadratic(*inputs), {"anything": "at all"}))
    jax.tree.map(np.testing.assert_array_equal, (alone.mean, alone.variance), (paired.mean, paired.variance))
    assert alone.effective_sample_size is paired.effective_sample_size is None


def test_a_function_of_a_batch_is_one_loss():
    """Its gradient is the mean over the examples, of which each has a key."""
    xs = jax.random.normal(jax.random.key(1), (6, 3))
    one = functools.partial(losses.negative_elbo, vae=ppca().vae)

    def batch_loss(params, key, xs):
        value, terms = losses.over_batch(one)(params, jax.random.split(key, 6), xs)
        return jnp.mean(value), terms

    answer = jax.jit(jax.grad(lambda p: -jnp.mean(jax.vmap(lambda x: ppca().elbo(p, x))(xs))))(ppca().params)
    result = gradient_report(batch_loss, ppca().params, key(), xs, num_replicates=4000, exact=answer)
    assert all(block.bias_z < block.bias_z_threshold for block in result.blocks.values())
    np.testing.assert_allclose(result.effective_sample_size, 1, rtol=1e-6)


def test_to_dict_holds_every_number():
    result = of_elbo("pathwise")
    read = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert read == result.to_dict()
    assert {name: BlockStatistics(**block) for name, block in read.pop("blocks").items()} == result.blocks
    assert read == {name: getattr(result, name) for name in read}
    assert set(read) == set(GradientReport.__dataclass_fields__) - {"blocks", "mean", "variance"}


def test_a_number_that_is_not_finite_is_null_in_json():
    """The ratio of a gradient without noise, and the cosine with a gradient of 0."""
    result = report(lambda p, key, x: 0.0 * p, jnp.asarray(1.0), exact=np.float32(0.0))
    read = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert read["blocks"]["params"]["cosine"] is None


@pytest.mark.parametrize("answer", [None, exact()])
def test_printed_it_is_a_table_with_a_row_for_each_block(answer):
    result = report(exact=answer, depth=2)
    title, *rows = str(result).splitlines()
    assert f"{R} replicates" in title
    assert f"loss {result.loss:.6g} ± {result.loss_standard_deviation:.3g}" in title
    cells = {row.split("│")[1].strip(): [cell.strip() for cell in row.split("│")[2:-1]] for row in rows if "│" in row}
    expected = {name: ["" if v is None else f"{v:.4g}" for v in block] for name, block in result.blocks.items()}
    assert cells == expected


def test_it_holds_no_more_replicates_than_a_chunk():
    """200,000 of 4,000 bytes each would be 800 MB."""
    size, num = 1000, 200_000
    loss = lambda p, key, x: jnp.sum(p) * jax.random.uniform(key)
    result = report(loss, jnp.zeros(size), num_replicates=num, chunk_size=1000)
    np.testing.assert_allclose(result.mean, 0.5, atol=5 * math.sqrt(1 / 12 / num))
    np.testing.assert_allclose(result.variance, 1 / 12, rtol=0.01)


def test_replicates_beyond_the_last_are_not_counted():
    """The last chunk is filled up: what a loss does there, NaN for one, is nobody's gradient."""

    def loss(params, key, x):
        extra = jnp.any(jnp.all(jax.random.key_data(key)[None] == beyond, axis=-1))
        return params * jnp.where(extra, jnp.nan, jax.random.normal(key))

    fold = lambda i: jax.random.key_data(jax.random.fold_in(key(), i))
    beyond = jnp.stack([fold(i) for i in range(10, 16)])
    assert np.isfinite(report(loss, jnp.asarray(1.0), num_replicates=10, chunk_size=8).mean)
    assert np.isnan(report(loss, jnp.asarray(1.0), num_replicates=11, chunk_size=8).mean)


@pytest.mark.parametrize(
    "options",
    [{"num_replicates": 1}, {"chunk_size": 0}, {"depth": 0}],
    ids=str,
)
def test_counts_that_mean_nothing_are_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be a whole number of at least"):
        report(**options)


@pytest.mark.parametrize(
    "answer",
    [
        {"first": exact()["first"]},
        exact() | {"second": {"c": np.zeros(3)}},
        exact() | {"second": [np.zeros((1, 3))]},
    ],
)
def test_an_exact_gradient_of_another_structure_or_shape_is_refused(answer):
    with pytest.raises(ValueError, match="structure and shapes of params"):
        report(exact=answer)


def test_a_loss_that_is_no_scalar_is_refused():
    with pytest.raises(ValueError, match="scalar"):
        report(lambda p, key, x: p * jnp.ones(3), jnp.asarray(1.0))


@pytest.mark.usefixtures("no_annotations")
@pytest.mark.parametrize("make", [lambda: jax.random.PRNGKey(0), lambda: jax.random.split(jax.random.key(0), 2)])
def test_a_raw_key_or_many_keys_are_refused(make):
    with pytest.raises(TypeError, match=r"key must be (a typed PRNG key|one key)"):
        gradient_report(quadratic, PARAMS, make(), X)

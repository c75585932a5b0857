"""Schedules at steps worked out by hand, clipping, and optimisers by name at their first step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vae_jax import training

LEARNING_RATE = 0.5
PARAMS = {"a": np.float32([2.0, -1.0]), "b": np.float32([4.0])}
GRADIENT = {"a": np.float32([3.0, -0.25]), "b": np.float32([-4.0])}
SIGN = jax.tree.map(np.sign, GRADIENT)


def values(schedule: optax.Schedule, steps: list[int]) -> list[float]:
    """At traced int32 steps, as in training."""
    return np.asarray(jax.jit(jax.vmap(schedule))(jnp.asarray(steps, jnp.int32))).tolist()


def first_update(optimizer: optax.GradientTransformation) -> dict[str, np.ndarray]:
    updates, _ = jax.jit(optimizer.update)(GRADIENT, optimizer.init(PARAMS), PARAMS)
    return updates


def assert_update(optimizer: optax.GradientTransformation, expected: dict[str, np.ndarray]) -> None:
    for update, exact in zip(first_update(optimizer).values(), expected.values(), strict=True):
        np.testing.assert_allclose(update, exact, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "after_warmup"),
    [
        ("constant", [0.8, 0.8, 0.8, 0.8]),
        ("linear", [0.8, 0.8 * 2 / 3, 0.4, 0.0]),
        ("cosine", [0.8, 0.6, 0.4, 0.0]),  # ½ (1 + cos π/3) = ¾
    ],
)
def test_learning_rate_rises_from_zero_and_decays_to_zero_at_the_end(name, after_warmup):
    """Four steps of warm-up; then six, of which steps 4, 6, 7 and 10 are shown."""
    schedule = training.learning_rate_schedule(name, learning_rate=0.8, num_steps=10, warmup_steps=4)
    warmup = [0.0, 0.2, 0.4, 0.6]
    np.testing.assert_allclose(values(schedule, [0, 1, 2, 3, 4, 6, 7, 10]), warmup + after_warmup, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("name", "expected"), [("constant", [2, 2, 2]), ("linear", [2, 1, 0]), ("cosine", [2, 1, 0])])
def test_without_warmup_the_learning_rate_starts_whole(name, expected):
    schedule = training.learning_rate_schedule(name, learning_rate=2.0, num_steps=8)
    steps = [0, 4, 8]
    np.testing.assert_allclose([float(schedule(step)) for step in steps], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("warmup_steps", [-1, 10, 11])
def test_a_warmup_that_leaves_no_step_is_refused(warmup_steps):
    with pytest.raises(ValueError, match=rf"below num_steps 10, got {warmup_steps}"):
        training.learning_rate_schedule("linear", learning_rate=1.0, num_steps=10, warmup_steps=warmup_steps)


def test_constant_beta():
    schedule = training.beta_schedule("4.0")
    assert [float(schedule(step)) for step in (0, 1, 10**6)] == [4.0, 4.0, 4.0]


def test_linear_beta_rises_to_its_value_and_stays():
    schedule = training.beta_schedule("linear(10, beta=2.0)")
    np.testing.assert_allclose(values(schedule, [0, 1, 5, 9, 10, 11, 10**6]), [0, 0.2, 1, 1.8, 2, 2, 2], rtol=1e-6)


def test_cyclical_beta_rises_in_half_of_each_cycle():
    """Fu et al. 2019 with M = 4 and R = ½, over 40 steps: 0 at 0, 10, 20, 30, and whole in the second five of each."""
    schedule = training.beta_schedule("cyclical(40, beta=2.0, num_cycles=4)")
    cycle = [0, 0.4, 0.8, 1.2, 1.6, 2, 2, 2, 2, 2]
    np.testing.assert_allclose(values(schedule, list(range(44))), 4 * cycle + [2, 2, 2, 2], rtol=1e-6, atol=1e-6)


def test_cyclical_beta_with_cycles_of_a_broken_number_of_steps():
    """Cycles of 4/3 steps: at step 4 the fourth begins, with β = 0, at step 1 the first is at ¾."""
    schedule = training.beta_schedule("cyclical(8, num_cycles=6)")
    cycle = [0, 1, 1, 0.5]
    np.testing.assert_allclose(values(schedule, list(range(9))), [*cycle, *cycle, 1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("num_cycles", "expected"), [(4, 0.8), (3, 1.0), (7, 0.4)])
def test_cyclical_beta_is_right_beyond_five_hundred_million_steps(num_cycles, expected):
    """At step 6e8 of 1e9, 0.6 M cycles have passed: their fraction twice, and at most 1."""
    schedule = training.beta_schedule(f"cyclical({10**9}, num_cycles={num_cycles})")
    np.testing.assert_allclose(values(schedule, [600_000_000]), [expected], rtol=1e-6)


@pytest.mark.parametrize(
    ("beta", "message"),
    [
        ("cyclical(3, num_cycles=4)", "anneal_steps must be a whole number of at least 4, got 3"),
        ("cyclical(8, num_cycles=0)", "num_cycles must be a whole number of at least 1"),
        ("linear(0)", "anneal_steps must be a whole number of at least 1, got 0"),
        ("linear(8, beta=-1)", "beta must be at least 0 and finite, got -1"),
        ("nan", "beta must be at least 0 and finite, got nan"),
    ],
)
def test_cycles_of_less_than_a_step_and_a_beta_below_zero_are_refused(beta, message):
    with pytest.raises(ValueError, match=message):
        training.beta_schedule(beta)


FIRST_UPDATES = {
    # With bias correction m̂ = g and v̂ = g²: the sign of the gradient.
    "adam": SIGN,
    "adamax": SIGN,
    # The variance is of g − m = 0.9 g.
    "adabelief": jax.tree.map(lambda sign: sign / 0.9, SIGN),
    # And a decay of 1e-4 and 1e-3 of the parameters, optax's defaults.
    "adamw": jax.tree.map(lambda sign, param: sign + 1e-4 * param, SIGN, PARAMS),
    "lion": jax.tree.map(lambda sign, param: sign + 1e-3 * param, SIGN, PARAMS),
    # v = (1 − 0.9) g², not corrected.
    "rmsprop": jax.tree.map(lambda sign: sign / np.sqrt(0.1), SIGN),
    "sgd": GRADIENT,
}


def test_every_optimizer_is_tested():
    assert set(FIRST_UPDATES) == set(training.OPTIMIZERS.parts)


@pytest.mark.parametrize("name", FIRST_UPDATES)
def test_first_update_of_each_optimizer(name):
    """−lr times what its paper gives for the first gradient."""
    expected = jax.tree.map(lambda direction: -LEARNING_RATE * direction, FIRST_UPDATES[name])
    assert_update(training.make_optimizer(name, LEARNING_RATE), expected)


def test_options_reach_the_optimizer():
    """Decoupled weight decay: −lr (sign g + λ param)."""
    expected = jax.tree.map(lambda sign, param: -LEARNING_RATE * (sign + 0.5 * param), SIGN, PARAMS)
    assert_update(training.make_optimizer("adamw(weight_decay=0.5)", LEARNING_RATE), expected)


def test_an_optimizer_follows_a_schedule():
    """SGD's updates at steps 0 to 3 of a linear decay over 4."""
    schedule = training.learning_rate_schedule("linear", learning_rate=1.0, num_steps=4)
    optimizer = training.make_optimizer("sgd", schedule)
    state, drawn = optimizer.init(jnp.zeros(())), []
    for _ in range(4):
        update, state = optimizer.update(jnp.ones(()), state)
        drawn.append(float(update))
    np.testing.assert_allclose(drawn, [-1, -0.75, -0.5, -0.25], rtol=1e-6)


NORM = float(np.sqrt(3.0**2 + 0.25**2 + 4.0**2))


@pytest.mark.parametrize(("clip_norm", "scale"), [(1.0, 1 / NORM), (5.1, 1.0), (None, 1.0)])
def test_clipping_scales_the_whole_gradient_to_the_norm(clip_norm, scale):
    """The norm over all parameters, 5.006; a gradient within it, or without a bound, is left as it is."""
    expected = jax.tree.map(lambda gradient: -LEARNING_RATE * scale * gradient, GRADIENT)
    assert_update(training.make_optimizer("sgd", LEARNING_RATE, clip_norm=clip_norm), expected)


def test_clipping_comes_before_the_optimizer():
    """Adam's first update is lr, however short the gradient is cut."""
    expected = jax.tree.map(lambda sign: -LEARNING_RATE * sign, SIGN)
    assert_update(training.make_optimizer("adam", LEARNING_RATE, clip_norm=0.01), expected)


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, float("inf"), float("nan")])
def test_a_clip_norm_that_is_not_positive_is_refused(clip_norm):
    with pytest.raises(ValueError, match=f"clip_norm must be positive and finite, got {clip_norm}"):
        training.make_optimizer("adam", 1.0, clip_norm=clip_norm)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: training.make_optimizer("adm", 1.0), r"unknown optimizer 'adm'\. Did you mean 'adam'"),
        (
            lambda: training.learning_rate_schedule("cosin", learning_rate=1.0, num_steps=2),
            r"unknown learning-rate schedule 'cosin'\. Did you mean 'cosine'",
        ),
        (
            lambda: training.beta_schedule("cyclic(8)"),
            r"unknown β schedule 'cyclic'\. Did you mean 'cyclical'",
        ),
        (lambda: training.make_optimizer("xyz", 1.0), r"unknown optimizer 'xyz'\. Known: .*adam.*sgd"),
    ],
    ids=["optimizer", "learning-rate", "beta", "nothing-near"],
)
def test_an_unknown_name_is_refused_with_the_nearest(build, message):
    with pytest.raises(ValueError, match=message):
        build()

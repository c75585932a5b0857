"""Times of the training step and of log p(x), beside their matrix products alone.

Both run in one process, interleaved, each as one compiled loop. The products are those of the forward and backward pass
at their own shapes; what is above 1 is all else: noise, element-wise work, the optimiser, the gather of the batch.
"""

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax import VAE, data, evaluation, losses, networks, training

_NUM_EXAMPLES = 4000


class Case(NamedTuple):
    """A VAE of multilayer perceptrons and its batch."""

    hidden: tuple[int, ...]
    latent_dim: int
    activation: str
    batch_size: int
    dynamic: bool

    def __str__(self) -> str:
        sizes = "-".join(map(str, (784, *self.hidden, self.latent_dim)))
        return f"{sizes}, batch {self.batch_size}, {'dynamic' if self.dynamic else 'no'} binarisation"


CASES = (
    Case((500,), 20, "relu", 128, dynamic=False),
    Case((500,), 20, "relu", 128, dynamic=True),
    Case((200, 200), 50, "tanh", 100, dynamic=True),
)


def step(case: Case, *, rounds: int, steps: int) -> str:
    """Returns what a step costs, over its matrix products alone."""
    timed = {"step": training_step(case, steps), "products": matrix_products(case, steps)}
    milliseconds = interleaved(timed, rounds=rounds, steps=steps)
    ratio = milliseconds["step"] / milliseconds["products"]
    return f"{case}: step {milliseconds['step']:.2f}, products {milliseconds['products']:.2f}, ratio {ratio:.2f}"


def estimators(case: Case, *, num_samples: int, rounds: int, steps: int) -> str:
    """Returns what a step costs with each gradient estimator of the IWAE bound, over that of the pathwise one."""
    timed = {gradient: training_step(case, steps, _iwae(gradient, num_samples)) for gradient in losses.GRADIENTS}
    milliseconds = interleaved(timed, rounds=rounds, steps=steps)
    costs = ", ".join(f"{name} {value / milliseconds['pathwise']:.2f}" for name, value in milliseconds.items())
    return f"{case}, IWAE with K = {num_samples}, over a pathwise step of {milliseconds['pathwise']:.2f}: {costs}"


def evidence(case: Case, *, num_samples: int, rounds: int) -> str:
    """Returns what log p(x) of an image costs, over the products of as many samples with the decoder's matrices."""
    vae, number = _mlp(case), case.batch_size
    params, keys = vae.init(jax.random.key(0)), jax.random.split(jax.random.key(1), number)
    xs = jnp.asarray(np.random.RandomState(0).randint(0, 2, (number, 28, 28, 1)), jnp.float32)
    timed = {
        "evidence": functools.partial(evaluation.log_evidence, params, keys, xs, vae=vae, num_samples=num_samples),
        "products": decoder_products(case, number * num_samples),
    }
    milliseconds = interleaved(timed, rounds=rounds, steps=number)
    ratio = milliseconds["evidence"] / milliseconds["products"]
    return (
        f"{case}, L{num_samples} of one image: {milliseconds['evidence']:.2f}, "
        f"products {milliseconds['products']:.2f}, ratio {ratio:.2f}"
    )


def _iwae(gradient: str, num_samples: int) -> Callable[..., Any]:
    return functools.partial(losses.negative_iwae, num_samples=num_samples, gradient=gradient)


def interleaved(timed: dict[str, Callable[[], Any]], *, rounds: int, steps: int) -> dict[str, float]:
    """The median time of a step of each, in milliseconds, over rounds in which each is called once."""
    for function in timed.values():
        jax.block_until_ready(function())
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, function in timed.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            seconds[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(values) / steps for name, values in seconds.items()}


def training_step(case: Case, steps: int, loss: Callable[..., Any] = losses.negative_elbo) -> Callable[[], Any]:
    """`steps` training steps with Adam in one compiled loop, as a run makes them."""
    vae, batch_loss = _mlp(case), losses.over_batch(loss)

    def loss_fn(params: Any, keys: jax.Array, batch: jax.Array) -> Any:
        if not case.dynamic:
            return batch_loss(params, keys, data.unit_interval(batch), vae=vae)
        split = jax.vmap(jax.random.split)(keys)
        return batch_loss(params, split[:, 1], jax.vmap(data.binarize)(split[:, 0], batch), vae=vae)

    key, optimizer = jax.random.key(0), optax.adam(1e-3)
    images = jnp.asarray(np.random.RandomState(0).randint(0, 256, (_NUM_EXAMPLES, 28, 28, 1)), jnp.uint8)
    index = data.batch_indices(key, num_examples=_NUM_EXAMPLES, batch_size=case.batch_size, start=0, stop=steps)
    run = jax.jit(functools.partial(training.train_steps, loss_fn=loss_fn, optimizer=optimizer), donate_argnums=0)
    state = training.init_state(vae.init(key), optimizer)

    def call() -> Any:
        nonlocal state
        state, metrics = run(state, key, images, index)
        return state, metrics

    return call


def matrix_products(case: Case, steps: int) -> Callable[[], Any]:
    """The step's matrix products alone, `steps` times in one compiled loop."""
    hidden, latent = case.hidden, case.latent_dim
    encoder = [*zip((784, *hidden), hidden, strict=False), (hidden[-1], latent), (hidden[-1], latent)]
    decoder = _decoder_shapes(case)
    rng = np.random.RandomState(0)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    operands, functions = [], []
    for number, (size_in, size_out) in enumerate([*encoder, *decoder]):
        x, weight = normal(case.batch_size, size_in), normal(size_in, size_out)
        gradient = normal(case.batch_size, size_out)
        operands += [(x, weight), (x, gradient)]
        functions += [jnp.matmul, lambda x, gradient: x.T @ gradient]
        if number > 0:  # the data need no gradient
            operands.append((gradient, weight))
            functions.append(lambda gradient, weight: gradient @ weight.T)

    def body(_: int, operands: list[tuple[jax.Array, jax.Array]]) -> list[tuple[jax.Array, jax.Array]]:
        # One element of each result goes into its operand, or the products would be computed once for all steps.
        products = [function(*pair) for function, pair in zip(functions, operands, strict=True)]
        return [
            (left.at[0, 0].add(1e-9 * product[0, 0]), right)
            for (left, right), product in zip(operands, products, strict=True)
        ]

    run = jax.jit(lambda operands: jax.lax.fori_loop(0, steps, body, operands))
    return lambda: run(operands)


def decoder_products(case: Case, num_samples: int) -> Callable[[], Any]:
    """The decoder's matrix products of this many samples, in chunks as `log_evidence` takes them."""
    shapes, chunk = _decoder_shapes(case), 500
    weights = [jax.random.normal(jax.random.key(number), shape) for number, shape in enumerate(shapes)]

    def body(_: int, z: jax.Array) -> jax.Array:
        output = functools.reduce(jnp.matmul, weights, z)
        return z.at[0, 0].add(1e-9 * output[0, 0])

    run = jax.jit(lambda z: jax.lax.fori_loop(0, num_samples // chunk, body, z))
    z = jax.random.normal(jax.random.key(len(weights)), (chunk, case.latent_dim))
    return lambda: run(z)


def _decoder_shapes(case: Case) -> list[tuple[int, int]]:
    return [*zip((case.latent_dim, *case.hidden[::-1]), (*case.hidden[::-1], 784), strict=True)]


def _mlp(case: Case) -> VAE:
    return networks.mlp(
        event_shape=(28, 28, 1), latent_dim=case.latent_dim, hidden=case.hidden, activation=case.activation
    )

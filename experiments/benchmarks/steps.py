"""Training steps as a run makes them, and the matrix products that they cannot do without."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax import VAE, data, evaluation, losses, networks, threefry, training

from .interleaved import Call

_NUM_IMAGES = 4000
_CHUNK = 500  # the samples that `log_evidence` takes at once


class Case(NamedTuple):
    """A VAE of multilayer perceptrons for binarised images, its batch, and K of the IWAE bound (1: the ELBO)."""

    hidden: tuple[int, ...]
    latent_dim: int
    activation: str
    batch_size: int
    num_samples: int = 1

    def __str__(self) -> str:
        sizes = "-".join(map(str, (784, *self.hidden, self.latent_dim)))
        bound = f"IWAE-{self.num_samples}, " if self.num_samples > 1 else ""
        return f"{bound}{sizes}, batch {self.batch_size}"

    @property
    def encoder(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each of the encoder's matrices; the last two give mean and scale."""
        head = (self.hidden[-1], self.latent_dim)
        return [*zip((784, *self.hidden), self.hidden, strict=False), head, head]

    @property
    def decoder(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each of the decoder's matrices."""
        sizes = (self.latent_dim, *self.hidden[::-1], 784)
        return list(itertools.pairwise(sizes))

    @property
    def flops(self) -> int:
        """Of a step's matrix products: two for each multiplication and addition, three products a matrix."""
        rows = {"encoder": self.batch_size, "decoder": self.batch_size * self.num_samples}
        products = {name: sum(n * m for n, m in getattr(self, name)) for name in rows}
        first = self.batch_size * 784 * self.hidden[0]  # the data need no gradient
        return 2 * (sum(3 * rows[name] * products[name] for name in rows) - first)


CASES = (
    Case((500,), 20, "relu", 128),
    Case((200, 200), 50, "tanh", 100),
    Case((200, 200), 50, "tanh", 100, num_samples=50),
)


def images(number: int = _NUM_IMAGES) -> np.ndarray:
    """Returns grey pictures as bytes, a fifth of whose pixels are ink, as in MNIST."""
    rng = np.random.RandomState(0)
    ink = rng.uniform(size=(number, 28, 28, 1)) < 0.2
    return (ink * rng.randint(1, 256, ink.shape)).astype(np.uint8)


def training_step(case: Case, steps: int, *, gradient: str = "pathwise", **parts: Any) -> Call:
    """Prepares `steps` training steps with Adam in one compiled loop, with dynamic binarisation."""
    return _steps(mlp(case, **parts), case.batch_size, steps, images(), loss_of(case.num_samples, gradient))


def conv_step(batch_size: int, steps: int) -> Call:
    """Prepares steps of the convolutional network at its defaults, with dynamic binarisation."""
    vae = networks.conv(event_shape=(28, 28, 1), latent_dim=50)
    return _steps(vae, batch_size, steps, images(), losses.negative_elbo)


def row_step(number: int, width: int, batch_size: int, steps: int) -> Call:
    """Prepares steps of a Gaussian VAE of so many rows of floats, which are in the device's memory."""
    vae = networks.mlp(event_shape=width, latent_dim=10, likelihood="normal")
    rows = np.random.default_rng(0).standard_normal((number, width), np.float32)
    return _steps(vae, batch_size, steps, rows, losses.negative_elbo)


def loss_of(num_samples: int, gradient: str = "pathwise") -> Callable[..., Any]:
    """Returns the negative ELBO, or the negative IWAE bound of several samples."""
    if num_samples == 1:
        return losses.negative_elbo
    return functools.partial(losses.negative_iwae, num_samples=num_samples, gradient=gradient)


def loss_function(vae: VAE, loss: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the loss of a batch as stored: bytes are binarised anew."""
    batch_loss = losses.over_batch(loss)

    def loss_fn(params: Any, keys: jax.Array, batch: jax.Array) -> Any:
        if batch.dtype != jnp.uint8:
            return batch_loss(params, keys, batch, vae=vae)
        split = jax.vmap(lambda key: threefry.split(key, 2))(keys)
        return batch_loss(params, split[:, 1], jax.vmap(data.binarize)(split[:, 0], batch), vae=vae)

    return loss_fn


def _steps(vae: VAE, batch_size: int, steps: int, examples: np.ndarray, loss: Callable[..., Any]) -> Call:
    key, optimizer = jax.random.key(0), optax.adam(1e-3)
    stored = jnp.asarray(examples)
    index = data.batch_indices(key, num_examples=len(examples), batch_size=batch_size, start=0, stop=steps)
    loss_fn = loss_function(vae, loss)
    run = jax.jit(functools.partial(training.train_steps, loss_fn=loss_fn, optimizer=optimizer), donate_argnums=0)
    state = training.init_state(vae.init(key), optimizer)

    def call() -> None:
        nonlocal state
        state, metrics = run(state, key, stored, index)
        jax.block_until_ready((state, metrics))

    return call


def matrix_products(case: Case, steps: int) -> Call:
    """Prepares a step's matrix products alone, at their own shapes, `steps` times in one compiled loop."""
    rng = np.random.RandomState(0)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    operands, functions = [], []
    layers = [(case.batch_size, *sizes) for sizes in case.encoder]
    layers += [(case.batch_size * case.num_samples, *sizes) for sizes in case.decoder]
    for number, (rows, size_in, size_out) in enumerate(layers):
        x, weight, gradient = normal(rows, size_in), normal(size_in, size_out), normal(rows, size_out)
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
    return lambda: _wait(run(operands))


def square_products(size: int) -> Call:
    """Prepares one product of two square matrices, which comes near what the device can do."""
    matrix = jnp.asarray(np.random.RandomState(0).standard_normal((size, size)), jnp.float32)
    run = jax.jit(jnp.matmul)
    return lambda: _wait(run(matrix, matrix))


def evidence(case: Case, number: int, num_samples: int) -> Call:
    """Prepares log p(x) of so many images by so many importance samples."""
    vae = mlp(case)
    params, keys = vae.init(jax.random.key(0)), jax.random.split(jax.random.key(1), number)
    xs = (images(number) > 127).astype(np.float32)
    return lambda: _wait(evaluation.log_evidence(params, keys, xs, vae=vae, num_samples=num_samples))


def decoder_products(case: Case, num_samples: int) -> Call:
    """Prepares the decoder's matrix products of so many samples, in chunks as `log_evidence` takes them."""
    weights = [jax.random.normal(jax.random.key(number), shape) for number, shape in enumerate(case.decoder)]

    def body(_: int, z: jax.Array) -> jax.Array:
        output = functools.reduce(jnp.matmul, weights, z)
        return z.at[0, 0].add(1e-9 * output[0, 0])

    run = jax.jit(lambda z: jax.lax.fori_loop(0, num_samples // _CHUNK, body, z))
    z = jax.random.normal(jax.random.key(len(weights)), (_CHUNK, case.latent_dim))
    return lambda: _wait(run(z))


def mlp(case: Case, **parts: Any) -> VAE:
    """Returns the VAE of a case, with other parts where they are given."""
    shape = {"event_shape": (28, 28, 1), "latent_dim": case.latent_dim}
    return networks.mlp(**shape, hidden=case.hidden, activation=case.activation, **parts)


def _wait(results: Any) -> None:
    jax.block_until_ready(results)

"""The same training step as others write it: in plain JAX, one call a batch, and in PyTorch.

All binarise grey pictures anew for every batch, use Adam, and report the loss of every step. Nothing of this project is
in them but the pictures.
"""

import importlib
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .interleaved import Call
from .steps import Case, images


def plain_jax(case: Case, steps: int) -> Call:
    """Prepares a loop over NumPy batches, each given to one jitted step."""
    optimizer, activation = optax.adam(1e-3), getattr(jnp, case.activation, jax.nn.relu)
    pictures, rng = images(), np.random.RandomState(0)

    def draw(size_in: int, size_out: int) -> dict[str, jax.Array]:
        weight = rng.standard_normal((size_in, size_out)) / math.sqrt(size_in)
        return {"weight": jnp.asarray(weight, jnp.float32), "bias": jnp.zeros(size_out)}

    params = {name: [draw(*sizes) for sizes in getattr(case, name)] for name in ("encoder", "decoder")}

    def apply(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return x @ layer["weight"] + layer["bias"]

    def loss_fn(params: Any, key: jax.Array, batch: jax.Array) -> jax.Array:
        pixel_key, noise_key = jax.random.split(key)
        x = jax.random.bernoulli(pixel_key, batch.reshape(len(batch), -1) / 255.0).astype(jnp.float32)
        *hidden, to_mean, to_scale = params["encoder"]
        h = x
        for layer in hidden:
            h = activation(apply(layer, h))
        mean, scale = apply(to_mean, h), jax.nn.softplus(apply(to_scale, h))
        noise = jax.random.normal(noise_key, (case.num_samples, *mean.shape))
        z = y = mean + scale * noise
        *hidden, last = params["decoder"]
        for layer in hidden:
            y = activation(apply(layer, y))
        reconstruction = -jnp.sum(optax.sigmoid_binary_cross_entropy(apply(last, y), x), axis=-1)
        if case.num_samples == 1:
            kl = jnp.sum(0.5 * (mean**2 + scale**2 - 1) - jnp.log(scale), axis=-1)
            return jnp.mean(kl - reconstruction[0])
        log_ratio = jnp.sum(0.5 * (noise**2 - z**2) + jnp.log(scale), axis=-1)
        return -jnp.mean(jax.nn.logsumexp(reconstruction + log_ratio, axis=0) - math.log(case.num_samples))

    @jax.jit
    def step(params: Any, state: Any, key: jax.Array, batch: jax.Array) -> Any:
        loss, gradients = jax.value_and_grad(loss_fn)(params, key, batch)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    state, key = optimizer.init(params), jax.random.key(0)

    def call() -> None:
        nonlocal params, state, key
        loss = None
        for _ in range(steps):
            batch = pictures[rng.randint(0, len(pictures), case.batch_size)]
            key, step_key = jax.random.split(key)
            params, state, loss = step(params, state, step_key, batch)
        jax.block_until_ready((params, loss))

    return call


def pytorch(case: Case, steps: int, *, compiled: bool) -> Call:
    """Prepares a loop over batches with fused Adam, on a GPU where there is one; `compiled` by torch.compile."""
    torch: Any = importlib.import_module("torch")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    activation = torch.nn.Tanh if case.activation == "tanh" else torch.nn.ReLU

    def stack(sizes: list[tuple[int, int]], *, last: bool) -> Any:
        layers = [layer for size in sizes for layer in (torch.nn.Linear(*size), activation())]
        return torch.nn.Sequential(*(layers if last else layers[:-1]))

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.decoder = stack(case.encoder[:-2], last=True), stack(case.decoder, last=False)
            self.mean, self.scale = torch.nn.Linear(*case.encoder[-2]), torch.nn.Linear(*case.encoder[-1])

        def forward(self, batch: Any) -> Any:
            x = torch.bernoulli(batch.reshape(len(batch), -1) / 255.0)
            h = self.body(x)
            mean, scale = self.mean(h), torch.nn.functional.softplus(self.scale(h))
            noise = torch.randn(case.num_samples, *mean.shape, device=mean.device)
            z = mean + scale * noise
            logits = self.decoder(z)
            cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
            reconstruction = -cross_entropy(logits, x.expand_as(logits), reduction="none").sum(-1)
            if case.num_samples == 1:
                kl = (0.5 * (mean**2 + scale**2 - 1) - scale.log()).sum(-1)
                return (kl - reconstruction[0]).mean()
            log_ratio = (0.5 * (noise**2 - z**2) + scale.log()).sum(-1)
            return -((reconstruction + log_ratio).logsumexp(0) - math.log(case.num_samples)).mean()

    model = Model().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    loss_of = torch.compile(model) if compiled else model
    pictures = torch.from_numpy(images()).to(device)

    def call() -> None:
        values = []
        for _ in range(steps):
            batch = pictures[torch.randint(0, len(pictures), (case.batch_size,), device=device)]
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(batch)
            loss.backward()
            optimizer.step()
            values.append(loss.detach())
        torch.stack(values).cpu()  # waits

    return call

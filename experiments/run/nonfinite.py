"""What a run does about a loss or a gradient that is not finite: skip it, or leave what reproduces it."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from vae_jax import data, runs, training
from vae_jax.fitted import Fitted, build_vae
from vae_jax.keys import example_keys

from . import build, objective
from .config import from_dict, to_dict


class Skips:
    """The steps that were skipped, at most so many."""

    def __init__(self, most: int, steps: list[int]) -> None:
        """`steps` are those skipped before."""
        self._most, self.steps = most, list(steps)

    def skip(self, error: training.NonFiniteError) -> None:
        """Notes the step; raises the error where there would be too many."""
        if len(self.steps) >= self._most:
            raise error
        self.steps.append(error.step)
        print(f"skipped, {len(self.steps)} of at most {self._most} (training.max_skipped): {error}", flush=True)


class Replayed(NamedTuple):
    """A step computed again: its loss, the norm of its gradient, and the loss of each example."""

    loss: float
    gradient_norm: float
    losses: Float[Array, " batch"]


def write_repro(
    path: Path,
    error: training.NonFiniteError,
    *,
    params: Any,
    noise_key: jax.Array,
    stored: Any,
    constants: dict[str, np.ndarray],
    metadata: dict[str, Any],
) -> None:
    """Writes all that `replay` needs, as arrays: the parameters before the step, and what it was given."""
    arrays = {jax.tree_util.keystr(at): leaf for at, leaf in jax.tree_util.tree_flatten_with_path(params)[0]}
    arrays |= {f"{_STORED}{number}": leaf for number, leaf in enumerate(jax.tree.leaves(stored))}
    np.savez(
        path,
        allow_pickle=False,
        step=np.int32(error.step),
        rows=error.rows,
        noise_key=jax.random.key_data(noise_key),
        metadata=json.dumps(metadata),
        **constants,
        **arrays,
    )


_STORED = "stored:"


def replay(path: str | Path, *, trusted: Collection[str] = ()) -> Replayed:
    """Returns the step of a repro file, computed on one device; `trusted` is as for `runs.load`."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    metadata = json.loads(str(arrays["metadata"]))
    runs.check_trusted(metadata["config"], trusted, f"{path}")
    config, contents = from_dict(metadata["config"]), data.Contents.from_json(metadata["contents"])
    vae = build_vae(to_dict(config)["model"], Fitted.from_arrays(contents, arrays))
    template = jax.eval_shape(vae.init, jax.random.key(0))
    params = jax.tree_util.tree_map_with_path(lambda at, leaf: arrays[jax.tree_util.keystr(at)], template)
    leaves = [jnp.asarray(arrays[f"{_STORED}{number}"]) for number in range(contents.structure().num_leaves)]
    stored = jax.tree.unflatten(contents.structure(), leaves)
    view = data.view_of(contents, dtype=leaves[0].dtype, binarization=build.drawn(config))
    loss_fn = objective.make_loss(config, vae, view, axis_name=None)
    noise_key = jax.random.wrap_key_data(arrays["noise_key"])
    step, rows = jnp.asarray(arrays["step"]), jnp.asarray(arrays["rows"])

    @jax.jit
    def compute(params: Any) -> tuple[Any, ...]:
        keys = example_keys(noise_key, step, rows)
        loss = lambda params: loss_fn(params, keys, stored, step)[0]
        value, gradient = jax.value_and_grad(loss)(params)
        one = lambda example: loss_fn(params, *jax.tree.map(lambda leaf: leaf[None], example), step)[0]
        return value, optax.tree.norm(gradient), jax.lax.map(one, (jax.random.clone(keys), stored))

    loss, norm, losses = compute(params)
    return Replayed(float(loss), float(norm), losses)

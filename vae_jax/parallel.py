"""Devices: the only module that knows of them."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from .names import check_name

AXIS = "data"
BACKENDS = ("jit", "pmap", "shard_map")


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of one axis, over which the batch is spread; all devices unless some are named."""
    devices = jax.devices() if devices is None else devices
    # The default axes are Explicit, which asks for shardings in the types of what the networks compute.
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def axis_name(backend: str) -> str | None:
    """The mapped axis that the step sees: under "jit" the arrays are global and there is none."""
    check_name(backend, "backend", BACKENDS)
    return None if backend == "jit" else AXIS


def check_batch_size(batch_size: int, num_devices: int) -> None:
    """Raises `ValueError` unless the batch spreads evenly."""
    if batch_size % num_devices:
        raise ValueError(
            f"a batch of {batch_size} cannot be divided evenly among {num_devices} devices; use a multiple of "
            f"{num_devices}"
        )


def replicate(tree: Any, mesh: Mesh) -> Any:
    """The arrays of `tree` whole on every device of the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


@dataclasses.dataclass(frozen=True)
class ParallelSteps:
    """(state, key, data, index) -> (state, metrics), with the batch spread over a mesh; from `data_parallel`."""

    _run: Any
    _arrange: Callable[[Any, Any], tuple[Any, Any]]
    _num_devices: int

    def __call__(self, state: Any, key: Any, data: Any, index: Any) -> tuple[Any, Any]:
        check_batch_size(index.shape[1], self._num_devices)
        return self._run(state, key, *self._arrange(data, index))

    def compile(self, state: Any, key: Any, data: Any, index: Any) -> Callable[..., tuple[Any, Any]]:
        """The same for one shape of `index`, compiled ahead of time, so that no call's time holds a compilation."""
        check_batch_size(index.shape[1], self._num_devices)
        compiled = self._run.lower(state, key, *self._arrange(data, index)).compile()
        return lambda state, key, data, index: compiled(state, key, *self._arrange(data, index))


def data_parallel(
    steps: Callable[..., tuple[Any, Any]], *, mesh: Mesh, backend: str = "jit", batched: bool = False
) -> ParallelSteps:
    """`steps(state, key, data, index, axis_name=…) -> (state, metrics)` with the batch spread over the mesh.

    State and key are whole on every device (`replicate`), and so are the data, of which each device takes its share of
    the columns of `index`; unless they are `batched`, as [steps, batch, ...], and split like `index`. The state is
    donated, except under pmap.

    Args:
      steps: pure; with `axis_name` it averages its gradients and metrics over that axis.
      mesh: from `data_mesh`.
      backend: "jit" (the compiler splits the work by the sharding of `index`), "shard_map" or "pmap".
      batched: whether the data come as the batches of the steps.

    Raises:
      ValueError: for an unknown backend; from the returned function, where the batch does not divide.
    """
    mapped = partial(steps, axis_name=axis_name(backend))
    whole, split = PartitionSpec(), PartitionSpec(None, AXIS)
    data = split if batched else whole
    if backend == "jit":
        everywhere = NamedSharding(mesh, whole)
        run = jax.jit(
            mapped,
            in_shardings=(everywhere, everywhere, NamedSharding(mesh, data), NamedSharding(mesh, split)),
            out_shardings=everywhere,
            donate_argnums=0,
        )
    elif backend == "shard_map":
        # With check_vma=True, its default, gradients of replicated parameters arrive already summed over the axis,
        # and the step's pmean would leave them `num_devices` times too large.
        shard = jax.shard_map(
            mapped, mesh=mesh, in_specs=(whole, whole, data, split), out_specs=(whole, whole), check_vma=False
        )
        run = jax.jit(shard, donate_argnums=0)
    else:
        # pmap cannot donate what it broadcasts.
        axes = (None, None, 1 if batched else None, 1)
        run = jax.pmap(mapped, axis_name=AXIS, in_axes=axes, out_axes=None, devices=list(mesh.devices.flat))
        share = lambda array: np.reshape(array, (len(array), mesh.size, -1, *array.shape[2:]))
        return ParallelSteps(
            run, lambda data, index: (jax.tree.map(share, data) if batched else data, share(index)), mesh.size
        )
    return ParallelSteps(run, lambda data, index: (data, index), mesh.size)

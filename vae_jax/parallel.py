"""Devices and processes: the only module that knows of them."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from .cluster import Cluster, bind_address
from .names import check_name

AXIS = "data"
BACKENDS = ("jit", "pmap", "shard_map")
# Parameters with fewer numbers than this are not worth spreading.
_SMALLEST_SHARDED = 2**14


def initialize(cluster: Cluster, *, heartbeat_seconds: int) -> None:
    """Joins the processes of a cluster; before any other use of JAX.

    The coordinator listens at its own address alone. A process that is silent for `heartbeat_seconds` ends all others.

    Raises:
      ValueError, OSError: in process 0, for a coordinator's address that it cannot listen at.
    """
    jax.distributed.initialize(
        cluster.coordinator,
        cluster.num_processes,
        cluster.process_id,
        local_device_ids=cluster.local_device_ids,
        coordinator_bind_address=bind_address(cluster.coordinator) if cluster.process_id == 0 else None,
        cluster_detection_method="deactivate",
        heartbeat_timeout_seconds=heartbeat_seconds,
    )


def finish() -> None:
    """Leaves the cluster, when all its processes have come here and computed what they began; nothing where there is
    none."""
    if jax.distributed.is_initialized():
        # Devices that first meet find one another through the cluster. One that finds it gone fails, and the others
        # wait for it as the interpreter ends, deaf to SIGTERM: for 150 seconds, or half an hour.
        ask_all(lambda: False)()
        jax.distributed.shutdown()


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of one axis, over which the batch is spread; all devices unless some are named."""
    devices = jax.devices() if devices is None else devices
    # The default axes are Explicit, which asks for shardings in the types of what the networks compute.
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def local_mesh() -> Mesh | None:
    """A mesh of this process's devices; None where there is one, which nothing is to be divided among."""
    devices = jax.local_devices()
    return data_mesh(devices) if len(devices) > 1 else None


def axis_name(backend: str) -> str | None:
    """The mapped axis that the step sees: under "jit" the arrays are global and there is none."""
    check_name(backend, "backend", BACKENDS)
    return None if backend == "jit" else AXIS


def check_batch_size(batch_size: int, num_devices: int, microbatches: int = 1) -> None:
    """Raises `ValueError` unless the batch spreads evenly."""
    parts = num_devices * microbatches
    if batch_size % parts:
        of_each = f" of {microbatches} microbatches each" if microbatches > 1 else ""
        raise ValueError(
            f"a batch of {batch_size} cannot be divided evenly among {num_devices} devices{of_each}; use a multiple of "
            f"{parts}"
        )


def replicate(tree: Any, mesh: Mesh | None) -> Any:
    """The arrays of `tree`, the same in every process, whole on every device of the mesh; as they are without one."""
    if mesh is None:
        return tree
    return jax.tree.map(lambda leaf: _place(leaf, NamedSharding(mesh, PartitionSpec())), tree)


def shard(tree: Any, mesh: Mesh) -> Any:
    """The arrays of `tree`, the same in every process, each spread over the devices along its longest dimension that
    divides (fully sharded data parallelism); whole where they are small or none divides."""
    return jax.tree.map(lambda leaf: _place(leaf, _spread(mesh, leaf)), tree)


def shapes(tree: Any, mesh: Mesh, *, shard_params: bool = False) -> Any:
    """The shapes of a tree of arrays or shapes, as `replicate` or `shard` would place them."""
    place = partial(_spread, mesh) if shard_params else lambda leaf: NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place(leaf)), tree)


def whole(tree: Any) -> Any:
    """Arrays that any of this module's functions spread over devices and processes, on this process's first device."""
    device = jax.local_devices()[0]

    def gather(leaf: Any) -> Any:
        if not leaf.is_fully_replicated:
            everywhere = NamedSharding(leaf.sharding.mesh, PartitionSpec())
            leaf = jax.jit(lambda leaf: leaf, out_shardings=everywhere)(leaf)
        return jax.device_put(leaf.addressable_data(0), device)

    return jax.tree.map(gather, tree)


def shared(tree: Any) -> Any:
    """Arrays that every process holds whole, as arrays of all processes, which can be saved; others as they are."""
    if jax.process_count() == 1:
        return tree
    mesh = data_mesh()
    return jax.tree.map(lambda leaf: replicate(leaf, mesh) if leaf.is_fully_addressable else leaf, tree)


def is_first_process() -> bool:
    """Whether this is the process that writes what only one may write."""
    return jax.process_index() == 0


def num_processes() -> int:
    """How many processes compute together."""
    # Not asked of JAX before its time, since the question starts its devices.
    return jax.process_count() if jax.distributed.is_initialized() else 1


def from_first(value: Any) -> Any:
    """The first process's value, a pytree of numbers or arrays, in every process."""
    return multihost_utils.broadcast_one_to_all(value) if jax.process_count() > 1 else value


def wait_for_all(name: str) -> None:
    """Returns once every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def ask_all(asked: Callable[[], bool]) -> Callable[[], bool]:
    """Whether any process asks for something; the answer is had by calling the result.

    Of several processes the question is put now, and answered when the devices have done what they do now.
    """
    if jax.process_count() == 1:
        return asked
    split = NamedSharding(data_mesh(), PartitionSpec(AXIS))
    answer = _any(jax.make_array_from_callback((jax.device_count(),), split, lambda index: np.asarray([asked()])))
    return lambda: bool(answer.addressable_data(0))


_any = jax.jit(jnp.any)


def map_shares(function: Callable[[Any], Any], *arrays: Any) -> Any:
    """`function(*arrays)`, a pytree of arrays with one row for each of the arrays', each process computing its share.

    The rows of every result depend on the same rows of the arrays alone.
    """
    count = jax.process_count()
    if count == 1:
        return function(*arrays)
    number = len(arrays[0])
    size = -(-number // count)
    # The last shares are filled with the last row, so that all have one shape.
    rows = np.minimum(jax.process_index() * size + np.arange(size), number - 1)
    mine = jax.tree.map(np.asarray, function(*(array[rows] for array in arrays)))
    return jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:number], multihost_utils.process_allgather(mine)
    )


def over_devices(function: Callable[..., Any], mesh: Mesh | None) -> Callable[..., Any]:
    """`function(shared, *arrays)`, whose every result has a row for each row of the arrays', each device a share; the
    function itself without a mesh.

    For use under `jit`. The rows of every result must depend on `shared` and the same rows of the arrays alone.
    """
    if mesh is None:
        return function

    def divided(shared: Any, *arrays: Any) -> Any:
        number = jax.tree.leaves(arrays)[0].shape[0]
        # The last shares are filled with the last row.
        rows = np.minimum(np.arange(-(-number // mesh.size) * mesh.size), number - 1)
        specs = (PartitionSpec(), *(PartitionSpec(*mesh.axis_names) for _ in arrays))
        spread = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=specs[1], check_vma=False)
        result = spread(shared, *jax.tree.map(lambda leaf: leaf[rows], arrays))
        return jax.tree.map(lambda leaf: leaf[:number], result)

    return divided


def _place(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if jax.process_count() == 1:
        return jax.device_put(leaf, sharding)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        wrap = partial(jax.random.wrap_key_data, impl=jax.random.key_impl(leaf))
        return jax.jit(wrap, out_shardings=sharding)(np.asarray(jax.random.key_data(leaf)))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def _spread(mesh: Mesh, leaf: Any) -> NamedSharding:
    sizes = [size if size % mesh.size == 0 else 0 for size in leaf.shape]
    if np.prod(leaf.shape) < _SMALLEST_SHARDED or max(sizes, default=0) == 0:
        return NamedSharding(mesh, PartitionSpec())
    axis = int(np.argmax(sizes))
    return NamedSharding(mesh, PartitionSpec(*(None,) * axis, AXIS))


@dataclasses.dataclass(frozen=True)
class ParallelSteps:
    """(state, key, data, index) -> (state, metrics), with the batch spread over a mesh; from `data_parallel`."""

    _run: Any
    _arrange: Callable[..., tuple[Any, Any]]
    _num_devices: int
    _ahead_of_time: bool = True

    def __call__(self, state: Any, key: Any, data: Any, index: Any) -> tuple[Any, Any]:
        check_batch_size(index.shape[1], self._num_devices)
        return self._run(state, key, *self._arrange(data, index))

    def lower(self, state: Any, key: Any, data: Any, index: Any) -> jax.stages.Lowered:
        """The program for one shape of `index`, to be compiled or looked at; arrays may be given by their shapes."""
        check_batch_size(index.shape[1], self._num_devices)
        return self._run.lower(state, key, *self._arrange(data, index, read=False))

    def compile(self, state: Any, key: Any, data: Any, index: Any) -> Callable[..., tuple[Any, Any]]:
        """The same for one shape of `index`, compiled ahead of time, so that no call's time holds a compilation."""
        if not self._ahead_of_time:
            check_batch_size(index.shape[1], self._num_devices)
            return self
        compiled = self.lower(state, key, data, index).compile()
        return lambda state, key, data, index: compiled(state, key, *self._arrange(data, index))


def data_parallel(
    steps: Callable[..., tuple[Any, Any]],
    *,
    mesh: Mesh,
    backend: str = "jit",
    batched: bool = False,
    shard_params: bool = False,
) -> ParallelSteps:
    """`steps(state, key, data, index, axis_name=…) -> (state, metrics)` with the batch spread over the mesh.

    Each device takes its share of the columns of `index`, which is the same in every process. State and key are whole
    on every device (`replicate`). So are the data; unless `batched`, where `data[rows]` are read here for the rows of
    this process's devices alone, and `steps` is given batches [steps, batch, ...]. The state is donated, except under
    pmap.

    Args:
      steps: pure; with `axis_name` it averages its gradients and metrics over that axis.
      mesh: from `data_mesh`.
      backend: "jit" (the compiler splits the work by the sharding of `index`), "shard_map" or "pmap".
      batched: whether `steps` takes the batches in place of the data.
      shard_params: whether the state is spread over the devices as by `shard`; under "jit".

    Raises:
      ValueError: for an unknown backend, or one that cannot shard; from the returned function, where the batch does not
        divide.
    """
    check_shard_params(shard_params, backend)
    mapped = partial(steps, axis_name=axis_name(backend))
    whole, split = PartitionSpec(), PartitionSpec(None, AXIS)
    columns = NamedSharding(mesh, split)
    if backend == "pmap":
        return _pmapped(mapped, mesh, batched)
    if backend == "jit":

        def stays(state: Any, key: Any, data: Any, index: Any) -> tuple[Any, Any]:
            place = partial(_spread, mesh) if shard_params else lambda leaf: NamedSharding(mesh, whole)
            state, metrics = mapped(state, key, data, index)
            return jax.lax.with_sharding_constraint(state, jax.tree.map(place, state)), metrics

        run = jax.jit(stays, donate_argnums=0)
    else:
        # With check_vma=True, its default, gradients of replicated parameters arrive already summed over the axis,
        # and the step's pmean would leave them `num_devices` times too large.
        specs = (whole, whole, split if batched else whole, split)
        shard = jax.shard_map(mapped, mesh=mesh, in_specs=specs, out_specs=(whole, whole), check_vma=False)
        run = jax.jit(shard, donate_argnums=0)

    def place(shape: tuple[int, ...], dtype: Any, values: Callable[[Any], Any], read: bool) -> Any:
        if read:
            return jax.make_array_from_callback(shape, columns, values)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=columns)

    def arrange(data: Any, index: Any, *, read: bool = True) -> tuple[Any, Any]:
        rows = place(index.shape, np.int32, lambda at: index[at], read)
        if not batched:
            return data, rows
        gather = lambda array: place(
            (*index.shape, *array.shape[1:]), array.dtype, lambda at: array[index[at[:2]]], read
        )
        return jax.tree.map(gather, data), rows

    return ParallelSteps(run, arrange, mesh.size)


def check_shard_params(shard_params: bool, backend: str) -> None:
    """Raises `ValueError` for a backend that cannot spread the parameters."""
    if shard_params and backend != "jit":
        raise ValueError(f"shard_params needs backend='jit', where the compiler moves the shards; got {backend!r}")


def _pmapped(mapped: Callable[..., tuple[Any, Any]], mesh: Mesh, batched: bool) -> ParallelSteps:
    devices = list(mesh.devices.flat)
    mine = [place for place, device in enumerate(devices) if device.process_index == jax.process_index()]
    # pmap cannot donate what it broadcasts.
    axes = (None, None, 1 if batched else None, 1)
    run = jax.pmap(mapped, axis_name=AXIS, in_axes=axes, out_axes=None, devices=devices)

    def arrange(data: Any, index: Any, *, read: bool = True) -> tuple[Any, Any]:
        rows = np.reshape(index, (len(index), mesh.size, -1))[:, mine]
        if not batched:
            return data, rows
        shape = lambda array: jax.ShapeDtypeStruct((*rows.shape, *array.shape[1:]), array.dtype)
        return jax.tree.map(lambda array: array[rows] if read else shape(array), data), rows

    # Of several processes pmap, compiled ahead of time, takes the global shapes for the local ones.
    return ParallelSteps(run, arrange, mesh.size, _ahead_of_time=jax.process_count() == 1)

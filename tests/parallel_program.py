"""Twenty steps of training on eight devices, in every way that spreads a batch; run by test_parallel.py.

In one process, or in several that the environment describes. Writes an .npz: for each loss and way the flat parameters
and the metrics of every step, and what the tests need beside.
"""

import os
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import NamedSharding, PartitionSpec

from vae_jax import VAE, cluster, data, evaluation, losses, parallel, training
from vae_jax.distributions import Bernoulli, DiagonalNormal, standard_normal

NUM_DEVICES, NUM_STEPS, BATCH, NUM_EXAMPLES, PIXELS = 8, 20, 16, 40, 8
LEARNING_RATE, FLOOR = 0.05, 0.7
SGD = optax.sgd(LEARNING_RATE)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (NUM_EXAMPLES, PIXELS), dtype=np.uint8)
# The mean of q(z|x) says much about x in two dimensions, little in the other two.
PARAMS = {
    "encoder": np.float32([[3.0], [3.0], [0.1], [0.1]]) * RNG.normal(size=(4, PIXELS)).astype(np.float32),
    "log_scale": np.float32([-0.5, -0.4, -0.1, 0.1]),
    "decoder": RNG.normal(size=(PIXELS, 4)).astype(np.float32),
}
MODEL = VAE(
    init=lambda key: PARAMS,
    encode=lambda params, x: DiagonalNormal(params["encoder"] @ (x - 0.5), jnp.exp(params["log_scale"])),
    decode=lambda params, z: Bernoulli(params["decoder"] @ z),
    prior=lambda params: standard_normal(4),
)


def negative_elbo(axis_name: str | None) -> training.LossFn:
    """A mean over examples, with dynamic binarisation inside."""
    loss = partial(_binarized, losses.over_batch(losses.negative_elbo, axis_name=axis_name))
    return losses.mean_over_examples(loss)


def free_bits(axis_name: str | None) -> training.LossFn:
    """Functions of the global batch: all there are, of which one takes the place of the mean."""
    terms = {
        "replace": losses.free_bits(FLOOR),
        "add": (
            losses.total_correlation(0.1, NUM_EXAMPLES),
            losses.dip(0.02, 0.005),
            losses.mmd(1.0),
            losses.capacity(0.02, 2.0),
        ),
    }
    return partial(_binarized, losses.over_batch(losses.negative_elbo, **terms, axis_name=axis_name))


def doubly_reparameterized(axis_name: str | None) -> training.LossFn:
    """A bound of several samples, whose gradient has a rule of its own."""
    iwae = partial(losses.negative_iwae, num_samples=3, gradient="doubly_reparameterized")
    return partial(_binarized, losses.over_batch(iwae, axis_name=axis_name))


def _binarized(batch_loss, params, keys, images):
    split = jax.vmap(jax.random.split)(keys)
    return batch_loss(params, split[:, 1], jax.vmap(data.binarize)(split[:, 0], images), vae=MODEL)


def key() -> jax.Array:
    return jax.random.key(1)


def index() -> np.ndarray:
    return data.batch_indices(jax.random.key(2), num_examples=NUM_EXAMPLES, batch_size=BATCH, start=0, stop=NUM_STEPS)


def single(make_loss):
    """One device, no axis: what all others are compared with."""
    steps = jax.jit(partial(training.train_steps, loss_fn=make_loss(None), optimizer=SGD))
    return steps(training.init_state(PARAMS, SGD), key(), IMAGES, index())


def spread(make_loss, backend: str, *, ahead_of_time: bool, **options):
    """`parallel.data_parallel`, by a call or as the training loop compiles it."""
    mesh = parallel.data_mesh()
    steps = partial(training.train_steps, loss_fn=make_loss(parallel.axis_name(backend)), optimizer=SGD, **options)
    run = parallel.data_parallel(steps, mesh=mesh, backend=backend)
    state, run_key, images = parallel.replicate((training.init_state(PARAMS, SGD), key(), IMAGES), mesh)
    if ahead_of_time:
        run = run.compile(state, run_key, images, index())
    return run(state, run_key, images, index())


def gathered(make_loss, backend: str, *, ahead_of_time: bool):
    """The same on batches that are gathered on the host, each device given its share of them."""
    mesh = parallel.data_mesh()
    steps = partial(training.train_batches, loss_fn=make_loss(parallel.axis_name(backend)), optimizer=SGD)
    run = parallel.data_parallel(steps, mesh=mesh, backend=backend, batched=True)
    state, run_key = parallel.replicate((training.init_state(PARAMS, SGD), key()), mesh)
    if ahead_of_time:
        run = run.compile(state, run_key, IMAGES, index())
    return run(state, run_key, IMAGES, index())


def sharded(make_loss):
    """With the parameters spread over the devices too, however small."""
    parallel._SMALLEST_SHARDED = 1
    mesh = parallel.data_mesh()
    steps = partial(training.train_steps, loss_fn=make_loss(None), optimizer=SGD)
    run = parallel.data_parallel(steps, mesh=mesh, shard_params=True)
    state = parallel.shard(training.init_state(PARAMS, SGD), mesh)
    run_key, images = parallel.replicate((key(), IMAGES), mesh)
    state, metrics = run.compile(state, run_key, images, index())(state, run_key, images, index())
    assert state.params["encoder"].sharding.spec == PartitionSpec(None, parallel.AXIS)
    return state, metrics


def one_by_one(step, state, batch_of):
    """`train_step` in a Python loop."""
    metrics = []
    for rows in index():
        state, measured = step(state, key(), *batch_of(rows))
        metrics.append(measured)
    return state, jax.tree.map(lambda *values: np.stack(values), *metrics)


def sharded_step(make_loss):
    """jit of `train_step` itself, on a batch that lies on eight devices."""
    mesh = parallel.data_mesh()
    split = NamedSharding(mesh, PartitionSpec(parallel.AXIS))
    step = jax.jit(partial(training.train_step, loss_fn=make_loss(None), optimizer=SGD))
    state = parallel.replicate(training.init_state(PARAMS, SGD), mesh)
    return one_by_one(step, state, lambda rows: jax.device_put((IMAGES[rows], rows), split))


def vmapped_step(make_loss):
    """`train_step` under vmap with a named axis; out_axes=None says that no result varies over it."""
    step = partial(training.train_step, loss_fn=make_loss("devices"), optimizer=SGD, axis_name="devices")
    mapped = jax.jit(jax.vmap(step, axis_name="devices", in_axes=(None, None, 0, 0), out_axes=None))
    shards = lambda array: array.reshape(NUM_DEVICES, -1, *array.shape[1:])
    return one_by_one(mapped, training.init_state(PARAMS, SGD), lambda rows: (shards(IMAGES[rows]), shards(rows)))


WAYS = {
    "single": single,
    "jit": partial(spread, backend="jit", ahead_of_time=True),
    "pmap": partial(spread, backend="pmap", ahead_of_time=True),
    "shard_map": partial(spread, backend="shard_map", ahead_of_time=False),
    "batched_jit": partial(gathered, backend="jit", ahead_of_time=False),
    "batched_pmap": partial(gathered, backend="pmap", ahead_of_time=True),
    "batched_shard_map": partial(gathered, backend="shard_map", ahead_of_time=True),
    "shard_params": sharded,
    "microbatches": partial(spread, backend="shard_map", ahead_of_time=False, microbatches=2),
    "sharded_step": sharded_step,
    "vmap": vmapped_step,
}
# What does not depend on the loss is computed for one: each compiles for a second.
OF_ONE_LOSS = ("batched_jit", "batched_pmap", "batched_shard_map", "shard_params", "microbatches", "sharded_step")
# Over processes a batch cannot be placed by hand, and one device is no longer all.
OVER_PROCESSES = {
    "negative_elbo": ("jit", "pmap", "shard_map", "batched_jit", "batched_pmap", "shard_params"),
    "free_bits": ("shard_map",),
}


def mean_kl_per_dimension(trained) -> jax.Array:
    """Of the whole data set, as grey images."""
    q = jax.vmap(partial(MODEL.encode, trained))(IMAGES / np.float32(255))
    return jnp.mean(0.5 * (q.scale**2 + q.mean**2 - 1) - jnp.log(q.scale), axis=0)


def evidence(mesh: jax.sharding.Mesh | None) -> dict[str, jax.Array]:
    """Of thirteen examples, which eight devices cannot divide evenly."""
    keys, xs = jax.random.split(key(), 13), IMAGES[:13] / np.float32(255)
    return evaluation.log_evidence(PARAMS, keys, xs, vae=MODEL, num_samples=30, chunk_size=20, mesh=mesh)._asdict()


def refusal(backend: str) -> str:
    """What a batch of ten over eight devices is answered with."""
    run = parallel.data_parallel(training.train_steps, mesh=parallel.data_mesh(), backend=backend)
    try:
        run(None, None, IMAGES, index()[:, :10])
    except ValueError as error:
        return str(error)
    return "accepted"


def unread() -> jax.Array:
    """What this process's devices need a good while for, and nobody waits for."""
    slow = lambda matrix, rows: jax.lax.fori_loop(0, 500, lambda _, rows: jnp.tanh(rows @ matrix), rows)
    matrix = np.ones((200, 200), np.float32)
    return jax.jit(parallel.over_devices(slow, parallel.local_mesh()))(matrix, matrix)


def main(path: str) -> None:
    processes = cluster.detect(os.environ)
    if processes is not None:
        parallel.initialize(processes, heartbeat_seconds=60)
    results = {"num_devices": jax.device_count(), "start": ravel_pytree(PARAMS)[0]}
    results["num_processes"] = parallel.num_processes()
    for make_loss in (negative_elbo, free_bits, doubly_reparameterized):
        for way, train in WAYS.items():
            if processes and way not in OVER_PROCESSES.get(make_loss.__name__, ()):
                continue
            if way in OF_ONE_LOSS and make_loss is not negative_elbo:
                continue
            state, metrics = train(make_loss)
            params, metrics = parallel.whole(jax.tree.map(jnp.asarray, (state.params, metrics)))
            results[f"{make_loss.__name__}/{way}/params"] = ravel_pytree(params)[0]
            results |= {f"{make_loss.__name__}/{way}/{name}": values for name, values in metrics.items()}
            if way == "single":
                results[f"{make_loss.__name__}/kls"] = jnp.stack(
                    [mean_kl_per_dimension(p) for p in (PARAMS, state.params)]
                )
    for way, mesh in (("single", None), ("spread", parallel.local_mesh())):
        results |= {f"evidence/{way}/{name}": values for name, values in evidence(mesh).items()}
    results |= {f"refusal/{backend}": refusal(backend) for backend in parallel.BACKENDS}
    if parallel.is_first_process():
        np.savez(path, **results)
    if processes:
        begun = unread()
        parallel.finish()
        assert begun.is_ready(), "the cluster was left while devices still computed"


if __name__ == "__main__":
    main(sys.argv[1])

"""Twenty steps of training on eight devices, in every way that spreads a batch; run by test_parallel.py.

In one process, or in several that the environment describes. Writes an .npz: for each loss and way the flat parameters
and the metrics of every step, and what the tests need beside.
"""

import dataclasses
import math
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import NamedSharding, PartitionSpec

from tests.jaxpr_equations import products
from vae_jax import VAE, cluster, data, evaluation, losses, parallel, training
from vae_jax.distributions import Bernoulli, DiagonalNormal, MultivariateNormal, standard_normal

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


NUM_EVALUATED = 13
# With a full covariance the densities of q(z|x) are matrix products, those of the aggregate posterior too.
CORRELATED = dataclasses.replace(
    MODEL,
    encode=lambda params, x: MultivariateNormal(
        params["encoder"] @ (x - 0.5), jnp.diag(jnp.exp(params["log_scale"])) + jnp.tril(jnp.full((4, 4), 0.2), -1)
    ),
)
LATENTS = {"vae": CORRELATED, "chunk_size": NUM_EVALUATED}


def evaluations(mesh: jax.sharding.Mesh | None) -> dict[str, Callable[..., Any]]:
    """Every function of (params, keys, xs) that divides its examples among devices."""
    # Of one temperature, whose chains do not move: what is divided are examples, and transitions compile for seconds.
    anneal = {"vae": MODEL, "num_temperatures": 1, "num_chains": 3, "mesh": mesh}
    refine = {"vae": MODEL, "num_steps": 4, "samples_per_step": 3, "num_samples": 10}
    known = np.zeros(NUM_EVALUATED, np.float32), np.ones(NUM_EVALUATED, np.float32)
    return {
        "evidence": partial(evaluation.log_evidence, vae=MODEL, num_samples=30, chunk_size=20, mesh=mesh),
        "latents": partial(evaluation.latent_statistics, **LATENTS, mesh=mesh),
        "annealed": partial(evaluation.annealed_log_evidence, **anneal),
        "bidirectional": lambda params, keys, xs: evaluation.bidirectional_log_evidence(params, keys, **anneal),
        "gaps": partial(evaluation.inference_gaps, **refine, log_evidence=known, mesh=mesh),
    }


# They meet processes as the evidence does, and compile for seconds.
OF_ONE_PROCESS = ("annealed", "bidirectional", "gaps")


def evaluated() -> tuple[dict[str, Any], jax.Array, Any]:
    """Parameters, keys and examples, which eight devices cannot divide evenly."""
    return PARAMS, jax.random.split(key(), NUM_EVALUATED), IMAGES[:NUM_EVALUATED] / np.float32(255)


def figures(function: Callable[..., Any]) -> dict[str, Any]:
    """The numbers that `function` finds, by the path of the leaf."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(function(*evaluated()))
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    return {path: leaf for path, leaf in named.items() if not isinstance(leaf, str)}


def multiplications(name: str, mesh: jax.sharding.Mesh | None) -> int:
    """Of all matrix products of `evaluations(mesh)[name]`, on one device."""
    if name != "latents":
        return _multiplications(evaluations(mesh)[name], *evaluated())
    # What is between its two compiled functions happens on the host, and cannot be traced.
    posteriors = partial(evaluation.latents._posteriors, **LATENTS, mesh=mesh)
    drawn = jax.eval_shape(posteriors, *evaluated()).drawn
    compare = partial(evaluation.information._log_sums, chunk_size=LATENTS["chunk_size"], mesh=mesh)
    return _multiplications(posteriors, *evaluated()) + _multiplications(compare, drawn.gaussians, drawn.z)


def _multiplications(function: Callable[..., Any], *args: Any) -> int:
    number = 0
    for equation, times in products(function, *args):
        (contracted, _), _ = equation.params["dimension_numbers"]
        lengths = (equation.invars[0].aval.shape[axis] for axis in contracted)
        number += times * equation.outvars[0].aval.size * math.prod(lengths)
    return number


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
        for name, function in evaluations(mesh).items():
            if processes and (way == "single" or name in OF_ONE_PROCESS):
                continue
            results |= {f"{name}/{way}/{path}": values for path, values in figures(function).items()}
            if not processes:
                results[f"{name}/{way}/multiplications"] = multiplications(name, mesh)
    results |= {f"refusal/{backend}": refusal(backend) for backend in parallel.BACKENDS}
    if parallel.is_first_process():
        np.savez(path, **results)
    if processes:
        begun = unread()
        parallel.finish()
        assert begun.is_ready(), "the cluster was left while devices still computed"


if __name__ == "__main__":
    main(sys.argv[1])

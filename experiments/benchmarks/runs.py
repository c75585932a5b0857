"""Whole commands: how soon a run has made its first step, and how fast it is; what devices and checkpoints cost."""

import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from vae_jax import data, losses, networks, parallel, training

from .interleaved import Call
from .steps import Case, images

_HIDDEN, _LATENT_DIM, _NUM_EXAMPLES = (200, 200), 50, 4000


def train_command(case: Case, steps: int) -> Call:
    """Prepares runs of the command `train`: metrics, a cosine schedule, the weight average, checkpoints and all.

    What counts is a step's time by the run's own `examples_per_second`, which is without compilation and evaluation.
    """
    folder = _with_images()
    options = ["--config.training.schedule=cosine", "--config.training.average_decay=0.999"]

    def call() -> float:
        with tempfile.TemporaryDirectory() as workdir:
            subprocess.run(_train(case, folder.name, workdir, steps, *options), check=True, capture_output=True)
            speed = json.loads((Path(workdir) / "summary.json").read_text())["examples_per_second"]
        return steps * case.batch_size / speed

    return call


def launch(case: Case, *, warm: bool) -> Call:
    """Prepares launches of `train`; what counts is the time to the first line of metrics, that of one step.

    What XLA compiles is kept from one launch to the next where they are `warm`, and each finds nothing otherwise.
    """
    folder = _with_images()

    def call() -> float:
        with tempfile.TemporaryDirectory() as workdir:
            cache = Path(folder.name if warm else workdir) / "cache"
            command = _train(case, folder.name, workdir, 2, "--config.training.log_every=1")
            own = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
            start = time.perf_counter()
            process = subprocess.Popen(
                command,
                env=own | {"XDG_CACHE_HOME": str(cache)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            metrics = Path(workdir) / "metrics.jsonl"
            while not (metrics.exists() and metrics.stat().st_size):
                if process.poll() is not None:
                    raise RuntimeError(f"train ended with status {process.returncode}")
                time.sleep(0.01)
            seconds = time.perf_counter() - start
            process.terminate()
            process.wait()
        return seconds

    return call


def _with_images() -> tempfile.TemporaryDirectory[str]:
    """Returns a folder with images.npy, which is deleted with the process."""
    folder = tempfile.TemporaryDirectory()
    np.save(Path(folder.name) / "images.npy", images())
    return folder


def _train(case: Case, data_dir: str, workdir: str, steps: int, *options: str) -> list[str]:
    fields = {
        "data.path": f"{data_dir}/images.npy",
        "data.binarization": "dynamic",
        "model.network": f"mlp(hidden={case.hidden}, activation={case.activation})",
        "model.latent_dim": f"({case.latent_dim},)",
        "training.batch_size": str(case.batch_size),
        "training.num_steps": str(steps),
        "training.eval_every": str(steps),
        "training.checkpoint_every": str(steps),
        "evaluation.num_samples": "1",
    }
    flags = [f"--config.{name}={value}" for name, value in fields.items()]
    return [sys.executable, "-m", "experiments.train", f"--workdir={workdir}", *flags, *options]


def devices(batch_size: int, *, rounds: int, steps: int) -> str:
    """Returns the processor time of a step of each backend over all devices."""
    timed = {"one device": placed_steps(batch_size, jax.devices()[:1], "jit", steps)[1]}
    timed |= {backend: placed_steps(batch_size, jax.devices(), backend, steps)[1] for backend in parallel.BACKENDS}
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, call in timed.items():
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    ratios = {
        name: statistics.median(np.divide(values, seconds["one device"]).tolist()) for name, values in seconds.items()
    }
    one = 1e3 * statistics.median(seconds["one device"]) / steps
    named = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items() if name != "one device")
    return f"batch {batch_size}: {one:.1f} ms of processor time on one device; over all, as a multiple: {named}"


def checkpoints(*, rounds: int, steps: int) -> str:
    """Returns what a checkpoint takes from training that goes on meanwhile."""
    state, call = placed_steps(800, jax.devices()[:1], "jit", steps)
    with tempfile.TemporaryDirectory() as folder, training.Checkpoints(folder) as saved:
        plain, saving, blocked = [], [], []
        for number in range(rounds):
            plain.append(_seconds(call))
            start = time.perf_counter()
            saved.save(state()._replace(step=np.int32(number)), {})
            blocked.append(time.perf_counter() - start)
            saving.append(blocked[-1] + _seconds(lambda: (call(), saved.wait())))
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(state()))
    cost = statistics.median(np.subtract(saving, plain).tolist())
    blocks = 1e3 * statistics.median(blocked)
    return (
        f"a checkpoint of {size / 2**20:.0f} MiB blocks for {blocks:.0f} ms, and with its work in the background takes "
        f"{1e3 * cost:.0f} ms from training: {cost / 60:.2%} of a minute"
    )


def placed_steps(
    batch_size: int, on: Any, backend: str, num_steps: int
) -> tuple[Callable[[], training.TrainState], Callable[[], Any]]:
    """(the state now, `num_steps` training steps with Adam) on these devices."""
    vae = networks.mlp(event_shape=(28, 28, 1), latent_dim=_LATENT_DIM, hidden=_HIDDEN)
    key, optimizer, mesh = jax.random.key(0), optax.adam(1e-3), parallel.data_mesh(on)
    loss = losses.over_batch(losses.negative_elbo, axis_name=parallel.axis_name(backend))
    steps = functools.partial(training.train_steps, loss_fn=functools.partial(loss, vae=vae), optimizer=optimizer)
    images = np.random.RandomState(0).uniform(size=(_NUM_EXAMPLES, 28, 28, 1)).astype(np.float32)
    index = data.batch_indices(key, num_examples=_NUM_EXAMPLES, batch_size=batch_size, start=0, stop=num_steps)
    start = training.init_state(vae.init(key), optimizer)
    state, run_key, images = parallel.replicate((start, key, images), mesh)
    run = parallel.data_parallel(steps, mesh=mesh, backend=backend).compile(state, run_key, images, index)

    def call() -> Any:
        nonlocal state
        state, metrics = run(state, run_key, images, index)
        jax.block_until_ready((state, metrics))

    call()
    return lambda: state, call


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start

"""What XLA makes of the training step: counts of the compiled program, as JSON; run by test_compiled.py.

With eight devices, since the number is a process's; a step for one of them is the same as with one.
"""

import functools
import json
import re
import sys
from typing import Any

import jax
import jaxlib
import numpy as np
import optax

from experiments.benchmarks import steps
from vae_jax import losses, parallel, training

NUM_STEPS = 3
OPERATIONS = ("dot", "fusion", "copy", "while", "all-reduce", "all-gather", "all-to-all", "collective-permute")


def counts(compiled: Any) -> dict[str, int]:
    """Returns how often each kind of operation is written in a program, its temporary bytes and its operations."""
    text, cost = compiled.as_text(), compiled.cost_analysis()
    written = {name: len(re.findall(rf" {name}\(", text)) for name in OPERATIONS}
    temporary = compiled.memory_analysis().temp_size_in_bytes
    return written | {"temporary bytes": temporary, "flops": int(cost["flops"])}


def reduced_bytes(text: str) -> list[int]:
    """Returns the bytes that each all-reduce of a program sums, all of float32."""
    found = re.findall(r"= (.*?) all-reduce\(", text)
    shapes = [re.findall(r"f32\[([\d,]*)\]", result) for result in found]
    return [sum(4 * int(np.prod([int(n) for n in shape.split(",") if n])) for shape in tuple_) for tuple_ in shapes]


def lowered(case: steps.Case, backend: str | None) -> Any:
    """Returns the compiled steps of a case on one device, or on all by a backend of `parallel`."""
    vae, optimizer = steps.mlp(case), optax.adam(1e-3)
    loss = losses.over_batch(steps.loss_of(case.num_samples), axis_name=backend and parallel.axis_name(backend))
    options = {"loss_fn": functools.partial(loss, vae=vae), "optimizer": optimizer}
    if backend is None:
        options["loss_fn"] = steps.loss_function(vae, steps.loss_of(case.num_samples))
    key = jax.random.key(0)
    state = jax.eval_shape(lambda: training.init_state(vae.init(key), optimizer))
    shape, dtype = (4000, 28, 28, 1), np.uint8 if backend is None else np.float32
    data, index = jax.ShapeDtypeStruct(shape, dtype), np.zeros((NUM_STEPS, case.batch_size), np.int32)
    run = functools.partial(training.train_steps, **options)
    if backend is None:
        return jax.jit(run, donate_argnums=0).lower(state, key, data, index).compile()
    mesh = parallel.data_mesh()
    of_all = parallel.data_parallel(run, mesh=mesh, backend=backend)
    state, data = parallel.shapes((state, data), mesh)
    return of_all.lower(state, parallel.replicate(key, mesh), data, index).compile()


def main(path: str) -> None:
    found: dict[str, Any] = {"jaxlib": jaxlib.__version__}
    found["steps"] = {str(case): counts(lowered(case, None)) for case in steps.CASES}
    of_eight = {backend: lowered(steps.CASES[1]._replace(batch_size=800), backend) for backend in ("jit", "shard_map")}
    found["devices"] = {
        backend: counts(program) | {"reduced": reduced_bytes(program.as_text())}
        for backend, program in of_eight.items()
    }
    with open(path, "w") as file:
        json.dump(found, file, indent=2)
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])

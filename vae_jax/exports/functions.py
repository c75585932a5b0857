"""A model's encoder and decoder as programs that JAX alone calls: StableHLO with the parameters inside.

They take and return arrays, and dicts of arrays, with a leading axis of any length.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from ..data import Contents, Variable
from ..distributions import Joint, Masked
from ..evaluation.encoding import posterior_moments
from ..evaluation.expectations import moments, most_probable
from ..model import VAE, Params
from ..parts import Sized
from ..training.templates import names_of

PLATFORMS = ("cpu", "cuda", "tpu")
# Of q(z|x) that states no moments, as the command `encode` takes them.
NUM_DRAWS = 1000
# Only what is a class or a number of times is no real number.
_DTYPES: dict[str, Any] = dict.fromkeys(("count", "category", "ordinal"), jnp.int32)


class Function(NamedTuple):
    """A function as a program.

    Attributes:
      stored: what `jax.export.deserialize` takes.
      takes: the arguments by name, arrays or dicts of them as shapes, whose first axis is "n".
      gives: the arrays of the result by name, likewise.
    """

    stored: bytes
    takes: Mapping[str, Any]
    gives: Mapping[str, Any]


def encoder(vae: VAE, params: Params, contents: Contents) -> Function:
    """Returns x, or (x, c), -> mean and standard deviations of q(z|x): {"mean", "scale"} of each z.

    Where q states neither, they are those of `NUM_DRAWS` draws, {"mean_of_draws", "scale_of_draws"}: example i draws
    with the key fold_in(jax.random.key(0), i), as the command `encode` does. Of a masked x the argument is a dict of
    "value" and "observed"; of a table a dict of columns; c is a dict.

    Raises:
      ValueError: with the reason why it cannot be such a program.
    """
    names: list[str] = []

    def encode(*given: Any) -> dict[str, Any]:
        number = jax.tree.leaves(given)[0].shape[0]
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(number))

        def one(key: Any, given: tuple[Any, ...]) -> tuple[Any, Any]:
            x, at = vae.at(_example(contents, *given))
            q = at.encode(params, x)
            names[:] = ("mean", "scale") if moments(q) else ("mean_of_draws", "scale_of_draws")
            return posterior_moments(q, key, NUM_DRAWS)

        found = jax.vmap(one)(keys, given)
        return dict(zip(names, found, strict=True))

    return _exported(encode, _arguments_of_x(contents))


def decoder(vae: VAE, params: Params, contents: Contents) -> Function:
    """Returns z -> p(x|z), or with c and the total of counts as further arguments, where the model is given them.

    The result has "mean", E[x|z] or of a class the most probable one, where p(x|z) states it, and the arrays that
    p(x|z) is made of, such as "logits". Of a table the names begin with the column's: "colour.mean".

    Raises:
      ValueError: with the reason why it cannot be such a program.
    """

    def decode(*given: Any) -> dict[str, Any]:
        def one(z: Any, *given: Any) -> dict[str, Any]:
            c = [_given(contents, *given)] if vae.given is not None else []
            return _described(vae.decode(params, z, *c))

        return jax.vmap(one)(*given)

    of_x = _arguments_of_x(contents)
    example = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), tuple(of_x.values()))

    def draw(key: Any, given: tuple[Any, ...]) -> Any:
        x, at = vae.at(_example(contents, *given))
        return at.encode(params, x).sample(key)

    z = jax.eval_shape(draw, jax.eval_shape(lambda: jax.random.key(0)), example)
    number = jax.tree.leaves(of_x)[0].shape[0]
    batch_of = lambda leaf: jax.ShapeDtypeStruct((number, *leaf.shape), leaf.dtype)
    takes = {"z": jax.tree.map(batch_of, z)} | {name: of for name, of in of_x.items() if name != "x"}
    if contents.sized:
        takes["total"] = jax.ShapeDtypeStruct((number,), jnp.float32)
    return _exported(decode, takes)


def _exported(function: Callable[..., dict[str, Any]], takes: Mapping[str, Any]) -> Function:
    try:
        # Reduced-precision matrix products, an accelerator's default, would give other figures than the run's.
        with jax.default_matmul_precision("highest"), _without_places():
            found = export.export(jax.jit(function), platforms=PLATFORMS)(*takes.values())
        gives = jax.tree.unflatten(found.out_tree, found.out_avals)
        return Function(bytes(found.serialize()), takes, gives)
    except Exception as error:  # of any part, a user's too, and of JAX's compiler for any platform
        lines = str(error).splitlines() or [""]
        raise ValueError(f"{type(error).__name__}: {lines[0]:.300}") from error


@contextlib.contextmanager
def _without_places() -> Iterator[None]:
    """Keeps out of a program the file and line of each operation, which are of folders of this machine."""
    before = jax.config.jax_traceback_in_locations_limit  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", before)


def _arguments_of_x(contents: Contents) -> dict[str, Any]:
    """Returns x, and c of a conditional model, as shapes of n examples."""
    (number,) = export.symbolic_shape("n")

    def of(variable: Variable, masked: bool) -> Any:
        shape = (number, *variable.shape)
        value = jax.ShapeDtypeStruct(shape, _DTYPES.get(variable.kind, jnp.float32))
        return {"value": value, "observed": jax.ShapeDtypeStruct(shape, np.bool_)} if masked else value

    variables = {name: of(variable, contents.masked) for name, variable in contents.variables().items()}
    found = {"x": variables if contents.is_table else variables[""]}
    if contents.is_conditional:
        found["c"] = {name: of(variable, False) for name, variable in contents.condition.items()}
    return found


def _example(contents: Contents, x: Any, c: Any = None) -> Any:
    """Returns an example as the model takes it."""
    masked = lambda value: Masked(value["value"], value["observed"]) if contents.masked else value
    x = {name: masked(value) for name, value in x.items()} if contents.is_table else masked(x)
    return x if c is None else (x, c)


def _given(contents: Contents, *given: Any) -> Any:
    """Returns what the model is given beside z, of c and the total."""
    c = given[0] if contents.is_conditional else None
    return Sized(c, given[-1]) if contents.sized else c


def _described(p: Any) -> dict[str, Any]:
    """Returns the arrays of a distribution by name."""
    if isinstance(p, Joint):
        parts = {name: _described(part) for name, part in p.parts.items()}
        return {f"{name}.{key}": value for name, of in parts.items() for key, value in of.items()}
    leaves = [] if jax.tree_util.all_leaves([p]) else jax.tree.leaves(p)
    arrays = dict(zip(names_of(p), leaves, strict=True)) if leaves else {}
    mean = most_probable(p)
    if mean is None and not arrays:
        raise ValueError(f"{type(p).__name__} states no mean, and is no pytree of arrays")
    return arrays if mean is None else {**arrays, "mean": mean}

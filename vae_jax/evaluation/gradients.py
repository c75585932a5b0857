"""What a gradient estimator does: its mean, variance, bias and cost, by independent replicates."""

import dataclasses
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from ..checks import check_count
from ..keys import check_key
from ..losses.checks import check_scalar
from ..model import Params

_FAMILY_WISE_ERROR = 1e-3
_ROUNDING = 1e-6


class BlockStatistics(NamedTuple):
    """Of the gradient with respect to one block of parameters, over R replicates.

    Attributes:
      size: the number of parameters, n.
      norm: ‖mean‖, of the replicates' mean.
      variance: the sum of the n variances of one replicate.
      snr: the mean over parameters of |gradient| / standard deviation, with the exact gradient where it is given;
        parameters that do not vary are left out.
      bias: ‖mean − exact‖; None without an exact gradient, as the next three.
      bias_z: the largest |mean − exact| over its standard error.
      bias_z_threshold: what the largest of n such |z| stays below with probability 0.999 where there is no bias.
      cosine: of the mean with the exact gradient.
      cost_adjusted_variance: variance × seconds per replicate.
    """

    size: int
    norm: float
    variance: float
    snr: float
    bias: float | None
    bias_z: float | None
    bias_z_threshold: float | None
    cosine: float | None
    cost_adjusted_variance: float


@dataclasses.dataclass(frozen=True)
class GradientReport:
    """`print` it for a table.

    Attributes:
      blocks: a `BlockStatistics` for each block of parameters.
      mean, variance: the replicates' mean gradient and the variance of one replicate, shaped like the parameters.
      num_replicates: R.
      seconds: per replicate, measured after compilation.
      loss, loss_standard_deviation: of the replicates' losses.
      effective_sample_size: the mean of `terms.effective_sample_size`; None where the loss returns no such terms.
    """

    blocks: dict[str, BlockStatistics]
    mean: Params
    variance: Params
    num_replicates: int
    seconds: float
    loss: float
    loss_standard_deviation: float
    effective_sample_size: float | None

    def to_dict(self) -> dict[str, Any]:
        """All but the arrays, as what JSON can hold: None for a number that is not finite."""
        finite = lambda value: value if value is None or math.isfinite(value) else None
        fields = ("num_replicates", "seconds", "loss", "loss_standard_deviation", "effective_sample_size")
        return {
            "blocks": {
                name: {field: finite(value) for field, value in block._asdict().items()}
                for name, block in self.blocks.items()
            },
            **{name: finite(getattr(self, name)) for name in fields},
        }

    def __str__(self) -> str:
        from rich.console import Console  # takes 0.1 s, which only printing needs
        from rich.table import Table

        ess = "" if self.effective_sample_size is None else f", effective sample size {self.effective_sample_size:.3g}"
        title = (
            f"{self.num_replicates} replicates, {1e6 * self.seconds:.3g} µs each; loss {self.loss:.6g} ± "
            f"{self.loss_standard_deviation:.3g} each{ess}"
        )
        table = Table(title=title, title_justify="left")
        columns = BlockStatistics._fields
        for column in ("block", *columns):
            table.add_column(column.replace("_", " "), justify="left" if column == "block" else "right")
        for name, block in self.blocks.items():
            table.add_row(name, *("" if value is None else f"{value:.4g}" for value in block))
        console = Console(width=160, color_system=None)
        with console.capture() as capture:
            console.print(table)
        return capture.get().rstrip()


class _Moments(NamedTuple):
    number: Int[Array, ""]
    mean: Any
    squares: Any  # Σ (value − mean)²


def gradient_report(
    loss_fn: Callable[[Params, Key[Array, ""], Any], Any],
    params: Params,
    key: Key[Array, ""],
    x: Any,
    *,
    num_replicates: int = 4096,
    exact: Params | None = None,
    depth: int = 1,
    chunk_size: int | None = None,
) -> GradientReport:
    """Statistics of `jax.grad(loss_fn)` over independent keys, replicate i with `fold_in(key, i)`.

    Replicates are reduced in chunks (Chan's update of mean and squares), so that memory does not grow with their
    number.

    Args:
      loss_fn: (params, key, x) -> a scalar, or (scalar, terms): a loss of this package with its options bound, or any
        function of one's own, of an example or of a batch.
      params: where the gradient is taken.
      key: a typed PRNG key.
      x: what the loss takes.
      num_replicates: R, at least 2.
      exact: the exact gradient, shaped like the parameters, an oracle's for one.
      depth: how many levels of the parameters' tree name a block.
      chunk_size: replicates computed at once; by default 1024, or as many gradients as 64 M numbers hold.

    Raises:
      ValueError: for fewer than two replicates, a loss that is no scalar, or an `exact` of another structure.
      TypeError: for a raw uint32 key.

    Source of the combination of moments: Chan, Golub and LeVeque 1983, The American Statistician 37(3).
    """
    check_key(key)
    num_replicates = check_count(num_replicates, "num_replicates", 2)
    if chunk_size is None:
        chunk_size = max(1, min(1024, 2**26 // max(1, sum(np.size(leaf) for leaf in jax.tree.leaves(params)))))
    chunk_size = min(check_count(chunk_size, "chunk_size"), num_replicates)
    check_count(depth, "depth")
    if exact is not None:
        _check_like(exact, params)
    run = jax.jit(partial(_moments, loss_fn, num_replicates=num_replicates, chunk_size=chunk_size))
    compiled = run.lower(params, key, x).compile()
    start = time.perf_counter()
    moments = jax.block_until_ready(compiled(params, key, x))
    seconds = (time.perf_counter() - start) / num_replicates
    to_host = lambda tree: jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)
    (mean, loss, ess), (squares, loss_squares, _) = to_host(moments.mean), to_host(moments.squares)
    variance = jax.tree.map(lambda leaf: leaf / (num_replicates - 1), squares)
    return GradientReport(
        blocks=_blocks(mean, variance, None if exact is None else to_host(exact), num_replicates, seconds, depth),
        mean=mean,
        variance=variance,
        num_replicates=num_replicates,
        seconds=seconds,
        loss=float(loss),
        loss_standard_deviation=math.sqrt(float(loss_squares) / (num_replicates - 1)),
        effective_sample_size=None if ess is None else float(ess),
    )


def _moments(
    loss_fn: Callable[..., Any], params: Params, key: Key[Array, ""], x: Any, *, num_replicates: int, chunk_size: int
) -> _Moments:
    def replicate(number: Int[Array, ""]) -> Any:
        def loss(params: Params) -> tuple[Float[Array, ""], Any]:
            result = loss_fn(params, jax.random.fold_in(key, number), x)
            value, terms = result if isinstance(result, tuple) else (result, None)
            check_scalar(value, "the loss")
            ess = getattr(terms, "effective_sample_size", None)
            return value, None if ess is None else jnp.mean(ess)

        (value, ess), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        return gradient, value, ess

    def chunk(total: _Moments, numbers: Int[Array, " chunk"]) -> tuple[_Moments, None]:
        values = jax.vmap(replicate)(numbers)
        used = numbers < num_replicates
        count = jnp.sum(used)

        def average(leaf: Array) -> Array:
            # A sum, no matrix product, which accelerators round; chosen, not weighted, as 0 · NaN is NaN.
            chosen = jnp.where(used.reshape(-1, *(1,) * (leaf.ndim - 1)), leaf, 0)
            return jnp.sum(chosen, axis=0) / count.astype(leaf.dtype)

        mean = jax.tree.map(average, values)
        squares = jax.tree.map(lambda leaf, m: average((leaf - m[None]) ** 2) * count.astype(m.dtype), values, mean)
        return _combine(total, _Moments(count, mean, squares)), None

    num_chunks = -(-num_replicates // chunk_size)
    numbers = jnp.arange(num_chunks * chunk_size).reshape(num_chunks, chunk_size)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(replicate, numbers[0, 0]))
    return jax.lax.scan(chunk, _Moments(jnp.zeros((), numbers.dtype), zeros, zeros), numbers)[0]


def _combine(a: _Moments, b: _Moments) -> _Moments:
    count = a.number + b.number
    share = lambda leaf: (b.number / count).astype(leaf.dtype)
    mean = jax.tree.map(lambda m, n: m + (n - m) * share(m), a.mean, b.mean)
    squares = jax.tree.map(
        lambda s, t, m, n: s + t + (n - m) ** 2 * share(m) * a.number.astype(m.dtype),
        a.squares,
        b.squares,
        a.mean,
        b.mean,
    )
    return _Moments(count, mean, squares)


def _blocks(
    mean: Params, variance: Params, exact: Params | None, num_replicates: int, seconds: float, depth: int
) -> dict[str, BlockStatistics]:
    def flat(tree: Params) -> dict[str, np.ndarray]:
        blocks: dict[str, list[np.ndarray]] = {}
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            name = jax.tree_util.keystr(path[:depth], simple=True, separator=".") or "params"
            blocks.setdefault(name, []).append(np.ravel(leaf))
        return {name: np.concatenate(parts) for name, parts in blocks.items()}

    variances, answers = flat(variance), None if exact is None else flat(exact)
    return {
        name: _statistics(m, variances[name], None if answers is None else answers[name], num_replicates, seconds)
        for name, m in flat(mean).items()
    }


def _statistics(
    mean: np.ndarray, variance: np.ndarray, exact: np.ndarray | None, num_replicates: int, seconds: float
) -> BlockStatistics:
    # Float32's rounding of the mean is no variance, and its share of an error no bias.
    rounding = _ROUNDING * (np.abs(mean) + (0.0 if exact is None else np.abs(exact)))
    varies = variance > rounding**2
    signal = np.abs(mean if exact is None else exact)[varies]
    snr = float(np.mean(signal / np.sqrt(variance[varies]))) if varies.any() else math.inf
    bias = z = threshold = cosine = None
    if exact is not None:
        bias = float(np.linalg.norm(mean - exact))
        error, tolerance = np.abs(mean - exact), np.sqrt(variance / num_replicates + rounding**2)
        z = float(np.max(np.divide(error, tolerance, out=np.zeros_like(error), where=tolerance > 0), initial=0.0))
        # The largest of n normal |z|, by Šidák's correction.
        tail = -math.expm1(math.log1p(-_FAMILY_WISE_ERROR) / mean.size) / 2
        threshold = float(-jax.scipy.stats.norm.ppf(tail))
        norms = float(np.linalg.norm(mean) * np.linalg.norm(exact))
        cosine = float(mean @ exact) / norms if norms else math.nan
    total = float(variance.sum())
    return BlockStatistics(
        mean.size, float(np.linalg.norm(mean)), total, snr, bias, z, threshold, cosine, total * seconds
    )


def _check_like(exact: Params, params: Params) -> None:
    shapes = lambda tree: jax.tree.map(np.shape, tree)
    if jax.tree.structure(exact) != jax.tree.structure(params) or shapes(exact) != shapes(params):
        raise ValueError("exact must have the structure and shapes of params, as jax.grad of an oracle's ELBO has")

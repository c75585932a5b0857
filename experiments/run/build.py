"""From a config to the pure functions and arrays that it names."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import ArrayLike

from vae_jax import VAE, data, expressions, losses, parallel, runs, training
from vae_jax.data import Dataset
from vae_jax.distributions import Binary, is_reparameterized
from vae_jax.evaluation.checks import check_support
from vae_jax.keys import example_keys
from vae_jax.names import check_name
from vae_jax.priors import PRIORS

from . import size as size_of
from .config import Config, Loss, Training, to_dict

# The keys of commands: each purpose folds its own number into the key of the seed.
INIT, TRAINING, VALIDATION, TEST, FIGURES, EVALUATION, SAMPLES, STUDY, ORACLE = range(9)
# The key of evaluation's observations, that of no seed: these have 32 bits.
_OBSERVATIONS = (1, 0)
_SPLITS = ("train", "validation", "test")
# Fixed binarisation makes a data set, the same for every run.
FIXED_BINARIZATION_SEED = 0
_AVERAGED_BYTES = 2**28
# Pictures that a likelihood is not of show it at once.
LOOKED_AT = 1000


class Experiment(NamedTuple):
    """What training and evaluation need."""

    dataset: Dataset
    fingerprint: dict[str, Any]  # of the data as they were loaded, and how they were split
    data_mean: np.ndarray
    vae: VAE
    key: jax.Array
    observe: Callable[[jax.Array, Any], tuple[jax.Array, jax.Array]]  # `observations`, compiled

    def observed(self, split: str, rows: np.ndarray) -> jax.Array:
        """Returns x in [0, 1] of rows of a split as every evaluation sees them.

        Where binarisation is dynamic, an image has one draw, which belongs to the data set: it is the same for every
        seed.
        """
        return _observed(self.observe, self.dataset, split, rows)


def build(
    config: Config,
    *,
    data_dir: str | None,
    data_path: str | None = None,
    split_rule: str = "content",
    data_mean: np.ndarray | None = None,
) -> Experiment:
    """Loads the data and builds the model.

    Args:
      config: of the run.
      data_dir: where TFDS keeps its data sets.
      data_path: where the data of `config.data.path` now are.
      split_rule: how one's own data are divided, as by `data.load`.
      data_mean: of the training data, as the run has it; by default it is computed.

    Raises:
      FileNotFoundError: for data that are neither there nor to be had.
      ValueError: for an unknown name, damaged data, or a model that cannot describe them.
    """
    options = dict(vars(config.data))
    binarization = options.pop("binarization")
    check_name(binarization, "data.binarization", data.BINARIZATIONS)
    if data_path is not None and config.data.path is None:
        raise ValueError(
            f"--data_path={data_path} is a new place of the data of data.path, and this run has none: its data set is "
            f"{config.data.name}, which --data_dir or data.manual_dir may find; one's own data are --config.data.path"
        )
    dataset = data.load(**{**options, "path": data_path or options["path"]}, data_dir=data_dir, split_rule=split_rule)
    about = {"split_rule": None if config.data.path is None else split_rule, **data.fingerprint(dataset)}
    if binarization != "none" and dataset.event_shape[-1] == 3:
        raise ValueError(
            f"{dataset.name} holds colour pictures, and data.binarization={binarization!r} would make each channel of "
            "a pixel black or white at random. Use --config.data.binarization=none with "
            "--config.model.likelihood='normal(learn=shared)' for colours, or --config.data.channels=1 for grey"
        )
    if config.evaluation.num_examples is not None:
        validation, test = (_spread(s, config.evaluation.num_examples) for s in (dataset.validation, dataset.test))
        dataset = dataset._replace(validation=validation, test=test)
    data_mean = _mean(dataset.train.images) if data_mean is None else data_mean
    if binarization == "fixed":
        dataset = _binarized(dataset)
    observe = jax.jit(functools.partial(observations, config))
    model, number = to_dict(config)["model"], expressions.make(config.model.prior, PRIORS).num_examples
    rows = data.spread_rows(len(dataset.train.images), number)
    examples = _observed(observe, dataset, "train", rows) if number else None
    vae = runs.build_vae(model, event_shape=dataset.event_shape, data_mean=data_mean, examples=examples)
    return Experiment(dataset, about, data_mean, vae, jax.random.key(config.seed), observe)


def purpose_key(key: jax.Array, purpose: int) -> jax.Array:
    return jax.random.fold_in(key, purpose)


def make_loss(config: Config, vae: VAE, *, axis_name: str | None) -> training.LossFn:
    """The training loss (params, keys, batch of bytes, step) -> (loss, terms).

    Binarisation happens inside, with keys split from those of the noise.

    Raises:
      ValueError: for an unknown bound, gradient, schedule or regulariser, or what does not go together.
    """
    options: Loss = config.loss
    bound, beta = expressions.make(options.bound, losses.OBJECTIVES), training.beta_schedule(options.beta)
    _check_used(options, bound)
    _check_regularizers(options, bound, _regularizers(options, 1.0))

    def loss_fn(params: Any, keys: jax.Array, batch: jax.Array, step: jax.Array) -> tuple[jax.Array, Any]:
        noise_keys, xs = observations(config, keys, batch)
        now = jnp.asarray(beta(step))
        loss = _of_example(options, bound, now, functools.partial(_reparameterized, vae, params, xs))
        terms = _regularizers(options, now)
        replace = next((term for term in terms if term.replaces), None)
        add = [term for term in terms if not term.replaces]
        batch_loss = losses.over_batch(loss, replace=replace, add=add, axis_name=axis_name)
        return batch_loss(params, noise_keys, xs, vae=vae)

    return losses.BatchLoss(loss_fn, is_mean=not options.regularizers)


def _regularizers(options: Loss, beta: Any) -> list[losses.Regularizer]:
    texts = expressions.split_sum(options.regularizers)
    return [expressions.make(text, losses.REGULARIZERS, beta=beta) for text in texts]


def _check_regularizers(
    options: Loss, bound: losses.Bound | losses.Objective, regularizers: list[losses.Regularizer]
) -> None:
    """Raises `ValueError` for terms that replace the loss where there are several, or the KL has no effect on them."""
    replacing = sum(term.replaces for term in regularizers)
    if replacing > 1:
        raise ValueError(
            f"loss.regularizers={options.regularizers!r}: {replacing} of them replace the mean loss, as free_bits "
            "does, and only one can"
        )
    if any(term.replaces and not term.uses_kl for term in regularizers) and "monte_carlo" in (
        options.kl,
        getattr(bound, "kl", None),
    ):
        raise ValueError(
            f"loss.regularizers={options.regularizers!r} replaces the mean loss, and kl='monte_carlo' has no effect "
            "on what takes its place"
        )


def _of_example(
    options: Loss, bound: losses.Bound | losses.Objective, beta: jax.Array, reparameterized: Callable[[], bool]
) -> Callable[..., Any]:
    """Returns the loss of one example, without its VAE; `reparameterized` says whether q(z|x) is, for "auto"."""
    if isinstance(bound, losses.Objective):
        return functools.partial(bound.loss, num_samples=options.num_samples)
    gradient, baseline = options.gradient, options.baseline
    if gradient == "auto" and reparameterized():
        gradient = "pathwise"
    elif gradient == "auto":
        gradient = "score_function"
        baseline = "leave_one_out" if baseline is None and options.num_samples > 1 else baseline
    estimated = {"num_samples": options.num_samples, "gradient": gradient, "baseline": baseline}
    if bound.kl is None:
        return functools.partial(losses.negative_bound, bound=bound, **estimated)
    kl = options.kl if bound.kl == "auto" else bound.kl
    return functools.partial(losses.negative_elbo, kl=kl, beta=beta, **estimated)


def _reparameterized(vae: VAE, params: Any, xs: Any) -> bool:
    found = []  # q itself need not be a pytree, that it could be returned
    jax.eval_shape(lambda x: found.append(is_reparameterized(vae.encode(params, x))), xs[0])
    return found[0]


def _check_used(options: Loss, bound: losses.Bound | losses.Objective) -> None:
    """Raises `ValueError` for a field that has been set and that nothing would read."""
    unread = {"gradient", "baseline", "kl", "beta", "regularizers"}
    if isinstance(bound, losses.Bound):
        unread -= {"gradient", "baseline"} if bound.kl is None else unread
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name in unread and value != field.default:
            raise ValueError(f"loss.{field.name}={value!r} has no effect on loss.bound={options.bound!r}")


def observations(config: Config, keys: jax.Array, images: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """(keys left for the noise, x in [0, 1]) of a batch of bytes.

    Dynamic binarisation takes its keys from a split of `keys`.
    """
    if config.data.binarization != "dynamic":
        return keys, data.unit_interval(jnp.asarray(images))
    split = jax.vmap(jax.random.split)(keys)
    return split[:, 1], jax.vmap(data.binarize)(split[:, 0], jnp.asarray(images))


def make_optimizer(options: Training) -> optax.GradientTransformation:
    """Raises `ValueError` for an unknown name or an illegal schedule."""
    schedule = training.learning_rate_schedule(
        options.schedule,
        learning_rate=options.learning_rate,
        num_steps=options.num_steps,
        warmup_steps=options.warmup_steps,
    )
    return training.make_optimizer(options.optimizer, schedule, clip_norm=options.clip_norm)


def check(config: Config, experiment: Experiment, *, num_devices: int) -> list[str]:
    """Returns lines about the model and the cost of a step, `size.lines`.

    Raises:
      ValueError: for what only data, model and loss together can tell, before anything is written.
    """
    size, images = config.training.batch_size, experiment.dataset.train.images
    if size > len(images):
        raise ValueError(
            f"training.batch_size {size} is larger than the {len(images)} training examples of "
            f"{experiment.dataset.name}"
        )
    _check_support(experiment)
    parallel.axis_name(config.parallel.backend)
    parallel.check_shard_params(config.parallel.shard_params, config.parallel.backend)
    make_optimizer(config.training)
    loss_fn = make_loss(config, experiment.vae, axis_name=None)
    if config.training.microbatches > 1:
        training.check_microbatches(loss_fn)
    parallel.check_batch_size(size, num_devices, config.training.microbatches)
    batch = jax.ShapeDtypeStruct((size, *images.shape[1:]), images.dtype)
    params = jax.eval_shape(experiment.vae.init, experiment.key)
    keys = jax.eval_shape(lambda key: jax.random.split(key, size), experiment.key)
    loss = lambda params, keys, batch: loss_fn(params, keys, batch, jnp.zeros((), jnp.int32))[0]
    return size_of.lines(config, params, jax.make_jaxpr(jax.value_and_grad(loss))(params, keys, batch).jaxpr)


def _check_support(experiment: Experiment) -> None:
    """Raises `ValueError` where some of the training examples lie outside the support of p(x|z)."""
    vae, found = experiment.vae, []

    def decode(key: jax.Array) -> None:
        init_key, sample_key = jax.random.split(key)
        params = vae.init(init_key)
        found.append(getattr(vae.decode(params, vae.prior(params).sample(sample_key)), "support", None))

    jax.eval_shape(decode, experiment.key)
    # Pictures lie in [0, 1] by the way they are read.
    if found[0] is None or isinstance(found[0], Binary):
        return
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(vae.init, experiment.key))
    rows = data.spread_rows(len(experiment.dataset.train.images), LOOKED_AT)
    check_support(params, experiment.observed("train", rows), vae)


def _observed(observe: Callable[..., Any], dataset: Dataset, split: str, rows: np.ndarray) -> jax.Array:
    images = getattr(dataset, split).images[rows]
    key = jax.random.wrap_key_data(jnp.array(_OBSERVATIONS, jnp.uint32), impl="threefry2x32")
    return observe(example_keys(key, _SPLITS.index(split), jnp.asarray(rows)), images)[1]


def _mean(images: np.ndarray | data.StreamedImages) -> np.ndarray:
    """The mean image, in [0, 1]; that of some of them where they are streamed."""
    if isinstance(images, data.StreamedImages):
        images = images[data.spread_rows(len(images), max(1, _AVERAGED_BYTES // math.prod(images.shape[1:])))]
    return images.mean(0, dtype=np.float64) / 255


def _spread(split: data.Split, most: int) -> data.Split:
    rows = data.spread_rows(len(split.images), most)
    return data.Split(split.images[rows], None if split.labels is None else split.labels[rows])


def _binarized(dataset: Dataset) -> Dataset:
    if isinstance(dataset.train.images, data.StreamedImages):
        raise ValueError(
            "data.binarization='fixed' makes a binary data set in memory, and this one is streamed; use 'dynamic', or "
            "a larger data.memory_gb"
        )
    key = jax.random.key(FIXED_BINARIZATION_SEED)
    splits = [getattr(dataset, name) for name in _SPLITS]
    return dataset._replace(
        **{
            name: split._replace(images=data.binarize_once(jax.random.fold_in(key, number), split.images))
            for number, (name, split) in enumerate(zip(_SPLITS, splits, strict=True))
        }
    )

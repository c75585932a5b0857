"""From a config to the pure functions and arrays that it names."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax import VAE, data, expressions, parallel, training
from vae_jax.data import Dataset
from vae_jax.distributions import Binary
from vae_jax.evaluation.checks import check_support
from vae_jax.fitted import Fitted, build_vae
from vae_jax.keys import example_keys
from vae_jax.names import check_name
from vae_jax.priors import PRIORS

from . import size as size_of
from .config import Config, Training, to_dict
from .objective import make_loss, observations

# The keys of commands: each purpose folds its own number into the key of the seed.
INIT, TRAINING, VALIDATION, TEST, FIGURES, EVALUATION, SAMPLES, STUDY, ORACLE = range(9)
# The key of evaluation's observations, that of no seed: these have 32 bits.
_OBSERVATIONS = (1, 0)
_SPLITS = ("train", "validation", "test")
# Fixed binarisation makes a data set, the same for every run.
FIXED_BINARIZATION_SEED = 0
# Pictures that a likelihood is not of show it at once.
LOOKED_AT = 1000


class Experiment(NamedTuple):
    """What training and evaluation need."""

    config: Config  # with what its data decide: no field is "auto"
    dataset: Dataset
    fingerprint: dict[str, Any]  # of the data as they were loaded, and how they were split
    fitted: Fitted
    view: data.View
    vae: VAE
    key: jax.Array

    @property
    def data_mean(self) -> np.ndarray:
        """The mean of x where it is one array, of pictures as numbers in [0, 1]."""
        return self.fitted.statistics.x[""].mean

    def observed(self, split: str, rows: np.ndarray) -> Any:
        """Returns the examples in rows of a split as every evaluation sees them.

        Where binarisation is dynamic, an image has one draw, which belongs to the data set: it is the same for every
        seed.
        """
        return _observed(self.view, self.dataset, split, rows)


def build(
    config: Config,
    *,
    data_dir: str | None,
    data_path: str | None = None,
    split_rule: str = "content",
    schema: dict[str, Any] | None = None,
    fitted: Fitted | None = None,
) -> Experiment:
    """Loads the data and builds the model.

    Args:
      config: of the run.
      data_dir: where TFDS keeps its data sets.
      data_path: where the data of `config.data.path` now are.
      split_rule: how one's own data are divided, as by `data.load`.
      schema: what the columns of a table are, as the run has it; by default as `config.data.schema` says.
      fitted: what the run has taken from its training data; by default it is computed.

    Raises:
      FileNotFoundError: for data that are neither there nor to be had.
      ValueError: for an unknown name, damaged data, or a model that cannot describe them.
    """
    options = dict(vars(config.data))
    binarization, condition = options.pop("binarization"), options.pop("condition")
    check_name(binarization, "data.binarization", ("auto", *data.BINARIZATIONS))
    if data_path is not None and config.data.path is None:
        raise ValueError(
            f"--data_path={data_path} is a new place of the data of data.path, and this run has none: its data set is "
            f"{config.data.name}, which --data_dir or data.manual_dir may find; one's own data are --config.data.path"
        )
    options |= {"path": data_path or options["path"], "condition": names(condition)}
    options["schema"] = schema or options["schema"]
    dataset = data.load(**options, data_dir=data_dir, split_rule=split_rule)
    about = {"split_rule": None if config.data.path is None else split_rule, **data.fingerprint(dataset)}
    if dataset.schema is not None:
        about["schema"] = dataset.schema
    if dataset.element_names is not None:
        about["element_names"] = list(dataset.element_names)
    config = resolved(config, dataset.contents)
    if config.evaluation.num_examples is not None:
        validation, test = (_spread(s, config.evaluation.num_examples) for s in (dataset.validation, dataset.test))
        dataset = dataset._replace(validation=validation, test=test)
    statistics = data.statistics(dataset) if fitted is None else fitted.statistics
    if config.data.binarization == "fixed":
        dataset = _binarized(dataset)
    view = data.view(dataset, binarization=drawn(config))
    if fitted is None:
        number = expressions.make(config.model.prior, PRIORS).num_examples
        rows = data.spread_rows(dataset.train.number, number)
        examples = _observed(view, dataset, "train", rows) if number else None
        fitted = Fitted(dataset.contents, statistics, examples)
    vae = build_vae(to_dict(config)["model"], fitted)
    return Experiment(config, dataset, about, fitted, view, vae, jax.random.key(config.seed))


def drawn(config: Config) -> str:
    """Returns how pictures are drawn each time; those of fixed binarisation have been."""
    return "dynamic" if config.data.binarization == "dynamic" else "none"


def names(text: str | None) -> tuple[str, ...]:
    """Returns the names in a field, which are joined by commas."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def resolved(config: Config, contents: data.Contents) -> Config:
    """Returns the config with what its data decide in the place of "auto".

    Raises:
      ValueError: for a binarisation that the data cannot have.
    """
    kind = "table" if isinstance(contents.x, Mapping) else contents.x.kind
    is_colour = kind == "picture" and contents.event_shape[2:] == (3,)
    binarization, likelihood = config.data.binarization, config.model.likelihood
    if binarization == "auto":
        binarization = "dynamic" if kind == "picture" and not is_colour else "none"
    elif binarization != "none" and is_colour:
        raise ValueError(
            f"the data are colour pictures, and data.binarization={binarization!r} would make each channel of a pixel "
            "black or white at random. Leave it as it is, or use --config.data.channels=1 for grey"
        )
    if likelihood == "auto":
        likelihood = "normal(learn=shared)" if is_colour else _LIKELIHOODS[kind]
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, binarization=binarization),
        model=dataclasses.replace(config.model, likelihood=likelihood),
    )


_LIKELIHOODS = {
    "picture": "bernoulli",
    "binary": "bernoulli",
    "count": "negative_binomial",
    "real": "normal(learn=shared)",
    "table": "joint",
}


def purpose_key(key: jax.Array, purpose: int) -> jax.Array:
    return jax.random.fold_in(key, purpose)


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
    size, train = config.training.batch_size, experiment.dataset.train
    if size > train.number:
        raise ValueError(
            f"training.batch_size {size} is larger than the {train.number} training examples of "
            f"{experiment.dataset.name}"
        )
    _check_support(experiment)
    parallel.axis_name(config.parallel.backend)
    parallel.check_shard_params(config.parallel.shard_params, config.parallel.backend)
    make_optimizer(config.training)
    loss_fn = make_loss(config, experiment.vae, experiment.view, axis_name=None)
    if config.training.microbatches > 1:
        training.check_microbatches(loss_fn)
    parallel.check_batch_size(size, num_devices, config.training.microbatches)
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype), train.examples)
    params = jax.eval_shape(experiment.vae.init, experiment.key)
    keys = jax.eval_shape(lambda key: jax.random.split(key, size), experiment.key)
    loss = lambda params, keys, batch: loss_fn(params, keys, batch, jnp.zeros((), jnp.int32))[0]
    return size_of.lines(config, params, jax.make_jaxpr(jax.value_and_grad(loss))(params, keys, batch).jaxpr)


def _check_support(experiment: Experiment) -> None:
    """Raises `ValueError` where some of the training examples lie outside the support of p(x|z)."""
    vae, found = experiment.vae, []

    def decode(key: jax.Array, example: Any) -> None:
        init_key, sample_key = jax.random.split(key)
        params, (_, at) = vae.init(init_key), vae.at(example)
        found.append(getattr(at.decode(params, at.prior(params).sample(sample_key)), "support", None))

    example = experiment.observed("train", np.arange(1))
    jax.eval_shape(decode, experiment.key, jax.tree.map(lambda leaf: leaf[0], example))
    # Pictures lie in [0, 1] by the way they are read.
    if experiment.dataset.contents.is_picture and (found[0] is None or isinstance(found[0], Binary)):
        return
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(vae.init, experiment.key))
    rows = data.spread_rows(experiment.dataset.train.number, LOOKED_AT)
    check_support(params, experiment.observed("train", rows), vae)


def _observed(view: data.View, dataset: Dataset, split: str, rows: np.ndarray) -> Any:
    stored = getattr(dataset, split).rows(rows)
    key = jax.random.wrap_key_data(jnp.array(_OBSERVATIONS, jnp.uint32), impl="threefry2x32")
    return observations(view, example_keys(key, _SPLITS.index(split), jnp.asarray(rows)), stored)[1]


def _spread(split: data.Split, most: int) -> data.Split:
    rows = data.spread_rows(split.number, most)
    return data.Split(split.rows(rows), None if split.labels is None else split.labels[rows])


def _binarized(dataset: Dataset) -> Dataset:
    if dataset.train.is_streamed:
        raise ValueError(
            "data.binarization='fixed' makes a binary data set in memory, and this one is streamed; use 'dynamic', or "
            "a larger data.memory_gb"
        )
    key = jax.random.key(FIXED_BINARIZATION_SEED)
    return dataset._replace(
        **{
            name: data.binarize_split(jax.random.fold_in(key, number), getattr(dataset, name))
            for number, name in enumerate(_SPLITS)
        }
    )

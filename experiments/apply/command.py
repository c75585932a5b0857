"""What the commands share that apply a finished run to the rows of a file: flags, and the walk over the rows."""

import json
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from vae_jax import VAE, data, runs

from ..command import signals
from ..command.errors import UserError, user_errors
from ..command.flags import CommandFlags
from ..run import scores, workdir
from ..run.config import Config
from ..run.objective import observations
from .outputs import open_output

# A block's numbers take some megabytes; its rows are whole chunks of what `evaluation.encode` computes at once.
_MOST_NUMBERS, _MOST_ROWS, _CHUNK = 2**20, 2**14, 256
_SECONDS_BETWEEN_LINES = 5.0


class FileFlags:
    """The flags of such a command."""

    def __init__(self, flags: CommandFlags) -> None:
        self.workdir = flags.workdir("runs/digits", "The folder of a run of experiments.train.")
        self.trust = flags.trust()
        self.checkpoint = flags.string(
            "checkpoint",
            None,
            "latest, best (by the validation ELBO), or a step; by default that of the run's summary.",
        )
        self.input = flags.string(
            "input",
            None,
            "The rows: an array (.npy, .npz), a table (.csv, .parquet), an AnnData file (.h5ad), a picture or a folder "
            "of pictures.",
        )
        self.output = flags.string("output", None, "A .npz, .csv, .parquet or .h5ad file; a row for each of the input.")
        self.overwrite = flags.switch("overwrite", False, "Replace an output that exists.")
        self.layer = flags.string("layer", None, "Of an .h5ad input, the layer to read; as in training by default.")
        self.id = flags.string("id", None, "The column that names the rows; by default the schema's, or one called id.")
        self.binarization = flags.choice(
            "binarization",
            None,
            ["none", "dynamic"],
            "Whether pictures are drawn black or white, each once; by default as the run drew them.",
        )
        self.seed = flags.integer(
            "seed",
            0,
            "Of what is drawn; row i draws by the key i of jax.random.split(jax.random.key(seed), n).",
            lower_bound=0,
            upper_bound=2**32 - 1,
        )


class Model(NamedTuple):
    """A run's model.

    Attributes:
      vae: the model.
      params: its parameters, the weight average where the run keeps one.
      contents: what an example is.
    """

    vae: VAE
    params: Any
    contents: data.Contents


# (model, keys, block) -> arrays by name, with one row for each of the block.
Compute = Callable[[Model, jax.Array, data.Block], Mapping[str, np.ndarray]]


def apply(
    flags: FileFlags,
    compute: Compute,
    *,
    layer: str,
    columns: Callable[[data.Rows], Collection[str]] = lambda rows: (),
) -> None:
    """Writes what is computed of each row of the input, in its order.

    Args:
      flags: of the command.
      compute: of a block of rows.
      layer: the name that an .h5ad file has for x.
      columns: the columns of the input that `compute` needs besides; raises `ValueError` for a run that it cannot use.

    Raises:
      UserError: for a run, an input or an output that cannot be had; nothing is then written.
    """
    folder, source, target = Path(flags.workdir.value), _path(flags.input, "input"), _path(flags.output, "output")
    config = workdir.read_config(folder)
    drawn = flags.binarization.value or ("none" if config.data.binarization == "none" else "dynamic")
    with user_errors():
        rows = runs.open_rows(folder, source, layer=flags.layer.value, id_name=flags.id.value)
        contents = rows.contents
        if flags.binarization.value is not None and not contents.is_picture:
            raise ValueError("--binarization is for pictures, and the run's examples are none")
        if rows.id_name in contents.variables():
            raise ValueError(f"--id={rows.id_name} is a column of the run's examples, which may be computed or filled")
        beside = columns(rows)
        blocks = rows.blocks(block_size(contents), beside)
        if contents.is_table and (other := rows.unused(beside)):
            _tell(f"columns of {source} that are left out: {', '.join(other)}; --id=NAME names the rows by one of them")
        like = source if source.suffix == ".h5ad" else None
        options = {"overwrite": flags.overwrite.value, "id_name": rows.id_name, "element_names": rows.element_names}
        where = open_output(target, layer=layer, like=like, **options)
    # A signal ends the command between two blocks, so that what is half written is removed.
    with signals.deferred(), user_errors(), where as writer, _Progress(rows.number) as progress:
        model = load(flags, folder, config, contents)
        view = data.view_of(contents, dtype=np.float32, binarization=drawn if contents.is_picture else "none")
        if view.is_random:
            _tell("each picture is drawn once, black or white, as in training; --binarization=none takes its greys")
        key, number = jax.random.key(flags.seed.value), 0
        for block in blocks:
            number = block.start + _length(block)
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(block.start, number))
            keys, examples = observations(view, keys, block.examples)
            try:
                fields = compute(model, keys, block._replace(examples=examples))
            except ValueError as error:
                raise ValueError(f"{source}, in the rows from {block.start} on: {error}") from error
            writer.write(block.ids, fields)
            progress.update(number)
            signals.check()
    print(json.dumps({"output": str(target), "rows": number}))


def load(flags: FileFlags, folder: Path, config: Config, contents: data.Contents) -> Model:
    """Returns the run's model, of these contents, with the weights that it reports; raises as `runs.load`."""
    vae, params, _ = runs.load(
        folder,
        average=scores.evaluated_weights(config) == "average",
        checkpoint=flags.checkpoint.value,
        trusted=flags.trust.value,
    )
    return Model(vae, params, contents)


def block_size(contents: data.Contents) -> int:
    """Returns how many rows are read, computed and written at once."""
    rows = min(_MOST_ROWS, _MOST_NUMBERS // max(1, contents.num_elements))
    return max(1, rows // _CHUNK) * _CHUNK


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _path(flag: Any, name: str) -> Path:
    if not flag.value:
        raise UserError(f"--{name} is absent: name a file")
    return Path(flag.value).expanduser()


def _length(block: data.Block) -> int:
    return len(jax.tree.leaves(block.examples)[0])


class _Progress:
    """A progress bar of rows; plain lines where there is no terminal."""

    def __init__(self, number: int | None) -> None:
        self._bar = tqdm(total=number, unit="row", unit_scale=True, disable=not sys.stderr.isatty(), dynamic_ncols=True)
        self._done, self._of, self._last = 0, "" if number is None else f"/{number}", time.perf_counter()

    def update(self, done: int) -> None:
        self._bar.update(done - self._done)
        self._done, now = done, time.perf_counter()
        if self._bar.disable and now - self._last > _SECONDS_BETWEEN_LINES:
            _tell(f"row {done}{self._of}")
            self._last = now

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

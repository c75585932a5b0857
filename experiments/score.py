"""Scores each row of a file: `python -m experiments.score --workdir=… --input=FILE --output=FILE`.

The output has `elbo`, `log_evidence`, `standard_error` (of log_evidence), `pareto_k` (above 0.7 the estimate of
log_evidence cannot be relied on) and `kl`, in nats; with --regret `likelihood_regret` and its standard error too. With
--labels and --abnormal the command prints how well each score tells abnormal rows from normal ones.
"""

from collections.abc import Mapping

import jax
import numpy as np

from vae_jax import data, evaluation, parallel

from .apply import command
from .command import entry
from .command.errors import user_errors
from .command.flags import CommandFlags

FLAGS = CommandFlags()
_FILES = command.FileFlags(FLAGS)
_NUM_SAMPLES = FLAGS.integer("num_samples", 1000, "Importance samples of each row.", lower_bound=1)
_REGRET = FLAGS.switch(
    "regret", False, "Add the likelihood regret: what the ELBO gains by q(z|x) that is optimised for the row alone."
)
_REGRET_STEPS = FLAGS.integer("regret_steps", 300, "Steps of that optimisation.", lower_bound=1)
_LABELS = FLAGS.string("labels", None, "The column that says which rows are abnormal.")
_ABNORMAL = FLAGS.string("abnormal", "1", "The entry of that column in abnormal rows.")

# Whether an abnormal row has a larger score, or a smaller one.
_SIGNS = {"elbo": -1, "log_evidence": -1, "kl": 1, "likelihood_regret": 1}


def main() -> None:
    kept: dict[str, list[np.ndarray]] = {}
    column = [] if _LABELS.value is None else [_LABELS.value]

    def score(model: command.Model, keys: jax.Array, block: data.Block) -> Mapping[str, np.ndarray]:
        fields = _score(model, keys, block)
        for name in column:
            labels = block.columns[name].as_texts()
            labels.refuse(~labels.seen, "is missing, and says neither normal nor abnormal")
            is_abnormal = labels.of_rows == _ABNORMAL.value
            for of, values in {"": is_abnormal, **fields}.items():
                kept.setdefault(of, []).append(values)
        return fields

    command.apply(_FILES, score, layer="x", columns=lambda rows: column)
    if column:
        _print_detection({name: np.concatenate(parts) for name, parts in kept.items()})


def _score(model: command.Model, keys: jax.Array, block: data.Block) -> dict[str, np.ndarray]:
    options = {"vae": model.vae, "num_samples": _NUM_SAMPLES.value}
    found = evaluation.score(model.params, keys, block.examples, **options)
    fields = {name: np.asarray(values) for name, values in found._asdict().items()}
    if _REGRET.value:
        options = {"vae": model.vae, "num_steps": _REGRET_STEPS.value, "mesh": parallel.local_mesh()}
        regret = evaluation.likelihood_regret(model.params, jax.random.clone(keys), block.examples, **options)
        fields["likelihood_regret"] = np.asarray(regret.value)
        fields["likelihood_regret_standard_error"] = np.asarray(regret.standard_error)
    return fields


def _print_detection(found: Mapping[str, np.ndarray]) -> None:
    is_abnormal = found[""]
    print(f"AUROC, with its 95% interval, of {is_abnormal.sum()} abnormal rows among {len(is_abnormal)}:")
    with user_errors():
        for name, sign in _SIGNS.items():
            if name in found:
                area = evaluation.auroc(sign * found[name].astype(np.float64), is_abnormal)
                print(f"  {('-' if sign < 0 else '') + name:20} {area.value:.3f} ({area.low:.3f} to {area.high:.3f})")


if __name__ == "__main__":
    entry.run_command(main, FLAGS)

"""Wine, a table of 13 columns of which a fifth of the cells is hidden, with scikit-learn alone; no network needed.

    ./launch.sh train --config=experiments/configs/wine.py --workdir=runs/wine

IWAE-20 with strong weight decay, since there are 142 training rows, and stopped by the validation rows. Imputation of
the 373 hidden cells of the training rows, root mean squared error in standard deviations of their columns
(experiments/notebooks/imputation.py, the same model):

    column mean                        1.048
    scikit-learn's IterativeImputer    0.782
    this model                         MEASURED
"""

from experiments.run.config import Config, Data, Loss, Model, Training


def get_config() -> Config:
    return Config(
        data=Data(name="wine", missing=0.2),
        model=Model(network="mlp(hidden=(64,))", latent_dim=(6,)),
        loss=Loss(bound="iwae", num_samples=20),
        training=Training(
            batch_size=142,
            num_steps=1000,
            learning_rate=1e-3,
            optimizer="adamw(weight_decay=1.0)",
            log_every=100,
            eval_every=100,
            checkpoint_every=100,
        ),
    )

"""MNIST, binarised anew at every step, 784-200-200-50: the one-layer arrangement of Burda et al. 2016."""

from experiments.config import Config, Data, Loss, Model, Training


def get_config() -> Config:
    return Config(
        data=Data(name="mnist", binarization="dynamic"),
        model=Model(latent_dim=50, hidden=(200, 200), activation="tanh", center_input=True, data_bias=True),
        loss=Loss(bound="elbo"),
        training=Training(
            batch_size=100,
            num_steps=100_000,
            learning_rate=1e-3,
            schedule="cosine",
            average_decay=0.999,
            log_every=500,
            eval_every=10_000,
            checkpoint_every=10_000,
        ),
    )

"""Frey faces, one's own file of images, with a Gaussian likelihood."""

from experiments.config import Config, Data, Loss, Model, Training


def get_config() -> Config:
    return Config(
        data=Data(name="freyfaces", binarization="none"),
        model=Model(
            latent_dim=10,
            hidden=(200,),
            activation="tanh",
            likelihood="gaussian_shared",
            scale=0.1,
            center_input=True,
            data_bias=True,
        ),
        loss=Loss(bound="elbo"),
        training=Training(
            batch_size=100,
            num_steps=10_000,
            learning_rate=1e-3,
            schedule="cosine",
            average_decay=0.999,
            log_every=100,
            eval_every=1000,
            checkpoint_every=1000,
        ),
    )

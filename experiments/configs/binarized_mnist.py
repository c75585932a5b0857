"""Fixed-binarised MNIST with the arrangement of Flax's VAE example: 784-500-20, ReLU, Adam 1e-3, batches of 128."""

from experiments.config import Config, Data, Evaluation, Loss, Model, Training

_EPOCH = 50_000 // 128


def get_config() -> Config:
    return Config(
        data=Data(name="binarized_mnist", binarization="none"),
        model=Model(latent_dim=20, hidden=(500,), activation="relu"),
        loss=Loss(bound="elbo"),
        training=Training(
            batch_size=128,
            num_steps=20 * _EPOCH,
            learning_rate=1e-3,
            log_every=_EPOCH,
            eval_every=5 * _EPOCH,
            checkpoint_every=5 * _EPOCH,
        ),
        evaluation=Evaluation(num_samples=5000),
    )

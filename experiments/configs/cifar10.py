"""CIFAR-10 with convolutions and a Gaussian likelihood whose σ is learned.

    ./launch.sh train --config=experiments/configs/cifar10.py --workdir=runs/cifar10

Without a network: --config.data.manual_dir=FOLDER with cifar-10-binary.tar.gz.

Densities are of pixels in [0, 1], not of bytes: -log p(x) in nats becomes -log p(x) / (3072 log 2) + 8 bits per
dimension, comparable with the figures for dequantised bytes only where noise is added to the bytes, as it is not here.

Not measured yet: the data could not be had where the other recipes were measured. A step of this network at a batch of
64 takes 0.1 s on two CPU cores.
"""

from experiments.run.config import Config, Data, Loss, Model, Training


def get_config() -> Config:
    return Config(
        data=Data(name="cifar10", binarization="none"),
        model=Model(
            network="conv(hidden=(32, 64, 128), activation=relu)",
            latent_dim=(128,),
            likelihood="normal(scale=0.1, learn=shared)",
            center_input=True,
            data_bias=True,
        ),
        loss=Loss(bound="elbo"),
        training=Training(
            batch_size=128,
            num_steps=50_000,
            learning_rate=1e-3,
            schedule="cosine",
            average_decay=0.999,
            log_every=100,
            eval_every=5000,
            checkpoint_every=5000,
        ),
    )

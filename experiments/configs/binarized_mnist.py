"""Fixed-binarised MNIST (Larochelle's) with the arrangement of Flax's VAE example: 784-500-20, ReLU, batches of 128.

    ./launch.sh train --config=experiments/configs/binarized_mnist.py --workdir=runs/binarized_mnist

Without a network: --config.data.manual_dir=FOLDER with the three .amat files, or with `binarized_mnist.npz` (arrays
"train", "valid" and "test" of packed bits). Ten epochs instead of twenty: --config.training.num_steps=3900.

Test -ELBO in nats, mean of seeds 0, 1 and 2 ± its standard error; published are the runs in Flax's example:

    10 epochs  102.90 ± 0.04  (published 103.60)
    20 epochs  100.82 ± 0.11  (published 101.83); on a GPU 100.88 ± 0.10, -log p(x) 95.094 ± 0.006 (5,000 samples)

Each seed's figure has an error of 0.26 from the 10,000 test images, which is common to all. Weights start
Glorot-uniform here, LeCun-normal there. One run of 20 epochs takes 50 s on two CPU cores, without the evaluation.
"""

from experiments.run.config import Config, Data, Evaluation, Loss, Model, Training

_EPOCH = 50_000 // 128


def get_config() -> Config:
    return Config(
        data=Data(name="binarized_mnist", binarization="none"),
        model=Model(network="mlp(hidden=(500,), activation=relu)", latent_dim=(20,)),
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

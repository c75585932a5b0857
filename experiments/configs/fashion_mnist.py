"""Fashion-MNIST, binarised anew at every step, with the arrangement of `mnist.py`.

    ./launch.sh train --config=experiments/configs/fashion_mnist.py --workdir=runs/fashion_mnist

Without a network: --config.data.manual_dir=FOLDER with the four IDX files, packed (.gz) or not.

Not measured yet: the data could not be had where the other recipes were measured.
"""

from experiments.configs import mnist
from experiments.run.config import Config


def get_config() -> Config:
    config = mnist.get_config()
    config.data.name = "fashion_mnist"
    return config

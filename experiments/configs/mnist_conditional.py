"""MNIST given its labels, 784-200-200-50: a conditional VAE (Kingma et al. 2014, arXiv:1406.5298, M2).

    ./launch.sh train --config=experiments/configs/mnist_conditional.py --workdir=runs/mnist_conditional

`mnist.py` with the label given to both networks; samples are drawn in a row for each class. Test images binarised once,
seed 0, ± one standard error over the 10,000 test images, for log p(x|label):

    ELBO        MEASURED
    -log p(x)   MEASURED
"""

from experiments.configs import mnist
from experiments.run.config import Config


def get_config() -> Config:
    config = mnist.get_config()
    config.data.condition = "label"
    return config

"""MNIST given its labels, 784-200-200-50: a conditional VAE (Kingma et al. 2014, arXiv:1406.5298, M2).

    ./launch.sh train --config=experiments/configs/mnist_conditional.py --workdir=runs/mnist_conditional

`mnist.py` with the label given to both networks; samples are drawn in a row for each class. Test images binarised once,
seed 0, ± one standard error over the 10,000 test images, for log p(x|label):

    ELBO        -89.29 ± 0.25 nats
    -log p(x)    85.41 ± 0.23 nats, 500 importance samples (published: 82.32, IWAE with K = 1 and 3,280 epochs, 5,000
                 samples, github.com/nbip/IWAE)

Seven minutes on two CPU cores, without the evaluation. The published figure is of another training and more samples.
"""

from experiments.configs import mnist
from experiments.run.config import Config


def get_config() -> Config:
    config = mnist.get_config()
    config.data.condition = "label"
    return config

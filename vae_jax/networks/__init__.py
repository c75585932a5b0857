"""Linen encoders and decoders made into a `VAE`: the only room that imports flax."""

from .architectures import ACTIVATIONS as ACTIVATIONS
from .architectures import NETWORKS as NETWORKS
from .architectures import PRIORS as PRIORS
from .architectures import conv as conv
from .architectures import mlp as mlp
from .heads import LIKELIHOODS as LIKELIHOODS
from .heads import POSTERIORS as POSTERIORS
from .linen import from_linen as from_linen

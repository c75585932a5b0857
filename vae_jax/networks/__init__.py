"""Encoders and decoders made of bodies and parts: the only room that imports flax."""

from . import bodies as bodies
from . import preprocess as preprocess
from .architectures import conv as conv
from .architectures import mlp as mlp
from .architectures import resnet as resnet
from .assemble import assemble as assemble
from .bodies.activations import ACTIVATIONS as ACTIVATIONS
from .whole import from_linen as from_linen

"""Bodies: networks between arrays of any two shapes, which encoders and decoders are made of."""

from ...expressions import Role
from .body import Body as Body
from .body import Network as Network
from .body import Outputs as Outputs
from .conv import conv as conv
from .linen import linen as linen
from .linen import readout as readout
from .mlp import mlp as mlp
from .resnet import resnet as resnet

BODIES = Role("network", Body, {"mlp": mlp, "conv": conv, "resnet": resnet})

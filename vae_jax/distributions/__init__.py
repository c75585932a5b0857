"""q(z|x), p(z) and p(x|z): frozen pytrees of one unbatched variable, and their divergences."""

from .autoregressive import InverseAutoregressiveFlow as InverseAutoregressiveFlow
from .autoregressive import autoregressive_layers as autoregressive_layers
from .bernoulli import Bernoulli as Bernoulli
from .elementwise import Elementwise as Elementwise
from .kl import has_closed_form_kl as has_closed_form_kl
from .kl import kl_divergence as kl_divergence
from .kl import kl_per_dimension as kl_per_dimension
from .kl import register_kl as register_kl
from .mixture import Mixture as Mixture
from .normal import DiagonalNormal as DiagonalNormal
from .normal import MultivariateNormal as MultivariateNormal
from .normal import is_gaussian as is_gaussian
from .normal import standard_normal as standard_normal
from .protocol import Distribution as Distribution
from .protocol import has_costly_inverse as has_costly_inverse
from .protocol import is_reparameterized as is_reparameterized
from .support import Binary as Binary
from .support import Interval as Interval
from .support import Levels as Levels
from .support import WholeNumbers as WholeNumbers

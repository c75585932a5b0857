"""Laws that anyone can run on their own parts: each raises `AssertionError` with what is broken."""

from .densities import check_density as check_density
from .densities import check_finite as check_finite
from .densities import check_kl as check_kl
from .densities import check_sampled_density as check_sampled_density
from .masks import check_masked as check_masked
from .pathwise import check_pathwise_gradient as check_pathwise_gradient
from .programs import check_independence as check_independence
from .programs import check_transformations as check_transformations
from .reparameterization import check_reparameterization as check_reparameterization

"""How the parts are written that tests go through all of, and data at the edges of each likelihood's support."""

from vae_jax.likelihoods import LIKELIHOODS

# What a part is given where it has no defaults, or other ones cost less.
WRITTEN = {
    "student_t": "student_t(df=3, learn=each)",
    "discretized_logistic": "discretized_logistic(levels=20, num_mixtures=2)",
    "categorical": "categorical(num_classes=4)",
    "ordinal": "ordinal(num_classes=4)",
    "zero_inflated": "zero_inflated(negative_binomial)",
    "iaf": "iaf(hidden=(5,))",
    "coupling": "coupling(num_layers=2, hidden=(5,))",
    "mixture": "mixture(3)",
    "vamp": "vamp(3)",
    "mlp": "mlp(hidden=(5,), gated=True)",
    "conv": "conv(hidden=(4,))",
    "resnet": "resnet(hidden=(4,))",
}

# Likelihoods of an array; that of a table is made of these.
OF_ELEMENTS = [name for name in LIKELIHOODS.parts if name != "joint"]

# At the edges of the support.
EDGES = {
    "bernoulli": [0.0, 1.0],
    "continuous_bernoulli": [0.0, 1.0],
    "normal": [-1e4, 1e4],
    "laplace": [-1e4, 1e4],
    "student_t": [-1e4, 1e4],
    "lognormal": [1e-30, 1e30],
    "discretized_logistic": [0.0, 1.0],
    "categorical": [0, 3],
    "ordinal": [0, 3],
    "poisson": [0, 100_000],
    "negative_binomial": [0, 100_000],
    "zero_inflated": [0, 100_000],
}


def written(name: str) -> str:
    return WRITTEN.get(name, name)

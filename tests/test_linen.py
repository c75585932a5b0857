"""One's own Linen modules as a VAE."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vae_jax import losses, networks
from vae_jax.distributions import Bernoulli, DiagonalNormal
from vae_jax.networks.whole import check_module


class Encoder(nn.Module):
    bias: bool = False

    @nn.compact
    def __call__(self, x):
        return DiagonalNormal(nn.Dense(2, use_bias=self.bias)(x), jnp.ones(2))


class Decoder(nn.Module):
    @nn.compact
    def __call__(self, z):
        return Bernoulli(nn.Dense(3)(z))


class BatchNormEncoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Encoder()(nn.BatchNorm(use_running_average=True)(x))


class DropoutDecoder(nn.Module):
    @nn.compact
    def __call__(self, z):
        return Decoder()(nn.Dropout(0.5, deterministic=False)(z))


class WithAttribute(nn.Module):
    sizes: object

    @nn.compact
    def __call__(self, x):
        return Encoder()(x)


class NnxEncoder(nnx.Module):
    pass


class MeanOnly(nn.Module):
    @nn.compact
    def __call__(self, z):
        return nn.Dense(3)(z)


def own_vae(encoder: nn.Module | None = None, decoder: nn.Module | None = None):
    return networks.from_linen(encoder or Encoder(), decoder or Decoder(), event_shape=3, latent_dim=2)


def test_equal_modules_give_the_same_vae():
    """So that nothing compiles twice."""
    assert own_vae(Encoder(), Decoder()) is own_vae(Encoder(), Decoder())
    assert own_vae(Encoder(), Decoder()) != own_vae(Encoder(bias=True), Decoder())


def test_own_modules_make_a_vae():
    """The densities are those of the parameters, in numpy."""
    vae = own_vae()
    params = vae.init(jax.random.key(0))
    dense = params["decoder"]["Dense_0"]
    logits = np.asarray([0.5, -1.0]) @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
    np.testing.assert_allclose(vae.decode(params, jnp.asarray([0.5, -1.0])).logits, logits, rtol=1e-5)
    np.testing.assert_array_equal(vae.prior(params).mean, np.zeros(2))


def test_a_module_with_batch_statistics_is_refused():
    with pytest.raises(ValueError, match=r"the encoder has the variables \['batch_stats'\].*LayerNorm"):
        jax.eval_shape(own_vae(encoder=BatchNormEncoder()).init, jax.random.key(0))


def test_a_module_with_dropout_is_refused():
    with pytest.raises(ValueError, match=r"the decoder draws random numbers.*Dropout_0.*deterministic=True"):
        jax.eval_shape(own_vae(decoder=DropoutDecoder()).init, jax.random.key(0))


@pytest.mark.parametrize("sizes", [[3, 4], {"a": 3}, np.zeros(3)])
def test_a_module_that_cannot_be_hashed_is_refused_with_its_attribute(sizes):
    with pytest.raises(TypeError, match=r"the encoder cannot be hashed.* its attribute sizes: give a tuple"):
        own_vae(encoder=WithAttribute(sizes))


@pytest.mark.parametrize(
    ("module", "found"),
    [
        (NnxEncoder(), "not an NNX module, NnxEncoder: write it with flax.linen"),
        (Encoder, r"not the class Encoder: make an instance, Encoder\(\)"),
        (np.tanh, "not an object of ufunc"),
    ],
)
def test_what_is_no_linen_module_is_refused(module, found):
    with pytest.raises(TypeError, match=rf"the encoder must be a Linen module.*, {found}"):
        check_module(module, "encoder")


def test_a_module_that_returns_no_distribution_is_refused():
    vae = own_vae(decoder=MeanOnly())
    with pytest.raises(TypeError, match=r"the decoder must return a distribution.*Bernoulli"):
        jax.eval_shape(lambda key: vae.decode(vae.init(key), jnp.zeros(2)), jax.random.key(0))


def test_a_batch_in_place_of_one_example_is_refused():
    """Dense layers take batches, so without the check it would give a number."""
    vae = own_vae()
    params = vae.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"encode takes ONE example of shape \(3,\), not \(8, 3\)"):
        vae.encode(params, jnp.zeros((8, 3)))
    with pytest.raises(ValueError, match=r"decode takes ONE latent of shape \(2,\), not \(8, 2\)"):
        vae.decode(params, jnp.zeros((8, 2)))
    with pytest.raises(ValueError, match="over_batch"):
        losses.negative_elbo(params, jax.random.key(0), jnp.zeros((8, 3)), vae=vae)


@pytest.mark.usefixtures("no_annotations")
def test_a_raw_key_is_refused():
    with pytest.raises(TypeError, match="key must be a typed PRNG key"):
        own_vae().init(jax.random.PRNGKey(0))


@pytest.mark.parametrize("sizes", [{"event_shape": 0, "latent_dim": 2}, {"event_shape": 3, "latent_dim": 0}])
def test_a_size_below_one_is_refused(sizes):
    with pytest.raises(ValueError, match="must be of whole numbers of at least 1"):
        networks.from_linen(Encoder(), Decoder(), **sizes)

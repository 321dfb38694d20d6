"""Spatially adaptive normalisation (SPADE) and its residual block.

SPADE, eq. 1 of Park et al. 2019 (eq. 4 of Amirrajab et al. 2022): a parameter-free
batch normalisation, scaled and shifted at each pixel by functions of the label map.
Those functions see nothing but labels, so they stand behind `Modulation`: another exact
way to compute them (THROUGHPUT: a table of distinct label neighbourhoods) replaces
`DenseModulation` without a change here or in the parameters.
"""

import dataclasses
from typing import Any, Protocol

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from cmrjax.models.convolution import ConvWeights, convolve, leaky_relu
from cmrjax.models.spectral_norm import SpectralNormConv

HIDDEN_FEATURES = 128
EPSILON = 1e-5
MOMENTUM = 0.9


@flax.struct.dataclass
class ModulationWeights:
    """The parameters that turn labels into gamma and beta.

    Attributes:
      shared_kernel: [3, 3, k, 128] and shared_bias [128], followed by a ReLU.
      gamma_kernel: [3, 3, 128, c] and gamma_bias [c].
      beta_kernel: [3, 3, 128, c] and beta_bias [c].
    """

    shared_kernel: jax.Array
    shared_bias: jax.Array
    gamma_kernel: jax.Array
    gamma_bias: jax.Array
    beta_kernel: jax.Array
    beta_bias: jax.Array


class Modulation(Protocol):
    """How gamma and beta are computed from labels."""

    def prepare(
        self, label_map: jax.Array, *, num_classes: int, dtype: DTypeLike
    ) -> Any:
        """Returns what all layers of one resolution share, from [b, h, w] labels."""
        ...

    def __call__(
        self, context: Any, weights: ModulationWeights
    ) -> tuple[jax.Array, jax.Array]:
        """Returns gamma and beta, both [b, h, w, c]."""
        ...


@dataclasses.dataclass(frozen=True)
class DenseModulation:
    """Two convolutions over the one-hot label map, as the reference does."""

    def prepare(
        self, label_map: jax.Array, *, num_classes: int, dtype: DTypeLike
    ) -> jax.Array:
        """Returns the one-hot map, [b, h, w, k]."""
        return jax.nn.one_hot(label_map, num_classes, dtype=dtype)

    def __call__(
        self, context: jax.Array, weights: ModulationWeights
    ) -> tuple[jax.Array, jax.Array]:
        """Returns gamma and beta, both [b, h, w, c], from one fused convolution."""
        hidden = jax.nn.relu(
            convolve(context, weights.shared_kernel, weights.shared_bias, padding=1)
        )
        kernel = jnp.concatenate([weights.gamma_kernel, weights.beta_kernel], axis=-1)
        bias = jnp.concatenate([weights.gamma_bias, weights.beta_bias])
        both = convolve(hidden, kernel, bias, padding=1)
        return tuple(jnp.split(both, 2, axis=-1))  # type: ignore[return-value]


class BatchStatisticsNorm(nn.Module):
    """Batch normalisation without parameters, with PyTorch's running statistics.

    Statistics are taken over the global batch and all pixels, in float32; the running
    variance is moved with the unbiased n / (n - 1) estimate (Flax's layer stores the
    biased one) and momentum 0.9 (0.1 in PyTorch's sense).

    Attributes:
      epsilon_outside: divide by sigma + eps (paper, eq. 4) and not by
        sqrt(sigma^2 + eps) (reference, default).
    """

    epsilon_outside: bool = False

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
    ) -> jax.Array:
        """Normalises per channel.

        Args:
          x: [b, h, w, c].
          train: use the batch's statistics and move the running ones.
          mask: [b, h, w] bool, only without `train`: use the statistics of this batch
            where it is True, and leave the running ones alone.

        Returns:
          [b, h, w, c] float32.
        """
        c = x.shape[-1]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (c,))
        x = x.astype(jnp.float32)
        if train:
            mean = jnp.mean(x, axis=(0, 1, 2))
            centred = x - mean[None, None, None, :]
            var = jnp.mean(centred * centred, axis=(0, 1, 2))
            if not self.is_initializing():
                n = x.size // c
                unbiased = var * (n / max(n - 1, 1))
                running_mean.value = _move(running_mean.value, mean)
                running_var.value = _move(running_var.value, unbiased)
        elif mask is not None:
            weights = mask.astype(jnp.float32)[..., None]
            n = jnp.maximum(jnp.sum(weights), 1.0)
            mean = jnp.sum(weights * x, axis=(0, 1, 2)) / n
            centred = x - mean[None, None, None, :]
            var = jnp.sum(weights * centred * centred, axis=(0, 1, 2)) / n
        else:
            mean, var = running_mean.value, running_var.value
            centred = x - mean[None, None, None, :]
        if self.epsilon_outside:
            scale = 1.0 / (jnp.sqrt(var) + EPSILON)
        else:
            scale = jax.lax.rsqrt(var + EPSILON)
        return centred * scale[None, None, None, :]


def _move(old: jax.Array, new: jax.Array) -> jax.Array:
    return MOMENTUM * old + (1.0 - MOMENTUM) * jax.lax.stop_gradient(new)


class Spade(nn.Module):
    """Normalisation modulated by labels: norm(x) * (1 + gamma) + beta.

    Attributes:
      num_classes: k of the label map.
      modulation: how gamma and beta are computed.
      paper_equation: paper's eq. 4: gamma without the 1, and sigma + eps.
    """

    num_classes: int
    modulation: Modulation = DenseModulation()
    paper_equation: bool = False

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        context: Any,
        *,
        train: bool,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        """Normalises and modulates.

        Args:
          x: [b, h, w, c].
          context: what `modulation.prepare` returned for this resolution.
          train: use batch statistics and move the running ones.
          mask: see `BatchStatisticsNorm`.

        Returns:
          [b, h, w, c], dtype of `x`.
        """
        c, k = x.shape[-1], self.num_classes
        normalised = BatchStatisticsNorm(
            epsilon_outside=self.paper_equation, name="param_free_norm"
        )(x, train=train, mask=mask)
        shared = ConvWeights(k, HIDDEN_FEATURES, 3, name="mlp_shared")()
        gammas = ConvWeights(HIDDEN_FEATURES, c, 3, name="mlp_gamma")()
        betas = ConvWeights(HIDDEN_FEATURES, c, 3, name="mlp_beta")()
        weights = ModulationWeights(*shared, *gammas, *betas)  # type: ignore[arg-type]
        gamma, beta = self.modulation(context, weights)
        factor = gamma if self.paper_equation else 1.0 + gamma
        return (normalised * factor + beta).astype(x.dtype)


class SpadeResidualBlock(nn.Module):
    """SPADE residual block: twice [SPADE, leaky ReLU, 3x3 convolution under SN].

    The shortcut is the input itself, or SPADE and a 1x1 convolution under SN without
    bias where the width changes. Each norm keeps its own statistics.

    Attributes:
      features: c_out.
      num_classes: k of the label map.
      modulation: how gamma and beta are computed.
      paper_equation: see `Spade`.
    """

    features: int
    num_classes: int
    modulation: Modulation = DenseModulation()
    paper_equation: bool = False

    def _spade(self, name: str) -> Spade:
        return Spade(
            num_classes=self.num_classes,
            modulation=self.modulation,
            paper_equation=self.paper_equation,
            name=name,
        )

    # `train` may be positional: that is how rematerialisation knows it to be static.
    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        context: Any,
        train: bool,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        """Maps [b, h, w, c_in] to [b, h, w, c_out]; `mask`: `BatchStatisticsNorm`."""
        how = {"train": train, "mask": mask}
        middle = min(x.shape[-1], self.features)
        shortcut = x
        if x.shape[-1] != self.features:
            shortcut = self._spade("norm_s")(x, context, **how)
            shortcut = SpectralNormConv(
                self.features, 1, use_bias=False, name="conv_s"
            )(shortcut, train=train)
        y = leaky_relu(self._spade("norm_0")(x, context, **how))
        y = SpectralNormConv(middle, 3, padding=1, name="conv_0")(y, train=train)
        y = leaky_relu(self._spade("norm_1")(y, context, **how))
        y = SpectralNormConv(self.features, 3, padding=1, name="conv_1")(y, train=train)
        return shortcut + y

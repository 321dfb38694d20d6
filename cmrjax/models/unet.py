"""The 2D U-Net of the multi-tissue segmentation (SPEC 3; Ronneberger et al. 2015)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from cmrjax.models.convolution import (
    LEAKY_SLOPE,
    ConvWeights,
    convolve,
    leaky_relu,
    upsample_nearest,
)
from cmrjax.models.initialization import he_normal
from cmrjax.models.spade import BatchStatisticsNorm

MOST_LEVELS = 12  # images of 4096 pixels at least


@dataclasses.dataclass(frozen=True)
class UnetArchitecture:
    """What fixes the shapes of a U-Net.

    Attributes:
      num_classes: k, background included.
      base_features: channels at full resolution; each level has twice those above it.
      max_features: of any level.
      levels: down-sampling blocks, and as many up-sampling ones; five in the paper.
      dropout: share of values dropped at the bottleneck and after each concatenation.

    Raises:
      ValueError: a value that makes no network.
    """

    num_classes: int
    base_features: int = 32
    max_features: int = 512
    levels: int = 5
    dropout: float = 0.5

    def __post_init__(self) -> None:
        """Checks the values."""
        if not 2 <= self.num_classes <= 255:
            raise ValueError(
                f"num_classes is {self.num_classes}; 2 to 255 fit labels of type uint8"
            )
        if self.base_features < 1 or self.max_features < self.base_features:
            raise ValueError(
                f"base_features is {self.base_features}, max_features "
                f"{self.max_features}; expected 1 <= base_features <= max_features"
            )
        if not 1 <= self.levels <= MOST_LEVELS or not 0.0 <= self.dropout < 1.0:
            raise ValueError(
                f"levels is {self.levels}, dropout {self.dropout}; expected 1 to "
                f"{MOST_LEVELS} levels and 0 <= dropout < 1"
            )

    @property
    def size_multiple(self) -> int:
        """Image height and width must be multiples of this."""
        return 2**self.levels

    def features(self, level: int) -> int:
        """Channels of a level; 0 is full resolution, `levels` the bottleneck."""
        return min(self.base_features * 2**level, self.max_features)


def max_pool(x: jax.Array) -> jax.Array:
    """Keeps the largest of 2 x 2 pixels: [b, 2h, 2w, c] to [b, h, w, c]."""
    rows = jnp.maximum(x[:, ::2], x[:, 1::2])
    return jnp.maximum(rows[:, :, ::2], rows[:, :, 1::2])


class DoubleConv(nn.Module):
    """Twice: 3x3 convolution, batch normalisation, leaky ReLU 0.2.

    The normalisation brings the bias, so the convolutions have none.

    Attributes:
      features: output channels.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps [b, h, w, c] to [b, h, w, features], dtype of `x`."""
        dtype = x.dtype
        for index in range(2):
            weights = ConvWeights(
                x.shape[-1],
                self.features,
                3,
                use_bias=False,
                kernel_init=he_normal(LEAKY_SLOPE),
                name=f"conv_{index}",
            )
            kernel, _ = weights()
            x = convolve(x, kernel, padding=1)
            x = BatchStatisticsNorm(name=f"norm_{index}")(x, train=train)
            shape = (self.features,)
            scale = self.param(f"scale_{index}", nn.initializers.ones, shape)
            offset = self.param(f"offset_{index}", nn.initializers.zeros, shape)
            x = leaky_relu(x * scale[None, None, None] + offset[None, None, None])
            x = x.astype(dtype)  # the normalisation is in float32
        return x


class Unet(nn.Module):
    """Image to class scores, at the image's resolution.

    Where the paper says that each convolution is followed by batch normalisation and
    leaky ReLU, the 1x1 convolutions before each enlargement have neither: they stand
    for the transposed convolution's weights and only save work.

    Attributes:
      architecture: shapes.
      dtype: of activations; parameters, statistics and the output are float32.
    """

    architecture: UnetArchitecture
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Scores every class at every pixel.

        Args:
          image: [b, h, w, 1] float32, z-scores; h and w multiples of `size_multiple`.
          train: whether batch statistics and dropout (rng stream "dropout") are used.

        Returns:
          Logits, [b, h, w, k] float32.

        Raises:
          ValueError: h or w is not such a multiple.
        """
        arch = self.architecture
        _, h, w, _ = image.shape
        if h % arch.size_multiple or w % arch.size_multiple:
            raise ValueError(
                f"images of {h} x {w} pixels; this network takes multiples of "
                f"{arch.size_multiple}: pad them"
            )
        x, skips = image.astype(self.dtype), []
        for level in range(arch.levels):
            block = DoubleConv(arch.features(level), name=f"down_{level}")
            x = block(x, train=train)
            skips.append(x)
            x = max_pool(x)
        x = DoubleConv(arch.features(arch.levels), name="bottleneck")(x, train=train)
        drop = nn.Dropout(arch.dropout, deterministic=not train)
        x = drop(x)
        for level in reversed(range(arch.levels)):
            # Halved before it is enlarged: a quarter of the work of the next block.
            x = _pointwise(x, arch.features(level), name=f"narrow_{level}")
            x = jnp.concatenate([upsample_nearest(x), skips[level]], axis=-1)
            block = DoubleConv(arch.features(level), name=f"up_{level}")
            x = block(drop(x), train=train)
        return _pointwise(x.astype(jnp.float32), arch.num_classes, name="scores")


def _pointwise(x: jax.Array, features: int, *, name: str) -> jax.Array:
    """A 1x1 convolution with bias that keeps the size of the signal."""
    init = jax.nn.initializers.lecun_normal()
    weights = ConvWeights(x.shape[-1], features, 1, kernel_init=init, name=name)
    kernel, bias = weights()
    return convolve(x, kernel, bias, padding=0)


def logits_function(network: Unet) -> Callable[[Any, Any], jax.Array]:
    """Returns (variables, image [b, h, w, 1]) -> logits [b, h, w, k], compiled."""

    @jax.jit
    def predict(variables: Any, image: jax.Array) -> Any:
        return network.apply(variables, image, train=False)

    return predict

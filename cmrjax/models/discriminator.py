"""Two PatchGAN discriminators at two scales (SPEC 5; pix2pixHD, SPADE)."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from cmrjax.models.convolution import Conv, leaky_relu
from cmrjax.models.spectral_norm import SpectralNormConv

EPSILON = 1e-5

Features = tuple[tuple[jax.Array, ...], ...]


@dataclasses.dataclass(frozen=True)
class DiscriminatorArchitecture:
    """What fixes the shapes of the discriminators.

    Attributes:
      num_classes: k, classes of the label map.
      base_features: ndf, width of the first layer; 64 in the reference.
      num_scales: number of discriminators, each at half the size of the one before.
    """

    num_classes: int
    base_features: int = 64
    num_scales: int = 2


def instance_norm(x: jax.Array) -> jax.Array:
    """Normalises each image and channel over its pixels; biased variance, no affine.

    Args:
      x: [b, h, w, c].

    Returns:
      [b, h, w, c], dtype of `x`; computed in float32.
    """
    y = x.astype(jnp.float32)
    y = y - jnp.mean(y, axis=(1, 2), keepdims=True)
    var = jnp.mean(y * y, axis=(1, 2), keepdims=True)
    return (y * jax.lax.rsqrt(var + EPSILON)).astype(x.dtype)


def average_pool(x: jax.Array) -> jax.Array:
    """Averages 3x3 windows with stride 2 and padding 1, padding not counted.

    Args:
      x: [b, h, w, c].

    Returns:
      [b, (h - 1) // 2 + 1, (w - 1) // 2 + 1, c], dtype of `x`.
    """

    def window_sum(y: jax.Array) -> jax.Array:
        return jax.lax.reduce_window(
            y,
            np.zeros((), y.dtype),  # concrete: a traced zero has no gradient rule
            jax.lax.add,
            (1, 3, 3, 1),
            (1, 2, 2, 1),
            ((0, 0), (1, 1), (1, 1), (0, 0)),
        )

    count = window_sum(jnp.ones((1, *x.shape[1:3], 1), x.dtype))
    return window_sum(x) / count


class PatchDiscriminator(nn.Module):
    """Four convolutions 4x4 and an output convolution, padding 2 on each side.

    Attributes:
      base_features: width of the first layer.
    """

    base_features: int = 64

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Scores patches.

        Args:
          x: [b, h, w, k + channels], one-hot labels and image.
          train: move u and v of the spectral normalisation.

        Returns:
          Four feature maps, each after its leaky ReLU, and the logits [b, h', w', 1].
        """
        ndf = self.base_features
        x = leaky_relu(Conv(ndf, 4, stride=2, padding=2, name="model0")(x))
        features = [x]
        for index, (factor, stride) in enumerate(((2, 2), (4, 2), (8, 1)), start=1):
            conv = SpectralNormConv(
                factor * ndf,
                4,
                stride=stride,
                padding=2,
                use_bias=False,
                name=f"model{index}",
            )
            x = leaky_relu(instance_norm(conv(x, train=train)))
            features.append(x)
        return (*features, Conv(1, 4, padding=2, name="model4")(x))


class MultiscaleDiscriminator(nn.Module):
    """Discriminators that see the labelled image at successive halvings.

    Attributes:
      architecture: shapes.
      dtype: of activations; parameters are float32.
    """

    architecture: DiscriminatorArchitecture
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, label_map: jax.Array, image: jax.Array, *, train: bool
    ) -> Features:
        """Scores images given their labels.

        Args:
          label_map: [b, h, w] integer ids.
          image: [b, h, w, c] in [-1, 1].
          train: move u and v of the spectral normalisation.

        Returns:
          Per scale: four feature maps and the logits, all [b, h', w', c'].
        """
        onehot = jax.nn.one_hot(
            label_map, self.architecture.num_classes, dtype=self.dtype
        )
        x = jnp.concatenate([onehot, image.astype(self.dtype)], axis=-1)
        outputs = []
        for scale in range(self.architecture.num_scales):
            if scale:
                x = average_pool(x)
            discriminator = PatchDiscriminator(
                self.architecture.base_features, name=f"discriminator_{scale}"
            )
            outputs.append(discriminator(x, train=train))
        return tuple(outputs)


def discriminate_pair(
    discriminator: MultiscaleDiscriminator,
    variables: dict,
    label_map: jax.Array,
    fake_image: jax.Array,
    real_image: jax.Array,
    *,
    real_gradient: bool,
) -> tuple[Features, Features, dict]:
    """Runs fake and real through the discriminators as one training forward.

    Together, u and v move once, where two forwards would move them twice.

    Args:
      discriminator: the module.
      variables: its variables, "params" and "spectral".
      label_map: [b, h, w].
      fake_image: [b, h, w, c].
      real_image: [b, h, w, c].
      real_gradient: True runs both in one batch. False runs the real images by
        themselves with the vectors that the fakes moved, which gives the same features
        (nothing in D mixes images), without a gradient and without the work for it.

    Returns:
      (features of the fakes, features of the reals, changed state).
    """
    if not real_gradient:
        fake, changed = discriminator.apply(
            variables, label_map, fake_image, train=True, mutable=["spectral"]
        )
        moved = {**variables, **changed}
        real: Features = discriminator.apply(moved, label_map, real_image, train=False)  # type: ignore[assignment]
        return fake, jax.lax.stop_gradient(real), dict(changed)
    labels = jnp.concatenate([label_map, label_map])
    images = jnp.concatenate([fake_image, real_image])
    outputs, changed = discriminator.apply(
        variables, labels, images, train=True, mutable=["spectral"]
    )
    b = label_map.shape[0]
    fake = jax.tree.map(lambda feature: feature[:b], outputs)
    real = jax.tree.map(lambda feature: feature[b:], outputs)
    return fake, real, dict(changed)

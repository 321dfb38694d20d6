"""The SPADE generator: label map to image (SPEC 5; Park et al. 2019)."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from cmrjax.models.convolution import Conv, leaky_relu, upsample_nearest
from cmrjax.models.initialization import xavier_normal
from cmrjax.models.spade import DenseModulation, Modulation, SpadeResidualBlock

SEED_STRIDES = (32, 64, 128)
DTYPES = ("float32", "bfloat16")  # of activations


@dataclasses.dataclass(frozen=True)
class GeneratorArchitecture:
    """What fixes the shapes and the equations of a generator.

    Attributes:
      num_classes: k, classes of the label map.
      base_features: nf, width unit; 64 in the reference.
      seed_stride: side of the image over side of the seed; 32, 64 or 128.
      latent_size: 0 for the label seed (default), else the size of z.
      paper_equation: see `cmrjax.models.spade.Spade`.
      out_channels: image channels.

    Raises:
      ValueError: a value outside of what the network is defined for.
    """

    num_classes: int
    base_features: int = 64
    seed_stride: int = 32
    latent_size: int = 0
    paper_equation: bool = False
    out_channels: int = 1

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.seed_stride not in SEED_STRIDES:
            raise ValueError(
                f"seed_stride is {self.seed_stride}; the generator is defined for "
                f"{SEED_STRIDES} (image side divided by seed side)"
            )
        if self.num_classes < 2 or self.num_classes > 255:
            raise ValueError(
                f"num_classes is {self.num_classes}; 2 to 255 fit labels of type uint8"
            )
        if self.latent_size < 0 or self.out_channels < 1:
            raise ValueError(
                f"latent_size is {self.latent_size}, out_channels {self.out_channels}; "
                "expected at least 0 and at least 1"
            )
        if self.base_features < 1 or (
            self.seed_stride == 128 and self.base_features % 2
        ):
            raise ValueError(
                f"base_features is {self.base_features}; expected a positive number, "
                "even where seed_stride is 128"
            )

    @property
    def last_features(self) -> int:
        """Channels before the last convolution: one more block is half as wide."""
        return self.base_features // (2 if self.seed_stride == 128 else 1)

    @property
    def size_multiple(self) -> int:
        """Image height and width must be multiples of this."""
        return self.seed_stride


def downsample_labels(label_map: jax.Array, stride: int) -> jax.Array:
    """Keeps index i * stride in both directions, as PyTorch's nearest does.

    `jax.image.resize` takes the centre of each cell instead and is not the same.

    Args:
      label_map: [b, h, w] integer.
      stride: divisor of h and w.

    Returns:
      [b, h / stride, w / stride], same dtype.
    """
    return label_map[:, ::stride, ::stride]


class SpadeGenerator(nn.Module):
    """SPADE generator with the parameter names of the public reference.

    Attributes:
      architecture: shapes and equations.
      modulation: how SPADE's gamma and beta are computed.
      dtype: of activations; parameters, statistics and the output are float32.
      rematerialise: compute the inside of each block again in the backward pass
        instead of keeping it: less memory, more time, the same values.
    """

    architecture: GeneratorArchitecture
    modulation: Modulation = DenseModulation()
    dtype: DTypeLike = jnp.float32
    rematerialise: bool = False

    @nn.compact
    def __call__(
        self,
        label_map: jax.Array,
        latent: jax.Array | None = None,
        *,
        train: bool,
        statistics_mask: jax.Array | None = None,
    ) -> jax.Array:
        """Generates images from labels.

        Args:
          label_map: [b, h, w] integer ids below `num_classes`; h and w multiples of
            `architecture.size_multiple`.
          latent: [b, latent_size] float32 where the architecture has a latent, z ~
            N(0, I); otherwise None.
          train: use batch statistics and move the running ones and u, v.
          statistics_mask: [b, h, w] bool, for evaluation with the batch statistics of
            the pixels where it is True, in place of the running ones; at a coarser
            resolution, of those that cover such a pixel. None: running.

        Returns:
          image [b, h, w, out_channels] float32 in [-1, 1].

        Raises:
          ValueError: shapes that do not fit the architecture.
        """
        arch = self.architecture
        _check_input(label_map, latent, arch)
        pyramid = _LabelPyramid(
            label_map, arch.num_classes, self.modulation, self.dtype
        )
        nf = arch.base_features
        x = self._seed(label_map, latent)

        block_class: Any = SpadeResidualBlock
        if self.rematerialise:
            block_class = nn.remat(SpadeResidualBlock, static_argnums=(3,))

        def mask_of(height: int) -> jax.Array | None:
            if statistics_mask is None:
                return None
            return _pool_any(statistics_mask, label_map.shape[1] // height)

        def block(name: str, features: int, x: jax.Array) -> jax.Array:
            return block_class(
                features,
                arch.num_classes,
                modulation=self.modulation,
                paper_equation=arch.paper_equation,
                name=name,
            )(x, pyramid.context(x.shape[1]), train, mask_of(x.shape[1]))

        x = block("head_0", 16 * nf, x)
        x = block("G_middle_0", 16 * nf, upsample_nearest(x))
        if arch.seed_stride >= 64:
            x = upsample_nearest(x)
        x = block("G_middle_1", 16 * nf, x)
        for index, factor in enumerate((8, 4, 2, 1)):
            x = block(f"up_{index}", factor * nf, upsample_nearest(x))
        if arch.seed_stride == 128:
            x = block("up_4", nf // 2, upsample_nearest(x))
        x = Conv(arch.out_channels, 3, padding=1, name="conv_img")(leaky_relu(x))
        return jnp.tanh(x.astype(jnp.float32))

    def _seed(self, label_map: jax.Array, latent: jax.Array | None) -> jax.Array:
        arch = self.architecture
        features = 16 * arch.base_features
        if latent is None:
            small = downsample_labels(label_map, arch.seed_stride)
            onehot = jax.nn.one_hot(small, arch.num_classes, dtype=self.dtype)
            return Conv(features, 3, padding=1, name="fc")(onehot)
        b, h, w = label_map.shape
        h, w = h // arch.seed_stride, w // arch.seed_stride
        flat = nn.Dense(
            features * h * w,
            kernel_init=xavier_normal,
            name="fc",
        )(latent.astype(self.dtype))
        # Channels first, as in the reference, so that its weights can be read.
        return flat.reshape(b, features, h, w).transpose(0, 2, 3, 1)


def _pool_any(mask: jax.Array, stride: int) -> jax.Array:
    """Whether any pixel of a block is True: no resolution is left without pixels."""
    b, h, w = mask.shape
    blocks = mask.reshape(b, h // stride, stride, w // stride, stride)
    return jnp.any(blocks, axis=(2, 4))


class _LabelPyramid:
    """Prepares the modulation context of each resolution once."""

    def __init__(
        self,
        label_map: jax.Array,
        num_classes: int,
        modulation: Modulation,
        dtype: DTypeLike,
    ) -> None:
        self._label_map = label_map
        self._num_classes = num_classes
        self._modulation = modulation
        self._dtype = dtype
        self._contexts: dict[int, Any] = {}

    def context(self, height: int) -> Any:
        if height not in self._contexts:
            stride = self._label_map.shape[1] // height
            self._contexts[height] = self._modulation.prepare(
                downsample_labels(self._label_map, stride),
                num_classes=self._num_classes,
                dtype=self._dtype,
            )
        return self._contexts[height]


def _check_input(
    label_map: jax.Array, latent: jax.Array | None, arch: GeneratorArchitecture
) -> None:
    shape, multiple = label_map.shape, arch.size_multiple
    if len(shape) != 3 or shape[1] % multiple or shape[2] % multiple:
        raise ValueError(
            f"label_map has shape {shape}; expected [b, h, w] with h and w multiples "
            f"of {multiple} (pad the labels with background)"
        )
    if not jnp.issubdtype(label_map.dtype, jnp.integer):
        raise ValueError(f"label_map is {label_map.dtype}; expected integer class ids")
    if arch.latent_size == 0 and latent is not None:
        raise ValueError("latent is given, but the architecture has latent_size 0")
    expected = (shape[0], arch.latent_size)
    if arch.latent_size and (latent is None or latent.shape != expected):
        found = None if latent is None else latent.shape
        raise ValueError(f"latent has shape {found}; expected {expected}")

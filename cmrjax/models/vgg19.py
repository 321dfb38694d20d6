"""VGG19 features for the perceptual loss (SPEC 5; Simonyan & Zisserman, 2015).

The weights are frozen and always an argument, never a constant in a closure: as a
constant they make compilation an order of magnitude slower.
"""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from cmrjax.array_files import read_npz
from cmrjax.files import shorten
from cmrjax.models.convolution import convolve

FORMAT = "cmrjax-vgg19-1"

# Widths c_in, c_out of the convolutions up to the last one that a feature needs.
LAYER_WIDTHS: dict[str, tuple[int, int]] = {
    "conv1_1": (3, 64),
    "conv1_2": (64, 64),
    "conv2_1": (64, 128),
    "conv2_2": (128, 128),
    "conv3_1": (128, 256),
    "conv3_2": (256, 256),
    "conv3_3": (256, 256),
    "conv3_4": (256, 256),
    "conv4_1": (256, 512),
    "conv4_2": (512, 512),
    "conv4_3": (512, 512),
    "conv4_4": (512, 512),
    "conv5_1": (512, 512),
}
FEATURES: dict[str, str] = {f"conv{i}_1": f"relu{i}_1" for i in range(1, 6)}

# What each source was trained to see: scale and shift of an image x in [-1, 1], per
# channel scale * x + shift, and the factor on every bias. Caffe: channels B, G, R in
# 0..255 minus the mean. Its features are some 58 times larger than torchvision's;
# scaling the input and every bias by 1/58 scales all features by 1/58, exactly, since
# ReLU(s x) = s ReLU(x) for s > 0.
_CAFFE_FACTOR = 1.0 / 58.0
_CAFFE_MEAN = (103.939, 116.779, 123.68)
CONVENTIONS: dict[str, tuple[float, tuple[float, ...], float]] = {
    "torchvision": (1.0, (0.0, 0.0, 0.0), 1.0),
    "caffe": (
        127.5 * _CAFFE_FACTOR,
        tuple((127.5 - mean) * _CAFFE_FACTOR for mean in _CAFFE_MEAN),
        _CAFFE_FACTOR,
    ),
}

_HOW_TO_GET = (
    "get ImageNet weights, torchvision's vgg19 IMAGENET1K_V1"
    " (https://download.pytorch.org/models/vgg19-dcbb9e9d.pth, needs torch) or Keras's"
    " vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
    " (https://storage.googleapis.com/tensorflow/keras-applications/vgg19/, needs"
    " h5py), then run: python -m tools.port_vgg19 DOWNLOADED_FILE {out} (or train"
    ' without: config.loss.vgg19_weights = "")'
)


@flax.struct.dataclass
class Vgg19Weights:
    """Frozen weights: a pytree whose strings are static.

    Attributes:
      kernels: by layer name, [3, 3, c_in, c_out] float32. The first takes the grey
        image (c_in 1), or the grey image and a plane of ones (c_in 2), see
        `prepare_weights`.
      biases: by layer name, [c_out] float32.
      convention: a key of `CONVENTIONS`, already applied to the arrays.
      source_sha256: hash of the file that the weights were read from.
    """

    kernels: dict[str, jax.Array]
    biases: dict[str, jax.Array]
    convention: str = flax.struct.field(pytree_node=False)
    source_sha256: str = flax.struct.field(pytree_node=False, default="")

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the convolutions that are there, in the order of the network."""
        return tuple(name for name in LAYER_WIDTHS if name in self.kernels)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features that these weights give, first layer first."""
        return tuple(FEATURES[name] for name in self.layers if name in FEATURES)

    @property
    def missing_features(self) -> tuple[str, ...]:
        """Names of the features that need layers which are not there."""
        return tuple(n for n in FEATURES.values() if n not in self.feature_names)


def vgg19_features(weights: Vgg19Weights, image: jax.Array) -> dict[str, jax.Array]:
    """Computes relu1_1, relu2_1, ..., relu5_1, as far as the weights reach.

    A grey image stands for three equal channels. Computation is in the dtype of the
    image. Maximum pooling 2x2 drops an odd last row or column, as the sources do.

    Args:
      weights: from `load_vgg19` or `prepare_weights`.
      image: [b, h, w, 1] float in [-1, 1].

    Returns:
      By name, relu{i}_1: [b, h // 2^(i-1), w // 2^(i-1), c] with c = 64, 128, 256,
      512, 512, dtype of the image.

    Raises:
      ValueError: `image` is not [b, h, w, 1], or too small for the last feature.
    """
    if image.ndim != 4 or image.shape[-1] != 1:
        raise ValueError(
            f"image must be [b, h, w, 1], grey with channels last, got {image.shape}"
        )
    smallest = 2 ** (int(weights.layers[-1][4]) - 1)
    if min(image.shape[1:3]) < smallest:
        raise ValueError(
            f"image must have h and w of at least {smallest} for "
            f"{weights.feature_names[-1]}, got {image.shape}"
        )
    x = image
    if weights.kernels["conv1_1"].shape[2] == 2:
        x = jnp.concatenate([x, jnp.ones_like(x)], axis=-1)
    features = {}
    block = "1"
    for name in weights.layers:
        if name[4] != block:
            x, block = _max_pool(x), name[4]
        x = convolve(x, weights.kernels[name], weights.biases[name], padding=1)
        x = jax.nn.relu(x)
        if name in FEATURES:
            features[FEATURES[name]] = x
    return features


def prepare_weights(
    arrays: Mapping[str, np.ndarray], *, convention: str, source_sha256: str = ""
) -> Vgg19Weights:
    """Makes weights for grey images in [-1, 1] from those of the colour network.

    The input affine of the convention goes into the first kernel: with a_c = scale x +
    shift_c in each channel, sum_c K_c * a_c = (scale sum_c K_c) * x + (sum_c shift_c
    K_c) * 1, where 1 is a plane of ones. The plane is padded with zeros like the image,
    so this holds at the border too, where folding the shift into the bias would not.
    Without a shift the plane is left out. Layers behind the last feature are dropped.

    Args:
      arrays: `{layer}.kernel` [3, 3, c_in, c_out] and `{layer}.bias` [c_out] for
        conv1_1 and an unbroken row of layers behind it, as trained.
      convention: a key of `CONVENTIONS`.
      source_sha256: hash of the source file, kept with the weights.

    Returns:
      Weights for `vgg19_features`.

    Raises:
      ValueError: an unknown convention, or layers that do not fit VGG19.
    """
    if convention not in CONVENTIONS:
        raise ValueError(
            f"convention must be one of {sorted(CONVENTIONS)}, got {convention!r}"
        )
    layers = usable_layers(arrays)
    scale, shift, bias_factor = CONVENTIONS[convention]
    first = np.asarray(arrays["conv1_1.kernel"], np.float64)
    planes = [scale * first.sum(axis=2)]
    if any(shift):
        planes.append(np.einsum("hwco,c->hwo", first, np.asarray(shift)))
    kernels = {name: np.asarray(arrays[f"{name}.kernel"]) for name in layers}
    kernels["conv1_1"] = np.stack(planes, axis=2)
    return Vgg19Weights(
        kernels={n: jnp.asarray(k, jnp.float32) for n, k in kernels.items()},
        biases={
            name: jnp.asarray(
                np.asarray(arrays[f"{name}.bias"], np.float64) * bias_factor,
                jnp.float32,
            )
            for name in layers
        },
        convention=convention,
        source_sha256=source_sha256,
    )


def usable_layers(arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Checks names and shapes, and names the layers up to the last feature.

    Args:
      arrays: as for `prepare_weights`.

    Returns:
      Layer names, conv1_1 first; the last one gives a feature.

    Raises:
      ValueError: a layer is missing before one that is there, or half a layer is; a
        shape is wrong; a value is NaN or infinite.
    """
    present = [n for n in LAYER_WIDTHS if f"{n}.kernel" in arrays]
    for name in present:
        _check_layer(name, arrays)
    expected = list(LAYER_WIDTHS)[: max(len(present), 1)]
    if present != expected:
        missing = next(n for n in LAYER_WIDTHS if n not in present)
        behind = f", though {present[-1]} is there" if present else ""
        raise ValueError(f"VGG19: layer {missing} is missing{behind}")
    last = max(i for i, name in enumerate(present) if name in FEATURES)
    return tuple(present[: last + 1])


def load_vgg19(path: str | os.PathLike[str]) -> Vgg19Weights:
    """Loads weights from a file that `python -m tools.port_vgg19` wrote.

    Args:
      path: the npz file.

    Returns:
      Weights for `vgg19_features`; see `missing_features` for what is not in them.

    Raises:
      FileNotFoundError: no such file; the message says where to get weights, and how
        to train without.
      ValueError: the file is another one, or damaged.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"VGG19 weights: {path} is a folder; name the .npz file that"
            " tools.port_vgg19 wrote"
        )
    if not path.is_file():
        how_to_get = _HOW_TO_GET.format(out=shlex.quote(str(path)))
        raise FileNotFoundError(f"VGG19 weights: no file {path}; {how_to_get}")
    try:
        arrays = read_npz(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if shorten(arrays.get("format")) != FORMAT:
        raise ValueError(
            f"{path}: not written by this version's port. Convert the original weights:"
            f" python -m tools.port_vgg19 {shlex.quote(str(path))} vgg19.npz"
        )
    try:
        return prepare_weights(
            arrays,
            convention=shorten(arrays["convention"]),
            source_sha256=shorten(arrays["source_sha256"]),
        )
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: {shorten(error)}; fetch it again") from error


def _check_layer(name: str, arrays: Mapping[str, np.ndarray]) -> None:
    c_in, c_out = LAYER_WIDTHS[name]
    shapes = {f"{name}.kernel": (3, 3, c_in, c_out), f"{name}.bias": (c_out,)}
    for key, expected in shapes.items():
        if key not in arrays:
            raise ValueError(f"VGG19: {key} is missing, though {name}.kernel is there")
        found = arrays[key].shape
        if arrays[key].dtype.kind not in "biuf":
            raise ValueError(f"VGG19: {key} holds {arrays[key].dtype}, no numbers")
        if found != expected:
            raise ValueError(f"VGG19: {key} must be {expected}, found {found}")
        if not np.all(np.isfinite(arrays[key])):
            raise ValueError(f"VGG19: {key} holds NaN or infinite values")


def _max_pool(x: jax.Array) -> jax.Array:
    """Maximum over 2x2 pixels, [b, h, w, c] to [b, h // 2, w // 2, c].

    As maxima of strided slices: on a CPU the gradient is ten times faster than that of
    a window reduction.
    """
    h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    rows = jnp.maximum(x[:, 0:h:2], x[:, 1:h:2])
    return jnp.maximum(rows[:, :, 0:w:2], rows[:, :, 1:w:2])

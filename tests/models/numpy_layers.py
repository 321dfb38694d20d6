"""The layers of both networks written out in NumPy, float64, from their equations.

Nothing here calls the package, so that an error there cannot hide here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

Array = Any  # NumPy or JAX going in, NumPy float64 coming out


def to_numpy(tree: Any) -> Any:
    """Nested dictionaries of arrays in float64, so that no JAX rule acts below."""
    if isinstance(tree, Mapping):
        return {name: to_numpy(value) for name, value in tree.items()}
    return np.asarray(tree, np.float64)


def convolution(
    x: Array, kernel: Array, bias: Array | None = None, *, stride: int = 1, padding: int
) -> Array:
    """Sum over kernel positions of shifted inputs; x [b, h, w, i], kernel HWIO."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    kh, kw, _, c_out = kernel.shape
    border = (padding, padding)
    padded = np.pad(x, ((0, 0), border, border, (0, 0)))
    h = (padded.shape[1] - kh) // stride + 1
    w = (padded.shape[2] - kw) // stride + 1
    y = np.zeros((x.shape[0], h, w, c_out))
    for i in range(kh):
        for j in range(kw):
            rows = slice(i, i + stride * (h - 1) + 1, stride)
            columns = slice(j, j + stride * (w - 1) + 1, stride)
            y += padded[:, rows, columns, :] @ kernel[i, j]
    return y if bias is None else y + np.asarray(bias, np.float64)


def one_hot(label_map: Array, num_classes: int) -> Array:
    """[..., k] float64."""
    return np.eye(num_classes)[np.asarray(label_map)]


def leaky(x: Array) -> Array:
    """Slope 0.2 below zero."""
    return np.maximum(x, 0) + 0.2 * np.minimum(x, 0)


def double(x: Array) -> Array:
    """Nearest upsampling by two."""
    return np.kron(x, np.ones((1, 2, 2, 1)))


def as_matrix(kernel: Array) -> Array:
    """HWIO kernel as the matrix (out, in * kh * kw) of SPEC 5."""
    kernel = np.asarray(kernel, np.float64)
    return kernel.transpose(3, 2, 0, 1).reshape(kernel.shape[3], -1)


def as_vector(v: Array) -> Array:
    """Stored v [kh, kw, in] as the vector over (in, kh, kw)."""
    return np.asarray(v, np.float64).transpose(2, 0, 1).ravel()


def spectral_convolution(
    x: Array, params: Mapping[str, Any], spectral: Mapping[str, Any], **options: int
) -> Array:
    """Evaluation mode: the kernel over u^T W v."""
    matrix = as_matrix(params["kernel"])
    sigma = np.asarray(spectral["u"], np.float64) @ matrix @ as_vector(spectral["v"])
    kernel = np.asarray(params["kernel"], np.float64) / sigma
    return convolution(x, kernel, params.get("bias"), **options)


def spade(
    x: Array,
    onehot: Array,
    params: Mapping[str, Any],
    mean: Array,
    var: Array,
    *,
    paper_equation: bool = False,
) -> Array:
    """norm(x) (1 + gamma) + beta with given statistics, or the paper's eq. 4."""
    x, onehot, params = to_numpy(x), to_numpy(onehot), to_numpy(params)
    mean, var = to_numpy(mean), to_numpy(var)
    sigma = np.sqrt(var) + 1e-5 if paper_equation else np.sqrt(var + 1e-5)
    shared = params["mlp_shared"]
    hidden = np.maximum(
        convolution(onehot, shared["kernel"], shared["bias"], padding=1), 0
    )
    gamma, beta = (
        convolution(hidden, params[n]["kernel"], params[n]["bias"], padding=1)
        for n in ("mlp_gamma", "mlp_beta")
    )
    factor = gamma if paper_equation else 1 + gamma
    return (x - mean) / sigma * factor + beta


def residual_block(
    x: Array, onehot: Array, variables: Mapping[str, Any], **options: bool
) -> Array:
    """SPADE residual block in evaluation mode."""
    x, variables = to_numpy(x), to_numpy(variables)
    params, spectral = variables["params"], variables["spectral"]
    statistics = variables["batch_stats"]

    def norm(name: str, x: Array) -> Array:
        running = statistics[name]["param_free_norm"]
        mean, var = running["mean"], running["var"]
        return spade(x, onehot, params[name], mean, var, **options)

    def conv(name: str, x: Array, padding: int) -> Array:
        return spectral_convolution(x, params[name], spectral[name], padding=padding)

    shortcut = conv("conv_s", norm("norm_s", x), 0) if "conv_s" in params else x
    y = conv("conv_0", leaky(norm("norm_0", x)), 1)
    return shortcut + conv("conv_1", leaky(norm("norm_1", y)), 1)


# Blocks of the generator; "up" is an upsampling by two (SPEC 5).
ORDER = {
    32: "head_0 up G_middle_0 G_middle_1 up up_0 up up_1 up up_2 up up_3",
    64: "head_0 up G_middle_0 up G_middle_1 up up_0 up up_1 up up_2 up up_3",
    128: "head_0 up G_middle_0 up G_middle_1 up up_0 up up_1 up up_2 up up_3 up up_4",
}


def generator(
    label_map: Array,
    variables: Mapping[str, Any],
    *,
    num_classes: int,
    seed_stride: int,
    latent: Array | None = None,
    **options: bool,
) -> Array:
    """The generator in evaluation mode, [b, h, w, out]."""
    variables = to_numpy(variables)
    params = variables["params"]
    b, h, w = label_map.shape
    fc = params["fc"]
    if latent is None:
        seed = one_hot(label_map[:, ::seed_stride, ::seed_stride], num_classes)
        x = convolution(seed, fc["kernel"], fc["bias"], padding=1)
    else:
        x = to_numpy(latent) @ fc["kernel"] + fc["bias"]
        x = x.reshape(b, -1, h // seed_stride, w // seed_stride)
        x = x.transpose(0, 2, 3, 1)
    for name in ORDER[seed_stride].split():
        if name == "up":
            x = double(x)
            continue
        stride = h // x.shape[1]
        onehot = one_hot(label_map[:, ::stride, ::stride], num_classes)
        own = {part: tree[name] for part, tree in variables.items()}
        x = residual_block(x, onehot, own, **options)
    last = params["conv_img"]
    return np.tanh(convolution(leaky(x), last["kernel"], last["bias"], padding=1))


def instance_norm(x: Array) -> Array:
    """Each image and channel over its pixels."""
    mean = x.mean(axis=(1, 2), keepdims=True)
    return (x - mean) / np.sqrt(x.var(axis=(1, 2), keepdims=True) + 1e-5)


def average_pool(x: Array) -> Array:
    """3x3, stride 2; each window's mean over what lies inside of the image."""
    _, h, w, _ = x.shape
    rows, columns = range(0, h, 2), range(0, w, 2)
    y = np.zeros((x.shape[0], len(rows), len(columns), x.shape[3]))
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            window = x[:, max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2]
            y[:, i, j] = window.mean(axis=(1, 2))
    return y


def discriminator(
    label_map: Array, image: Array, variables: Mapping[str, Any], *, num_classes: int
) -> list[list[Array]]:
    """Both scales in evaluation mode: per scale four features and the logits."""
    x = np.concatenate([one_hot(label_map, num_classes), to_numpy(image)], axis=-1)
    variables = to_numpy(variables)
    scales = []
    for scale in (0, 1):
        params = variables["params"][f"discriminator_{scale}"]
        spectral = variables["spectral"][f"discriminator_{scale}"]
        if scale:
            x = average_pool(x)
        first, last = params["model0"], params["model4"]
        features = [
            leaky(convolution(x, first["kernel"], first["bias"], stride=2, padding=2))
        ]
        for name, stride in (("model1", 2), ("model2", 2), ("model3", 1)):
            y = spectral_convolution(
                features[-1], params[name], spectral[name], stride=stride, padding=2
            )
            features.append(leaky(instance_norm(y)))
        features.append(
            convolution(features[-1], last["kernel"], last["bias"], padding=2)
        )
        scales.append(features)
    return scales


def relative_error(value: Any, reference: Any) -> float:
    """Norm of the difference over the norm of the reference."""
    value, reference = np.asarray(value, np.float64), np.asarray(reference, np.float64)
    assert value.shape == reference.shape
    return float(np.linalg.norm(value - reference) / np.linalg.norm(reference))

"""Convolution of channels-last images, and the parameters that go with it."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cmrjax.models import cpu_bfloat16, cpu_convolution
from cmrjax.models.initialization import Initializer, xavier_normal

LEAKY_SLOPE = 0.2


def _xla_forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: int
) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolution(
    x: jax.Array, kernel: jax.Array, stride: int, padding: int
) -> jax.Array:
    if cpu_bfloat16.applies(x.dtype):
        if stride == 1 and cpu_bfloat16.serves(kernel.shape[3]):
            return cpu_bfloat16.convolve(x, kernel, padding)
        x32, kernel32 = _in_float32(x, kernel)
        y: Any = _convolution(x32, kernel32, stride, padding)
        return y.astype(x.dtype)
    if _on_cpu() and stride == 1:
        num_pixels = x.shape[0] * _output_size(x, kernel, padding)
        if cpu_convolution.kernel_outweighs_image(num_pixels, kernel.shape):
            return cpu_convolution.forward_by_columns(x, kernel, padding)
    return _xla_forward(x, kernel, stride, padding)


def _output_size(x: jax.Array, kernel: jax.Array, padding: int) -> int:
    """Pixels of a stride 1 convolution's output."""
    (h, w), (kh, kw) = x.shape[1:3], kernel.shape[:2]
    return (h + 2 * padding - kh + 1) * (w + 2 * padding - kw + 1)


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _in_float32(*arrays: jax.Array) -> list[jax.Array]:
    return [x.astype(jnp.float32) for x in arrays]


def _convolution_fwd(x: jax.Array, kernel: jax.Array, stride: int, padding: int):
    return _convolution(x, kernel, stride, padding), (x, kernel)


def _convolution_bwd(stride: int, padding: int, residuals: tuple, g: jax.Array):
    x, kernel = residuals
    if _on_cpu() and cpu_convolution.has_blocks(kernel.shape, stride):
        return _gradients_by_blocks(x, kernel, g, padding)
    to_x = _input_gradient(x, kernel, g, stride, padding)
    return to_x, _kernel_gradient(x, kernel, g, stride, padding)


def _gradients_by_blocks(
    x: jax.Array, kernel: jax.Array, g: jax.Array, padding: int
) -> tuple[jax.Array, jax.Array]:
    def convolve_blocks(x: jax.Array, kernel: jax.Array) -> jax.Array:
        blocks, kernels = cpu_convolution.to_blocks(x, kernel, padding)
        return _convolution(blocks, kernels, 1, 0)

    _, pullback = jax.vjp(convolve_blocks, x, kernel)  # its value is never computed
    return pullback(g)


def _input_gradient(
    x: jax.Array, kernel: jax.Array, g: jax.Array, stride: int, padding: int
) -> jax.Array:
    _, _, c_in, c_out = kernel.shape
    if cpu_bfloat16.applies(x.dtype):
        if stride == 1 and cpu_bfloat16.serves(c_in):
            return cpu_bfloat16.input_gradient(g, kernel, padding, x.shape)
        x32, kernel32, g32 = _in_float32(x, kernel, g)
        to_x = _input_gradient(x32, kernel32, g32, stride, padding)
        return to_x.astype(x.dtype)
    if _on_cpu() and stride == 1:
        num_pixels = g.size // c_out
        if cpu_convolution.input_gradient_needs_no_turned_kernel(
            num_pixels, kernel.shape
        ):
            return cpu_convolution.input_gradient_by_columns(
                g, kernel, padding, x.shape
            )
    _, input_vjp = jax.vjp(lambda x: _xla_forward(x, kernel, stride, padding), x)
    return input_vjp(g)[0]


def _kernel_gradient(
    x: jax.Array, kernel: jax.Array, g: jax.Array, stride: int, padding: int
) -> jax.Array:
    if cpu_bfloat16.applies(x.dtype):
        if stride == 1 and cpu_bfloat16.serves_gradient(kernel.shape):
            return cpu_bfloat16.kernel_gradient(x, g, kernel.shape, padding)
        x32, kernel32, g32 = _in_float32(x, kernel, g)
        to_kernel = _kernel_gradient(x32, kernel32, g32, stride, padding)
        return to_kernel.astype(kernel.dtype)
    if _on_cpu() and stride == 1:
        found = cpu_convolution.kernel_gradient(x, g, kernel.shape, padding)
        if found is not None:
            return found
    _, kernel_vjp = jax.vjp(lambda k: _xla_forward(x, k, stride, padding), kernel)
    return kernel_vjp(g)[0]


_convolution.defvjp(_convolution_fwd, _convolution_bwd)


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: int = 1,
    padding: int,
) -> jax.Array:
    """Cross-correlates `x` with `kernel`, as deep-learning libraries do.

    Args:
      x: [b, h, w, c_in].
      kernel: [kh, kw, c_in, c_out], cast to the dtype of `x`.
      bias: [c_out] or None.
      stride: step in both directions.
      padding: zeros added on each of the four sides (explicit, never "SAME").

    Returns:
      [b, (h + 2 padding - kh) // stride + 1, likewise w, c_out], dtype of `x`.
    """
    if kernel.shape[:2] == (1, 1) and stride == 1 and padding == 0:
        y: Any = _multiply(x, kernel[0, 0].astype(x.dtype))
    else:
        y = _convolution(x, kernel.astype(x.dtype), stride, padding)
    return y if bias is None else add_bias(y, bias)


@jax.custom_vjp
def add_bias(y: jax.Array, bias: jax.Array) -> jax.Array:
    """Adds a bias to the last axis, with a gradient that a CPU computes fast.

    Args:
      y: [..., c].
      bias: [c], cast to the dtype of `y`.

    Returns:
      Shape and dtype of `y`.
    """
    return y + bias.astype(y.dtype).reshape((1,) * (y.ndim - 1) + bias.shape)


def _add_bias_fwd(y: jax.Array, bias: jax.Array):
    return add_bias(y, bias), bias


def _add_bias_bwd(bias: jax.Array, g: jax.Array):
    if _on_cpu():
        total = cpu_convolution.sum_of_pixels(g)
    else:
        total = jnp.sum(g.astype(jnp.float32), axis=tuple(range(g.ndim - 1)))
    return g, total.astype(bias.dtype)


add_bias.defvjp(_add_bias_fwd, _add_bias_bwd)


def _multiply(x: jax.Array, matrix: jax.Array) -> jax.Array:
    b, h, w, c_in = x.shape
    return cpu_bfloat16.matmul(x.reshape(-1, c_in), matrix).reshape(b, h, w, -1)


class ConvWeights(nn.Module):
    """Owns the kernel and the bias of one convolution and hands them out.

    Layers that fuse several convolutions into one, or normalise the kernel, need the
    arrays and not the product; the names in a checkpoint stay those of the reference.

    Attributes:
      in_features: c_in.
      features: c_out.
      kernel_size: kh = kw.
      use_bias: whether there is a bias, initially zero.
      kernel_init: initialiser of the kernel.
    """

    in_features: int
    features: int
    kernel_size: int
    use_bias: bool = True
    kernel_init: Initializer = xavier_normal

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array | None]:
        """Returns the kernel [kh, kw, c_in, c_out] and the bias [c_out] or None."""
        size = self.kernel_size
        shape = (size, size, self.in_features, self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        if not self.use_bias:
            return kernel, None
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))


class Conv(nn.Module):
    """Plain convolution, parameters float32, computed in the dtype of its input.

    Attributes:
      features: c_out.
      kernel_size: kh = kw.
      stride: step in both directions.
      padding: zeros on each side.
    """

    features: int
    kernel_size: int
    stride: int = 1
    padding: int = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [b, h, w, c_in] to [b, h', w', c_out] (see `convolve`)."""
        weights = ConvWeights(x.shape[-1], self.features, self.kernel_size)
        nn.share_scope(self, weights)
        kernel, bias = weights()
        return convolve(x, kernel, bias, stride=self.stride, padding=self.padding)


def leaky_relu(x: jax.Array) -> jax.Array:
    """Applies the leaky ReLU with slope 0.2 of both networks; shape and dtype kept."""
    return jnp.where(x >= 0, x, LEAKY_SLOPE * x)


@jax.custom_vjp
def upsample_nearest(x: jax.Array) -> jax.Array:
    """Doubles [b, h, w, c] to [b, 2h, 2w, c] by repeating pixels."""
    b, h, w, c = x.shape
    wide = jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c))
    return wide.reshape(b, 2 * h, 2 * w, c)


def _upsample_fwd(x: jax.Array):
    return upsample_nearest(x), None


def _upsample_bwd(_: None, g: jax.Array) -> tuple[jax.Array]:
    # Four strided images: a sum over axes of length two runs at a third of the speed.
    b, h, w, c = g.shape
    blocks = g.reshape(b, h // 2, 2, w // 2, 2, c)
    rows = blocks[:, :, 0] + blocks[:, :, 1]
    return (rows[:, :, :, 0] + rows[:, :, :, 1],)


upsample_nearest.defvjp(_upsample_fwd, _upsample_bwd)
